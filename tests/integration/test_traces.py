"""Every request of every task says which task made it, and carries the trace id that the task's link leads to."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import BaseOperator, TaskDeferred

from airflow_provider_portkey.exceptions import PortkeyBadRequestError, PortkeyUnreachableError
from airflow_provider_portkey.get_provider_info import get_provider_info
from airflow_provider_portkey.hooks.portkey import PortkeyHook
from airflow_provider_portkey.jobs import FINE_TUNING_EVENTS, JobSpec
from airflow_provider_portkey.jobs.run import RUN
from airflow_provider_portkey.links import trace_id_of
from airflow_provider_portkey.testing import PortkeyMockServer

EXAMPLES = Path(__file__).parents[2] / "example_dags"
KEY = {"dag_id": "reports", "run_id": "manual__1", "task_id": "task", "map_index": 3, "try_number": 2}
ID = trace_id_of(SimpleNamespace(**KEY))
TASK = {"airflow_dag_id": "reports", "airflow_task_id": "task", "airflow_run_id": "manual__1", "airflow_map_index": "3"}
WINDOW = {"window_start": "2026-07-25T00:00:00Z", "window_end": "2026-07-25T01:00:00Z"}
EVENTS = {"list_spec": FINE_TUNING_EVENTS, "ids": {"fine_tuning_job_id": "ft_1"}}
FILE_BATCH = JobSpec(
    kind="file batch",
    path="/vector_stores/{vector_store_id}/file_batches/{batch_id}",
    active_statuses=["in_progress"],
    success_statuses=["completed"],
    failure_statuses=["failed"],
)
REQUEST = {"custom_id": "q", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": []}}
TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def lasting(end: str) -> dict[str, Any]:
    """A job that finishes at the fourth poll: of a task that defers, the third is its trigger's."""
    return {"statuses": ["in_progress", "in_progress", "in_progress", end], "advance": "per_poll"}


@pytest.fixture
def mock_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[PortkeyMockServer]:
    """A mock server with one job of each kind, and no pause between two polls."""

    monkeypatch.setattr("airflow_provider_portkey.polling.drivers._seconds_to_grid", lambda seconds: 0.0)
    monkeypatch.setattr("airflow_provider_portkey.tasks.wait.time.sleep", lambda seconds: None)
    with PortkeyMockServer(job_seconds=0.2, run_seconds=0.2) as mock_server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(mock_server.connection()))
        mock_server.add_run(thread_id="thread_1", run_id="run_1", steps=3, **lasting("completed"))
        mock_server.add_run(thread_id="thread_1", run_id="run_2", statuses="completed", steps=3)
        mock_server.add_response(response_id="resp_1", input=3, output=2, **lasting("completed"))
        mock_server.add_batch(batch_id="batch_1", count=3, **lasting("completed"))
        mock_server.add_batch(batch_id="batch_2", count=3, statuses="completed")
        mock_server.add_logs(5, WINDOW["window_start"], WINDOW["window_end"])
        mock_server.add_log_export(export_id="exp_1", **lasting("success"))
        mock_server.add_fine_tuning_job(job_id="ft_1", events=3, checkpoints=1, **lasting("succeeded"))
        mock_server.add_file_batch(vector_store_id="vs_1", batch_id="fb_1", **lasting("completed"))
        yield mock_server


