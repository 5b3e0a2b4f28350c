from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from airflow_provider_portkey import exceptions, jobs
from airflow_provider_portkey.jobs import ListSpec
from airflow_provider_portkey.operators.lists import (
    PortkeyListOperator,
    PortkeyRunStepsOperator,
    PortkeyThreadRunsOperator,
)

RUNS = "/threads/thread_1/runs"
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
    common = {"portkey_conn_id", "order", "after", "before", "limit", "max_items", "page_size", "max_bytes"}

    assert set(PortkeyRunStepsOperator.template_fields) == common | {"thread_id", "run_id", "include"}
    assert set(PortkeyThreadRunsOperator.template_fields) == common | {"thread_id"}
    assert set(PortkeyListOperator.template_fields) == common | {"ids", "parameters"}


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


def runs_operator(**arguments: Any) -> PortkeyThreadRunsOperator:
    given = {"task_id": "runs", "thread_id": "thread_1", "max_bytes": 1_000_000, **arguments}
    return PortkeyThreadRunsOperator(**given)


def through_xcom(value: Any) -> Any:
    """Store a value as Airflow stores an XCom, and read it."""
    try:
        from airflow.sdk.serde import deserialize, serialize
    except ImportError:  # before Airflow 3.2
        from airflow.serialization.serde import deserialize, serialize
    return deserialize(json.loads(json.dumps(serialize(value))))


def test_runs_come_out_of_xcom_value_by_value(
    portkey_connection: Any, serve_list: Callable[..., Any], seed_runs: list[dict[str, Any]]
) -> None:
    serve_list(RUNS, seed_runs)

    found = through_xcom(runs_operator().execute({}))

    assert found == seed_runs
    assert [[(name, type(value)) for name, value in run.items()] for run in found] == [
        [(name, type(value)) for name, value in run.items()] for run in seed_runs
    ]


def ids(runs: list[dict[str, Any]]) -> list[int]:
    return [int(run["id"].removeprefix("run_")) for run in runs]


def many_runs() -> list[dict[str, Any]]:
    return [{"id": f"run_{number}"} for number in range(250)]


@pytest.mark.parametrize(
    ("arguments", "first", "last", "sent"),
    [
        ({}, 0, 249, [{"limit": "100", "order": "asc"}, {"after": "run_99"}, {"after": "run_199"}]),
        ({"order": "desc", "max_items": 2}, 249, 248, [{"limit": "2", "order": "desc"}]),
        ({"after": "run_199", "page_size": 40}, 200, 249, [{"limit": "40", "after": "run_199"}, {"after": "run_239"}]),
        ({"limit": 20}, 0, 19, [{"limit": "20", "order": "asc"}]),
        ({"limit": 5, "after": "run_9", "before": "run_99"}, 10, 14, [{"after": "run_9", "before": "run_99"}]),
        ({"limit": "20", "max_items": "None"}, 0, 19, [{"limit": "20"}]),
    ],
)
def test_a_part_of_the_list_can_be_read(
    portkey_connection: Any,
    serve_list: Callable[..., Any],
    arguments: dict[str, Any],
    first: int,
    last: int,
    sent: list[dict[str, str]],
) -> None:
    served = serve_list(RUNS, many_runs())

    found = ids(runs_operator(**arguments).execute({}))

    assert (found[0], found[-1], len(found)) == (first, last, abs(last - first) + 1)
    assert len(queries(served)) == len(sent)
    for query, expected in zip(queries(served), sent, strict=True):
        assert expected.items() <= query.items()


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("limit", {"limit": 0}),
        ("limit", {"limit": 101}),
        ("limit", {"limit": "many"}),
        ("page_size", {"page_size": 101}),
        ("order", {"order": "newest"}),
        ("before", {"before": "run_1"}),
        ("before", {"before": "run_1", "max_items": 5}),
        ("max_items", {"limit": 5, "max_items": 5}),
        ("max_items", {"max_items": -1}),
    ],
)
def test_a_wrong_part_is_refused_when_the_task_is_constructed(field: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match=f"^{field}="):
        runs_operator(**arguments)


