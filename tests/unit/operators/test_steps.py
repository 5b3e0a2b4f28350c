from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from airflow_provider_portkey import exceptions
from airflow_provider_portkey.operators.steps import PortkeyRunStepsOperator

STEPS = "/threads/thread_1/runs/run_1/steps"


def operator(**arguments: Any) -> PortkeyRunStepsOperator:
    return PortkeyRunStepsOperator(**{"task_id": "steps", "thread_id": "thread_1", "run_id": "run_1", **arguments})


def step(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"step_{number}", "created_at": number, "unknown": {"deep": [None, "ü"]}, **more}


def queries(served: Any) -> list[dict[str, str]]:
    return [dict(parse_qsl(urlsplit(request.url).query)) for request in served.request_history]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_the_steps_of_every_page_are_returned_as_received(
    portkey_connection: Any, serve_list: Callable[..., Any], order: str
) -> None:
    steps = [step(number) for number in range(250)]
    served = serve_list(STEPS, steps)

    assert operator(order=order).execute({}) == (steps if order == "asc" else steps[::-1])
    assert [query["limit"] for query in queries(served)] == ["100"] * 3


def test_the_oldest_step_comes_first_by_default(portkey_connection: Any, serve_list: Callable[..., Any]) -> None:
    serve_list(STEPS, [step(1), step(2)])

    assert [one["id"] for one in operator().execute({})] == ["step_1", "step_2"]


def test_a_run_without_steps_gives_an_empty_list(portkey_connection: Any, serve_list: Callable[..., Any]) -> None:
    serve_list(STEPS, [])

    assert operator().execute({}) == []


def test_include_and_the_connection_are_used(
    portkey_connection: Any, serve_list: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"conn_type": "portkey", "host": "https://portkey.test", "password": "pk-other"}
    monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_OTHER", json.dumps(other))
    served = serve_list(STEPS, [step(1)])

    operator(include=["x[*].y"], portkey_conn_id="portkey_other").execute({})

    assert queries(served)[0]["include[]"] == "x[*].y"
    assert served.request_history[0].headers["x-portkey-api-key"] == "pk-other"


def test_the_limit_is_counted_in_bytes_of_json(portkey_connection: Any, serve_list: Callable[..., Any]) -> None:
    steps = [step(number, text="ü" * 40) for number in range(5)]
    serve_list(STEPS, steps)
    size = len(json.dumps(steps)) + 2

    assert operator(max_bytes=size).execute({}) == steps
    with pytest.raises(exceptions.PortkeyXComTooLargeError, match=rf"max_bytes={len(json.dumps(steps)) - 1}"):
        operator(max_bytes=len(json.dumps(steps)) - 1).execute({})


def test_the_limit_names_the_operator_for_storage_and_stops_the_fetching(
    portkey_connection: Any, serve_list: Callable[..., Any]
) -> None:
    served = serve_list(STEPS, [step(number, text="x" * 1_000) for number in range(1_000)])

    with pytest.raises(exceptions.PortkeyXComTooLargeError) as raised:
        operator(max_bytes=150_000).execute({})

    assert served.call_count == 2
    assert "'run_1'" in str(raised.value)
    assert "PortkeyRunStepsToObjectStorageOperator" in str(raised.value)


def test_the_default_limit_is_what_the_interface_page_says(
    portkey_connection: Any, serve_list: Callable[..., Any]
) -> None:
    serve_list(STEPS, [step(1, text="x" * 49_152)])

    assert operator().max_bytes == 49_152
    with pytest.raises(exceptions.PortkeyXComTooLargeError):
        operator().execute({})


@pytest.mark.parametrize("max_bytes", [0, -1, 1.5, "many", None, True])
def test_a_wrong_limit_is_refused_when_the_task_is_constructed(max_bytes: Any) -> None:
    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match=r"^max_bytes="):
        operator(max_bytes=max_bytes)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [("thread_id", ""), ("run_id", ".."), ("run_id", None), ("order", "newest"), ("include", "one")],
)
def test_wrong_arguments_are_refused_and_nothing_is_sent(
    portkey_connection: Any, requests_mock: Any, field: str, wrong: Any
) -> None:
    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match=f"^{field}="):
        operator(**{field: wrong}).execute({})

    assert requests_mock.call_count == 0


def test_every_parameter_is_templated() -> None:
    fields = {"portkey_conn_id", "thread_id", "run_id", "order", "include", "max_bytes"}

    assert set(PortkeyRunStepsOperator.template_fields) == fields


def test_templates_are_rendered_into_the_request(portkey_connection: Any, serve_list: Callable[..., Any]) -> None:
    serve_list(STEPS, [step(1)])
    templated = operator(thread_id="thread_{{ n }}", run_id="run_{{ n }}", portkey_conn_id="portkey_{{ name }}")

    templated.render_template_fields({"n": 1, "name": "default"})

    assert templated.execute({}) == [step(1)]


def test_rendered_numbers_and_choices_are_checked_and_used(
    portkey_connection: Any, serve_list: Callable[..., Any]
) -> None:
    served = serve_list(STEPS, [step(1)])
    templated = operator(order="{{ order }}", max_bytes="{{ limit }}")

    templated.render_template_fields({"order": "desc", "limit": 1_000})

    assert templated.execute({}) == [step(1)]
    assert queries(served)[0]["order"] == "desc"
    wrong = operator(max_bytes="{{ limit }}")
    wrong.render_template_fields({"limit": "many"})
    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match=r"^max_bytes="):
        wrong.execute({})