def tasks(folder: Path) -> dict[str, dict[str, Any]]:
    (folder / "in.jsonl").write_text(json.dumps(REQUEST) + "\n")
    (folder / "outcomes.jsonl").write_text(json.dumps({"custom_id": "q", "error": {"code": "batch_expired"}}) + "\n")
    run = {"thread_id": "thread_1", "run_id": "run_1"}
    return {
        "PortkeyRunSensor": run,
        "PortkeyThreadRunsSensor": {"thread_id": "thread_1", "run_ids": ["run_1", "run_2"]},
        "PortkeyResponseSensor": {"response_id": "resp_1"},
        "PortkeyBatchSensor": {"batch_id": "batch_1"},
        "PortkeyLogExportSensor": {"export_id": "exp_1"},
        "PortkeyFineTuningJobSensor": {"fine_tuning_job_id": "ft_1"},
        "PortkeyCustomJobSensor": {"job_spec": FILE_BATCH, "ids": {"vector_store_id": "vs_1", "batch_id": "fb_1"}},
        "PortkeyCreateRunOperator": {"assistant_id": "asst_1", "thread_id": "thread_1"},
        "PortkeyCancelRunOperator": {**run, "wait_for_completion": True},
        "PortkeyCreateResponseOperator": {"model": "m", "input": "Why?"},
        "PortkeyCreateCustomJobOperator": {
            "job_spec": replace(FILE_BATCH, create_path="/vector_stores/{vector_store_id}/file_batches"),
            "ids": {"vector_store_id": "vs_1"},
            "body": {"file_ids": ["a"]},
        },
        "PortkeyCreateBatchOperator": {"input_path": str(folder / "in.jsonl")},
        "PortkeyLogsToObjectStorageOperator": {"path": str(folder / "logs.jsonl"), **WINDOW},
        "PortkeyRunStepsOperator": run,
        "PortkeyResponseItemsOperator": {"response_id": "resp_1"},
        "PortkeyRunStepsToObjectStorageOperator": {**run, "path": str(folder / "steps"), "include_messages": True},
        "PortkeyThreadStepsToObjectStorageOperator": {"thread_ids": ["thread_1"], "path": str(folder), **WINDOW},
        "PortkeyResponseItemsToObjectStorageOperator": {"response_id": "resp_1", "path": str(folder / "items")},
        "PortkeyBatchOutputToObjectStorageOperator": {"batch_id": "batch_2", "path": str(folder / "output")},
        "PortkeyAnalyticsToObjectStorageOperator": {
            "report": "cost",
            "workspace_slug": "ws-team",
            "path": str(folder / "cost"),
            **WINDOW,
        },
        "PortkeyRunReportOperator": {"thread_id": "thread_1", "run_id": "run_2", "path": str(folder / "run.html")},
        "PortkeyBatchReportOperator": {
            "batch_id": "batch_2",
            "output_path": str(folder / "outcomes.jsonl"),
            "path": str(folder / "batch.html"),
        },
        "PortkeyListToObjectStorageOperator": {**EVENTS, "path": str(folder / "events")},
        "PortkeyListOperator": EVENTS,
        "PortkeyThreadRunsToObjectStorageOperator": {"thread_id": "thread_1", "path": str(folder / "runs")},
        "PortkeyThreadRunsOperator": {"thread_id": "thread_1"},
        "PortkeySubmitToolOutputsOperator": {
            "thread_id": "thread_1",
            "run_id": "run_calling",
            "tool_outputs": {"call_1": "sunny"},
        },
    }


def task_classes() -> dict[str, type[BaseOperator]]:
    """The tasks with a connection; the others send nothing to Portkey."""
    info = get_provider_info()
    names = [name for kind in ("sensors", "operators") for entry in info[kind] for name in entry["python-modules"]]
    modules = [importlib.import_module(name) for name in (*names, *(one["python-module"] for one in info["transfers"]))]
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if name.startswith("Portkey") and value.__module__ == module.__name__ and issubclass(value, BaseOperator)
        if "portkey_conn_id" in value.template_fields
    }


def test_no_task_is_left_out(tmp_path: Path) -> None:
    assert task_classes().keys() <= tasks(tmp_path).keys()


