from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import Stats, TaskDeferred
from airflow.utils.db import initdb

from airflow_provider_portkey.exceptions import PortkeyError
from airflow_provider_portkey.jobs.batch import BATCH
from airflow_provider_portkey.jobs.run import RUN, RUN_GROUP
from airflow_provider_portkey.metrics import count_cost, count_usage
from airflow_provider_portkey.operators.run import PortkeyCreateRunOperator
from airflow_provider_portkey.sensors.run import PortkeyRunSensor, PortkeyThreadRunsSensor
from airflow_provider_portkey.testing import PortkeyMockServer, fake_context

USAGE = {"prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42}
TERMINAL_STATUSES = ("completed", "failed", "cancelled", "expired", "incomplete")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, dict[str, str]]]:
    """The counts that were added to metrics, in order."""
    found: list[tuple[str, int, dict[str, str]]] = []

    def incr(stat: str, count: int = 1, rate: float = 1, *, tags: dict[str, str] | None = None) -> None:
        found.append((stat, count, tags or {}))

    monkeypatch.setattr(Stats, "incr", incr, raising=False)
    return found


@pytest.mark.parametrize("status", TERMINAL_STATUSES)
def test_a_run_with_a_terminal_status_is_counted(counted: list[Any], status: str) -> None:
    count_usage(RUN, {"status": status, "usage": USAGE})

    assert counted == [("portkey.run.tokens", 42, {"status": status})]


@pytest.mark.parametrize(
    "job",
    [
        {"status": "requires_action", "usage": USAGE},
        {"status": "in_progress", "usage": None},
        {"status": "cancelled", "usage": None},
        {"status": "completed", "usage": {"total_tokens": "many"}},
        {"status": "completed"},
        {},
    ],
)
def test_a_run_that_is_active_or_names_no_tokens_is_not_counted(counted: list[Any], job: dict[str, Any]) -> None:
    count_usage(RUN, job)

    assert counted == []


def test_a_kind_without_a_metric_is_not_counted(counted: list[Any]) -> None:
    count_usage(BATCH, {"status": "completed", "usage": USAGE})

    assert counted == []


def test_a_summary_is_counted_for_each_status(counted: list[Any]) -> None:
    count_usage(RUN_GROUP, {"tokens_by_status": {"completed": 84, "failed": 1}})

    assert counted == [
        ("portkey.run.tokens", 84, {"status": "completed"}),
        ("portkey.run.tokens", 1, {"status": "failed"}),
    ]


@pytest.fixture
def mock_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[PortkeyMockServer]:
    monkeypatch.setattr("airflow_provider_portkey.polling.drivers._seconds_to_grid", lambda seconds: 0.0)
    monkeypatch.setattr("airflow_provider_portkey.tasks.wait.time.sleep", lambda seconds: None)
    with PortkeyMockServer(run_seconds=0) as mock_server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(mock_server.connection()))
        yield mock_server


def run_task(task: Any) -> tuple[int, Any]:
    """Run a task as workers and the triggerer do; return the number of deferrals, and the XCom or the error."""
    context = fake_context()
    deferred = 0
    step, arguments = task.execute, {}
    while True:
        try:
            return deferred, step(context, **arguments)
        except TaskDeferred as deferral:
            deferred += 1
            step, arguments = task.execute_complete, {"event": asyncio.run(event_of(deferral.trigger))}
        except PortkeyError as error:
            return deferred, error


async def event_of(trigger: Any) -> Any:
    (event,) = [event async for event in trigger.run()]
    return event.payload


