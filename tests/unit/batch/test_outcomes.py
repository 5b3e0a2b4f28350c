"""The lines of a batch's results in the shapes of several providers."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_portkey.batch.outcomes import is_failure, request_id_of, usage_of


def anthropic(type_: Any, **fields: Any) -> dict[str, Any]:
    return {"custom_id": "a", "result": {"type": type_, **fields}}


@pytest.mark.parametrize(
    ("line", "failed"),
    [
        (anthropic("succeeded", message={"id": "msg_1"}), False),
        (anthropic("errored", error={"type": "error"}), True),
        (anthropic("canceled"), True),
        (anthropic("expired"), True),
        (anthropic(None), True),
        (anthropic(["succeeded"]), True),
        ({"result": "succeeded"}, True),
        ({"response": {"status_code": "200", "body": {}}, "error": None}, False),
        ({"response": {"status_code": "500", "body": {}}, "error": None}, True),
        ({"response": {"request_id": "r", "body": False}, "error": "quota"}, True),  # Vertex, by way of the gateway
        ({"errorCode": 400, "errorMessage": "bad"}, True),  # Bedrock, by way of the gateway
    ],
)
def test_a_line_says_whether_its_request_failed(line: dict[str, Any], failed: bool) -> None:
    assert is_failure(line) is failed


@pytest.mark.parametrize(
    ("line", "usage"),
    [
        ({"response": {"body": {"usage": {"n": 1}}}}, {"n": 1}),
        (anthropic("succeeded", message={"usage": {"input_tokens": 1}}), {"input_tokens": 1}),
        (anthropic("succeeded", message=None), None),
        ({"response": {"body": [1]}}, None),
        ({"response": "x", "result": 5}, None),
        ({}, None),
    ],
)
def test_usage_is_where_the_provider_has_it(line: dict[str, Any], usage: Any) -> None:
    assert usage_of(line) == usage


@pytest.mark.parametrize(
    ("request_", "id_"),
    [
        ({"custom_id": "a"}, "a"),
        ({"recordId": "b"}, "b"),
        ({"requestId": "c"}, "c"),
        ({"custom_id": 5}, None),
        ({}, None),
    ],
)
def test_a_request_has_its_id_under_the_name_of_its_provider(request_: dict[str, Any], id_: str | None) -> None:
    assert request_id_of(request_) == id_