@pytest.fixture
def context(task_context: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Make the context of a try of the task."""
    return lambda **changes: task_context(**KEY | changes)


def work(task: Any, given: dict[str, Any]) -> int:
    """Run a task as workers and the triggerer do, and return how often it deferred."""
    deferred = 0
    step, arguments = task.execute, {}
    while True:
        try:
            step(given, **arguments)
            return deferred
        except TaskDeferred as deferral:
            deferred += 1
            classpath, kwargs = deferral.trigger.serialize()
            module, _, name = classpath.rpartition(".")
            trigger = getattr(importlib.import_module(module), name)(**json.loads(json.dumps(kwargs)))
            step, arguments = getattr(task, deferral.method_name), {"event": asyncio.run(event_of(trigger))}


async def event_of(trigger: Any) -> Any:
    (event,) = [event async for event in trigger.run()]
    return event.payload


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("name", sorted(task_classes()))
def test_every_request_of_a_task_carries_its_trace_id_and_the_ids_of_the_task(
    mock_server: PortkeyMockServer, context: Any, tmp_path: Path, name: str, deferrable: bool
) -> None:
    cls = task_classes()[name]
    if name == "PortkeySubmitToolOutputsOperator":
        mock_server.add_run(
            thread_id="thread_1", run_id="run_calling", statuses="requires_action", tool_calls=[TOOL_CALL]
        )
    waits = hasattr(cls, "execute_complete")
    how = {"deferrable": deferrable, "poke_interval": 0} if waits else {}

    deferred = work(cls(task_id="task", **tasks(tmp_path)[name], **how), context())

    assert len(mock_server.requests) >= 1
    assert {request.headers.get("x-portkey-trace-id") for request in mock_server.requests} == {ID}
    for request in mock_server.requests:
        purpose = "poll" if request.method == "GET" else "submit"
        assert json.loads(request.headers["x-portkey-metadata"]) == {**TASK, "airflow_request": purpose}
    for request in mock_server.storage_requests:
        assert not {"x-portkey-trace-id", "x-portkey-metadata"} & {name.lower() for name in request.headers}
    assert bool(deferred) == (deferrable and waits)
    assert bool(mock_server.storage_requests) == (name == "PortkeyLogsToObjectStorageOperator")


def test_each_try_has_its_own_trace_also_with_one_operator(mock_server: PortkeyMockServer, context: Any) -> None:
    cls = task_classes()["PortkeyRunSensor"]
    sensor: Any = cls(task_id="task", thread_id="thread_1", run_id="run_2")
    sensor.execute(context())
    sensor.execute(context(try_number=3))

    found = [request.headers["x-portkey-trace-id"] for request in mock_server.requests]
    assert found == [ID, trace_id_of(SimpleNamespace(**KEY | {"try_number": 3}))]


def test_a_task_that_is_killed_cancels_with_its_trace_id(mock_server: PortkeyMockServer, context: Any) -> None:
    mock_server.add_run(thread_id="thread_1", run_id="run_long", statuses="in_progress")
    cls = task_classes()["PortkeyRunSensor"]
    sensor: Any = cls(task_id="task", thread_id="thread_1", run_id="run_long", cancel_on_kill=True, deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute(context())
    sensor.on_kill()
    asyncio.run(deferred.value.trigger.on_kill())

    sent = [(request.method, request.headers["x-portkey-trace-id"]) for request in mock_server.requests]
    assert sent == [("GET", ID), ("POST", ID), ("POST", ID)]


def test_a_connection_with_a_trace_id_of_its_own_keeps_it(
    mock_server: PortkeyMockServer, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = mock_server.connection()
    connection["extra"] = {**connection["extra"], "headers": {"X-Portkey-Trace-Id": "ours"}}
    monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(connection))
    cls = task_classes()["PortkeyRunSensor"]

    assert work(cls(task_id="task", thread_id="thread_1", run_id="run_1", deferrable=True), context()) == 1
    assert {request.headers["x-portkey-trace-id"] for request in mock_server.requests} == {"ours"}


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize(
    ("extra", "sent"),
    [
        ({"metadata": {"team": "data", "airflow_dag_id": "ours"}}, {**TASK, "team": "data", "airflow_dag_id": "ours"}),
        ({"headers": {"X-Portkey-Metadata": '{"team": "data"}'}}, {**TASK, "team": "data"}),
    ],
)
def test_the_keys_of_the_connection_win(
    mock_server: PortkeyMockServer,
    context: Any,
    monkeypatch: pytest.MonkeyPatch,
    extra: Any,
    sent: Any,
    deferrable: bool,
) -> None:
    connection = mock_server.connection()
    connection["extra"] = {**connection["extra"], **extra}
    monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(connection))
    cls = task_classes()["PortkeyRunSensor"]

    work(cls(task_id="task", thread_id="thread_1", run_id="run_1", deferrable=deferrable), context())

    for request in mock_server.requests:
        values = [value for name, value in request.headers.items() if name.lower() == "x-portkey-metadata"]
        assert [json.loads(value) for value in values] == [{**sent, "airflow_request": "poll"}]


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("own", [None, {"team": "data"}])
def test_a_connection_can_leave_the_task_out(
    mock_server: PortkeyMockServer, context: Any, monkeypatch: pytest.MonkeyPatch, own: Any, deferrable: bool
) -> None:
    connection = mock_server.connection()
    connection["extra"] = {**connection["extra"], "omit_task_metadata": True, "metadata": own}
    monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(connection))
    cls = task_classes()["PortkeyRunSensor"]

    work(cls(task_id="task", thread_id="thread_1", run_id="run_1", deferrable=deferrable), context())

    sent = {request.headers.get("x-portkey-metadata") for request in mock_server.requests}
    assert sent == ({None} if own is None else {json.dumps(own)})


def test_waits_of_several_tasks_on_one_session_keep_their_ids_apart(mock_server: PortkeyMockServer) -> None:
    from airflow_provider_portkey.client.aio import open_client

    settings = PortkeyHook().settings

    async def poll(number: int) -> object:
        async with open_client(settings, task_metadata={"airflow_task_id": f"task_{number}"}) as client:
            await asyncio.gather(*(client.get("/responses/{response_id}", {"response_id": f"r{number}"}) for _ in "ab"))
            return client.pool

    async def poll_all() -> list[object]:
        async with open_client(settings):  # keeps the session
            return await asyncio.gather(*map(poll, range(10)))

    for number in range(10):
        mock_server.add_response(response_id=f"r{number}", statuses="completed")
    assert len(set(asyncio.run(poll_all()))) == 1
    sent = sorted(
        (request.path.rpartition("/")[2], json.loads(request.headers["x-portkey-metadata"])["airflow_task_id"])
        for request in mock_server.requests
    )
    assert sent == [(f"r{number}", f"task_{number}") for number in range(10) for _ in "ab"]


def test_a_hook_in_a_task_of_python_says_which_task(mock_server: PortkeyMockServer, task_context: Any) -> None:
    try:
        from airflow.sdk.execution_time.context import set_current_context
    except ImportError:  # before Airflow 3
        from airflow.utils.context import set_current_context  # type: ignore[attr-defined, no-redef]

    with set_current_context(task_context(**KEY)):
        PortkeyHook().get_run("thread_1", "run_2")

    assert json.loads(mock_server.requests[0].headers["x-portkey-metadata"]) == {**TASK, "airflow_request": "poll"}


def test_a_hook_outside_of_a_task_sends_neither_trace_id_nor_metadata(mock_server: PortkeyMockServer) -> None:
    PortkeyHook().get_run("thread_1", "run_2")

    assert not {"x-portkey-trace-id", "x-portkey-metadata"} & mock_server.requests[0].headers.keys()


def test_an_error_names_the_trace_id_that_was_sent(mock_server: PortkeyMockServer) -> None:
    mock_server.fault(status=400, headers={"x-portkey-trace-id": ""})
    with pytest.raises(PortkeyBadRequestError, match=f"trace id {ID}") as refused:
        PortkeyHook(trace_id=ID).get_run("thread_1", "run_2")
    assert refused.value.trace_id == ID

    mock_server.fault(disconnect=True)
    with pytest.raises(PortkeyUnreachableError) as broken_off:
        PortkeyHook(trace_id=ID).get_job(RUN, {"thread_id": "thread_1", "run_id": "run_2"}, max_retries=0)
    assert broken_off.value.trace_id == ID


def test_the_links_of_tasks_that_ran_lead_to_their_requests(
    mock_server: PortkeyMockServer,
    tmp_path: Path,
    stored_dag: Callable[[Any], Any],
    parse_dags: Callable[[Path], dict[str, Any]],
) -> None:
    dag = parse_dags(EXAMPLES)["portkey_gate_and_export"]
    mock_server.add_run(thread_id="thread_demo", run_id="run_demo", steps=3, **lasting("completed"))
    dag_run = dag.test(run_conf={"path": str(tmp_path / "steps.jsonl")})

    stored = stored_dag(dag)
    links = set()
    for ti in dag_run.get_task_instances():
        assert (ti.state, stored.get_task(ti.task_id).extra_links) == ("success", ["Portkey trace"])
        links.add(stored.get_task(ti.task_id).get_extra_links(ti, "Portkey trace"))
    sent = {request.headers["x-portkey-trace-id"] for request in mock_server.requests}
    assert len(links) == 2
    assert links == {f"https://app.portkey.ai/logs?trace_id={one}" for one in sent}
