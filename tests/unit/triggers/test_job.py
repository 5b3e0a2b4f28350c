"""Triggers for jobs of any declared kind, against the mock server."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from typing import Any

import pytest
from airflow.triggers.base import BaseTrigger

from airflow_provider_portkey.exceptions import PortkeyNotFoundError
from airflow_provider_portkey.jobs.response import RESPONSE
from airflow_provider_portkey.jobs.run import RUN
from airflow_provider_portkey.triggers.job import BasePortkeyTrigger, PortkeyRemoteJobsTrigger, PortkeyRemoteJobTrigger

IDS = {"thread_id": "thread_1", "run_id": "run_1"}


@pytest.fixture(autouse=True)
def no_pause(pauses: list[float]) -> None:
    """No wait of these tests is slept."""


@pytest.fixture
def trigger(wait_state):
    def make(**changes: Any) -> PortkeyRemoteJobTrigger:
        arguments = {"job_spec": RUN.to_dict(), "ids": IDS, "wait_state": wait_state()} | changes
        return PortkeyRemoteJobTrigger(**arguments)

    return make


@pytest.fixture
def jobs_trigger(wait_state):
    def make(*run_ids: str, **changes: Any) -> PortkeyRemoteJobsTrigger:
        pending = [IDS | {"run_id": run_id} for run_id in run_ids]
        return PortkeyRemoteJobsTrigger(job_spec=RUN.to_dict(), pending=pending, wait_state=wait_state(), **changes)

    return make


def cancelled_runs(mock_server) -> list[str]:
    return [request.path.split("/")[-2] for request in mock_server.requests if request.method == "POST"]


def test_a_wait_for_a_declared_job_survives_the_trip_through_the_database(trigger):
    one = trigger(portkey_conn_id="other", cancel_on_kill=True, trace_id="trace_1")
    classpath, arguments = one.serialize()
    assert classpath == "airflow_provider_portkey.triggers.job.PortkeyRemoteJobTrigger"
    again = PortkeyRemoteJobTrigger(**json.loads(json.dumps(arguments)))
    assert again.serialize() == one.serialize()
    assert again.job.terminal_statuses == RUN.terminal_statuses


def test_a_wait_for_several_jobs_survives_the_trip_through_the_database(jobs_trigger):
    one = jobs_trigger("run_1", "run_2", cancel_on_kill=True)
    classpath, arguments = one.serialize()
    assert classpath == "airflow_provider_portkey.triggers.job.PortkeyRemoteJobsTrigger"
    assert PortkeyRemoteJobsTrigger(**json.loads(json.dumps(arguments))).serialize() == one.serialize()


def test_polls_until_the_job_has_finished(mock_server, trigger, next_event, pauses):
    statuses = [("queued", 0), ("in_progress", 1), ("completed", 2)]
    mock_server.add_run(**IDS, statuses=statuses, advance="per_poll")
    event = asyncio.run(next_event(trigger(trace_id="trace_1")))
    assert (event["reason"], event["job"]["status"]) == ("succeeded", "completed")
    assert pauses[1:] == [7.0, 7.0]
    assert {request.headers["x-portkey-trace-id"] for request in mock_server.requests} == {"trace_1"}


def test_several_jobs_are_one_wait(mock_server, jobs_trigger, next_event):
    for number in (1, 2):
        statuses = [("queued", 0), ("completed", 1)]
        mock_server.add_run(thread_id="thread_1", run_id=f"run_{number}", statuses=statuses, advance="per_poll")
    event = asyncio.run(next_event(jobs_trigger("run_1", "run_2")))
    assert (event["reason"], event["job"]["id"]) == ("succeeded", "run_2")


def test_continues_with_the_values_of_the_task_that_deferred(mock_server, trigger, wait_state, next_event):
    mock_server.fault(status=500, times=None)
    state = wait_state(failures=4, status="queued")
    event = asyncio.run(next_event(trigger(wait_state=state)))
    assert (event["reason"], event["status"], len(mock_server.requests)) == ("gave_up", "queued", 1)


def test_a_response_that_is_no_job_is_a_failed_poll(mock_server, trigger, next_event):
    mock_server.fault(body={"id": "run_1", "status": []}, times=None)
    event = asyncio.run(next_event(trigger()))
    assert event["reason"] == "gave_up"
    assert "its status is []" in event["message"]
    assert len(mock_server.requests) == 5


@pytest.mark.parametrize("requested", [True, False])
def test_a_kill_cancels_every_job_only_where_that_was_requested(mock_server, jobs_trigger, requested):
    for number in range(3):
        mock_server.add_run(thread_id="thread_1", run_id=f"run_{number}", statuses="in_progress")
    asyncio.run(jobs_trigger("run_0", "run_1", "run_2", cancel_on_kill=requested).on_kill())
    assert cancelled_runs(mock_server) == (["run_0", "run_1", "run_2"] if requested else [])


def test_a_job_that_cannot_be_cancelled_keeps_none_of_the_others(mock_server, jobs_trigger):
    mock_server.add_run(thread_id="thread_1", run_id="run_1", statuses="in_progress")
    with pytest.raises(PortkeyNotFoundError):
        asyncio.run(jobs_trigger("gone", "run_1", cancel_on_kill=True).on_kill())
    assert sorted(cancelled_runs(mock_server)) == ["gone", "run_1"]


def test_a_job_that_has_no_cancel_path_is_left_alone(mock_server, trigger):
    spec = RESPONSE.to_dict() | {"cancel_path": None}
    asyncio.run(trigger(job_spec=spec, ids={"response_id": "resp_1"}, cancel_on_kill=True).on_kill())
    assert not mock_server.requests


def test_the_log_names_a_handful_of_cancelled_jobs(mock_server, jobs_trigger, monkeypatch):
    lines: list[str] = []
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", lambda record: lines.append(record.getMessage()))
    log = logging.Logger("trigger")
    log.addHandler(handler)
    monkeypatch.setattr(BasePortkeyTrigger, "log", log)
    run_ids = [f"run_{number}" for number in range(7)]
    for run_id in run_ids:
        mock_server.add_run(thread_id="thread_1", run_id=run_id, statuses="in_progress")
    asyncio.run(jobs_trigger(*run_ids, cancel_on_kill=True).on_kill())
    (line,) = lines
    assert "run_4" in line
    assert "run_5" not in line
    assert line.endswith("2 more, because the task was stopped.")


@pytest.fixture
def may_log(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Until this is set, the logger of triggers blocks: Airflow's supervisor may take seconds to read the lines."""
    may_log = threading.Event()

    class Blocking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            assert may_log.wait(20)

    log = logging.Logger("trigger")
    log.addHandler(Blocking())
    monkeypatch.setattr(BaseTrigger, "log", log, raising=False)
    return may_log


def test_a_logger_that_blocks_does_not_block_the_event_loop(mock_server, trigger, next_event, may_log):
    mock_server.add_run(**IDS, statuses=["queued", "completed"])

    async def main() -> dict[str, Any]:
        waiting = asyncio.create_task(next_event(trigger()))
        while not mock_server.requests:
            await asyncio.sleep(0.002)
        asyncio.get_running_loop().call_later(0.1, may_log.set)
        return await waiting

    assert asyncio.run(main())["status"] == "completed"


def test_a_logger_that_blocks_does_not_delay_a_cancellation(mock_server, jobs_trigger, until, may_log):
    mock_server.add_run(thread_id="thread_1", run_id="run_1", statuses="in_progress")

    async def main() -> None:
        killing = asyncio.create_task(jobs_trigger("run_1", cancel_on_kill=True).on_kill())
        await until(lambda: cancelled_runs(mock_server))
        assert not may_log.is_set()
        may_log.set()
        await killing

    asyncio.run(main())
    assert cancelled_runs(mock_server) == ["run_1"]
