"""JSON schemas of responses."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_portkey.batch.schema import ResponseSchema, check_response_format, parse_text
from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError


@pytest.mark.parametrize(
    ("schema", "where"),
    [({"type": "objekt"}, r"at \$\.type"), ({"properties": {"a": {"minimum": "1"}}}, r"at \$\.properties\.a\.minimum")],
)
def test_a_schema_that_is_none_is_refused_with_the_place(schema: Any, where: str) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=rf"^json_schema=.*{where}"):
        ResponseSchema(schema)


@pytest.mark.parametrize("schema", [[], "{}", True, None])
def test_a_schema_is_a_mapping(schema: Any) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=r"^json_schema="):
        ResponseSchema(schema)


def test_a_value_is_compared_by_the_draft_that_the_schema_names() -> None:
    schema = {"items": [{"type": "integer"}]}  # an array of schemas is of draft 7, an error in 2020-12
    assert ResponseSchema({"$schema": "http://json-schema.org/draft-07/schema#", **schema}).problem([1]) is None
    with pytest.raises(PortkeyInvalidArgumentError):
        ResponseSchema(schema)


def test_the_problem_names_the_place() -> None:
    schema = ResponseSchema({"type": "object", "properties": {"a": {"items": {"type": "integer"}}}, "required": ["b"]})
    assert schema.problem({"a": [1], "b": 1}) is None
    assert schema.problem({"a": [1, "x"], "b": 1}) == "at $.a[1]: 'x' is not of type 'integer'"
    assert "'b' is a required property" in str(schema.problem({}))
    assert len(str(ResponseSchema({"maxItems": 0}).problem(["x" * 5_000]))) <= 500


def test_a_reference_to_another_document_is_not_fetched() -> None:
    schema = ResponseSchema({"$ref": "http://127.0.0.1:9/schema.json"})
    with pytest.raises(PortkeyInvalidArgumentError, match=r"references are within the schema itself"):
        schema.problem(1)


@pytest.mark.parametrize(
    ("text", "value", "problem"),
    [
        ('{"a": 1}', {"a": 1}, None),
        (" 7 ", 7, None),
        (None, None, "no text"),
        ("NaN", None, "NaN is no JSON"),
        ("{", None, "the text is no JSON"),
        ("[" * 100_000, None, "nested too deeply"),
    ],
)
def test_a_text_as_json(text: str | None, value: Any, problem: str | None) -> None:
    found, reason = parse_text(text)
    assert found == value
    assert reason is None if problem is None else problem in str(reason)


@pytest.mark.parametrize(
    "given", [None, {"type": "json_object"}, {"type": "json_schema", "schema": {"type": "object"}}]
)
def test_a_response_format_without_a_mistake(given: Any) -> None:
    check_response_format(given)