@pytest.mark.parametrize("field", ["after", "before", "thread_id"])
def test_a_wrong_id_is_refused_and_nothing_is_sent(portkey_connection: Any, requests_mock: Any, field: str) -> None:
    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match=f"^{field}="):
        runs_operator(limit=5, **{field: ""}).execute({})

    assert requests_mock.call_count == 0


def test_a_rendered_part_is_checked_before_anything_is_sent(portkey_connection: Any, requests_mock: Any) -> None:
    task = runs_operator(limit="{{ limit }}", max_items="{{ max_items }}")
    task.render_template_fields({"limit": 5, "max_items": 5})

    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match=r"^max_items="):
        task.execute({})

    assert requests_mock.call_count == 0


@pytest.mark.parametrize(
    ("task", "what", "instead"),
    [
        (runs_operator(max_bytes=50), "runs of thread_id 'thread_1'", "PortkeyThreadRunsToObjectStorageOperator"),
        (
            PortkeyListOperator(task_id="list", list_spec=jobs.RUNS, ids={"thread_id": "thread_1"}, max_bytes=50),
            "runs of thread_id 'thread_1'",
            "PortkeyListToObjectStorageOperator",
        ),
    ],
)
def test_too_large_a_list_names_the_operator_for_storage(
    portkey_connection: Any, serve_list: Callable[..., Any], task: Any, what: str, instead: str
) -> None:
    serve_list(RUNS, many_runs())

    with pytest.raises(exceptions.PortkeyXComTooLargeError, match=rf"The {what} have .* Use {instead},"):
        task.execute({})


THINGS = ListSpec(
    kind="things",
    path="/boxes/{box_id}/things",
    columns={"id": "text"},
    parameters=("limit", "order", "after", "colour"),
)


def list_operator(**arguments: Any) -> PortkeyListOperator:
    given = {"task_id": "things", "list_spec": THINGS, "ids": {"box_id": "box_1"}, **arguments}
    return PortkeyListOperator(**given)


@pytest.mark.parametrize("as_json", [False, True])
def test_a_list_of_the_dag_author_is_read_with_its_ids_and_parameters(
    portkey_connection: Any, serve_list: Callable[..., Any], as_json: bool
) -> None:
    served = serve_list("/boxes/box_1/things", [{"id": "thing_1"}, {"id": "thing_2"}])
    form: Callable[[Any], Any] = json.dumps if as_json else dict
    task = list_operator(ids=form({"box_id": "{{ box }}"}), parameters=form({"colour": "{{ colour }}"}), order="asc")

    task.render_template_fields({"box": "box_1", "colour": "red"})

    assert [thing["id"] for thing in task.execute({})] == ["thing_1", "thing_2"]
    assert queries(served) == [{"limit": "100", "order": "asc", "colour": "red"}]


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("ids", {"ids": None}),
        ("ids", {"ids": {}}),
        ("ids", {"ids": {"thread_id": "thread_1"}}),
        ("ids", {"ids": "box_1"}),
        ("ids", {"ids": {"box_id": "{{ box }}", "other": "{{ other }}"}}),
        ("size", {"parameters": {"size": 5}}),
        ("parameters", {"parameters": {"before": "thing_1"}}),
        ("parameters", {"parameters": '{"order": "asc"}'}),
        ("colour", {"parameters": {"colour": ""}}),
        ("parameters", {"parameters": "colour"}),
        ("order", {"list_spec": jobs.BATCHES, "ids": None, "order": "asc"}),
        ("after", {"list_spec": jobs.MODELS, "ids": None, "after": "model_1"}),
    ],
)
def test_arguments_that_do_not_fit_the_list_are_refused_when_the_task_is_constructed(
    field: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match=f"^{field}="):
        list_operator(**arguments)


def test_default_arguments_of_a_dag_reach_every_base() -> None:
    from airflow.providers.common.compat.sdk import DAG

    with DAG(dag_id="lists", schedule=None, default_args={"page_size": 20, "max_bytes": 5, "portkey_conn_id": "other"}):
        task = list_operator()

    assert (task.page_size, task.max_bytes, task.portkey_conn_id) == (20, 5, "other")