@pytest.mark.parametrize("how", [{}, {"mode": "reschedule"}, {"deferrable": True}])
@pytest.mark.parametrize("status", ["completed", "failed"])
def test_a_wait_for_a_run_counts_it_once_in_each_mode(
    mock_server: PortkeyMockServer, counted: list[Any], how: dict[str, Any], status: str
) -> None:
    if "mode" in how:
        initdb()  # Airflow 2 reads the beginning of the wait from the database
    statuses = [status] if "mode" in how else ["in_progress", "in_progress", "in_progress", status]
    mock_server.add_run(thread_id="t", run_id="r", statuses=statuses, advance="per_poll", fields={"usage": USAGE})

    deferred, result = run_task(PortkeyRunSensor(task_id="wait", thread_id="t", run_id="r", poke_interval=0, **how))

    assert deferred == len(how.keys() & {"deferrable"})
    assert counted == [("portkey.run.tokens", 42, {"status": status})]
    assert (result if status == "completed" else result.job)["usage"] == USAGE


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_wait_for_several_runs_counts_each_once(
    mock_server: PortkeyMockServer, counted: list[Any], deferrable: bool
) -> None:
    for number, status in enumerate(("completed", "failed", "completed")):
        statuses = [("in_progress", 0), (status, 0.2 + number / 10)]
        mock_server.add_run(thread_id="t", run_id=f"r{number}", statuses=statuses, fields={"usage": USAGE})

    task = PortkeyThreadRunsSensor(
        task_id="wait", thread_id="t", run_ids=["r0", "r1", "r2"], max_failed_runs=1, poke_interval=0,
        deferrable=deferrable,
    )  # fmt: skip
    deferred, result = run_task(task)

    assert deferred == deferrable
    assert result["tokens_by_status"] == {"completed": 84, "failed": 42}
    assert sorted(counted, key=str) == [
        ("portkey.run.tokens", 42, {"status": "failed"}),
        ("portkey.run.tokens", 84, {"status": "completed"}),
    ]


def test_a_run_that_a_task_creates_is_counted(mock_server: PortkeyMockServer, counted: list[Any]) -> None:
    mock_server.add_run(thread_id="t", run_id="r", statuses="completed")
    _, run = run_task(PortkeyCreateRunOperator(task_id="create", assistant_id="a", thread_id="t", poke_interval=0))

    assert counted == [("portkey.run.tokens", run["usage"]["total_tokens"], {"status": "completed"})]


COST = {"total_tokens": 12, "cost": 0.00025}


@pytest.mark.parametrize("status", TERMINAL_STATUSES)
def test_the_cost_of_a_run_is_counted(counted: list[Any], status: str) -> None:
    count_usage(RUN, {"status": status, "usage": COST})

    assert counted[1:] == [("portkey.cost", 0.00025, {"kind": "run", "status": status})]


def test_the_cost_of_a_kind_without_a_metric_of_its_own_is_counted(counted: list[Any]) -> None:
    count_usage(BATCH, {"status": "completed", "usage": COST})

    assert counted == [("portkey.cost", 0.00025, {"kind": "batch", "status": "completed"})]


@pytest.mark.parametrize("job", [{"status": "in_progress", "usage": COST}, {"usage": COST}, {"status": "completed"}])
def test_the_cost_of_an_active_job_is_not_counted(counted: list[Any], job: dict[str, Any]) -> None:
    count_usage(BATCH, job)

    assert counted == []


@pytest.mark.parametrize("cost", [None, -1])
def test_a_cost_that_no_counter_takes_is_left_out(counted: list[Any], cost: float | None) -> None:
    count_cost("run", "completed", cost)

    assert counted == []


def test_the_costs_of_many_runs_are_summed_exactly(counted: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with PortkeyMockServer() as server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(server.connection()))
        for number in range(4):
            status = "failed" if number == 3 else "completed"
            server.add_run(thread_id="thread_1", run_id=f"run_{number}", statuses=status, cost=0.00025)
        run_ids = [f"run_{number}" for number in range(4)]
        sensor = PortkeyThreadRunsSensor(task_id="wait", thread_id="thread_1", run_ids=run_ids, max_failed_runs=None)
        found = sensor.execute(fake_context())

    found = getattr(found, "xcom_value", found)
    assert found["cost"] == 0.001
    assert found["cost_by_status"] == {"completed": 0.00075, "failed": 0.00025}
    assert [each for each in counted if each[0] == "portkey.cost"] == [
        ("portkey.cost", 0.00075, {"kind": "runs", "status": "completed"}),
        ("portkey.cost", 0.00025, {"kind": "runs", "status": "failed"}),
    ]
