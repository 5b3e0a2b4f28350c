"""One trigger for many runs, against the mock server."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from airflow_provider_portkey.testing import PortkeyMockServer
from airflow_provider_portkey.triggers.run import PortkeyThreadRunsTrigger

LIST = "/v1/threads/thread_1/runs"


@pytest.fixture(autouse=True)
def no_pause(pauses: list[float]) -> None:
    """No wait of these tests is slept."""


def add_runs(mock_server: PortkeyMockServer, count: int, statuses: Any = "completed") -> list[str]:
    runs = range(count)
    return [mock_server.add_run(thread_id="thread_1", run_id=f"run_{n}", statuses=statuses)["id"] for n in runs]


def trigger(**changes: Any) -> PortkeyThreadRunsTrigger:
    arguments = {"thread_id": "thread_1", "deadline": time.time() + 60, "poll_interval": 7.0}
    return PortkeyThreadRunsTrigger(**(arguments | changes))


def event_of(one: PortkeyThreadRunsTrigger) -> dict[str, Any]:
    async def events() -> list[Any]:
        return [event async for event in one.run()]

    (event,) = asyncio.run(events())
    return json.loads(json.dumps(event.payload))


def test_survives_the_trip_through_the_database():
    known = {"waiting": ["run_1"], "pages": [None, "run_0"]}
    one = trigger(run_ids=["run_1"], wait_for="any", max_failed_runs=None, created_within=5.0, known=known)
    classpath, arguments = one.serialize()
    assert classpath == "airflow_provider_portkey.triggers.run.PortkeyThreadRunsTrigger"
    assert PortkeyThreadRunsTrigger(**json.loads(json.dumps(arguments))).serialize() == one.serialize()


def test_two_hundred_runs_cost_two_requests_a_look(mock_server, pauses):
    run_ids = add_runs(mock_server, 200, "in_progress")
    mock_server.fault(status=500, times=3)
    event = event_of(trigger(run_ids=run_ids, max_consecutive_failures=3))
    assert event["reason"] == "gave_up"
    assert len(mock_server.requests) == 3
    assert event_of(trigger(run_ids=run_ids, deadline=time.time() - 1))["reason"] == "timed_out"
    assert [request.path for request in mock_server.requests[3:]] == [LIST] * 2
    assert all(pause > 0 for pause in pauses[1:3])


def test_only_runs_out_of_the_lists_reach_are_asked_for_by_themselves(mock_server):
    add_runs(mock_server, 350)
    event = event_of(trigger(run_ids=["run_0", "run_348", "run_349"]))
    assert (event["reason"], event["job"]["counts"]) == ("success_statuses", {"completed": 3})
    assert [request.path for request in mock_server.requests] == [LIST, f"{LIST}/run_0"]


def test_the_active_runs_are_found_and_waited_for(mock_server):
    add_runs(mock_server, 120)
    for number in range(3):
        mock_server.add_run(thread_id="thread_1", run_id=f"active_{number}", statuses="queued")
    event = event_of(trigger(deadline=time.time() - 1))
    assert event["reason"] == "timed_out"
    assert "3 of 3 runs" in event["message"]


def test_a_run_that_is_not_there_is_named(mock_server):
    add_runs(mock_server, 2, "in_progress")
    event = event_of(trigger(run_ids=["run_0", "run_1", "gone"]))
    assert (event["reason"], event["error"]["status_code"]) == ("refused", 404)
    assert "runs/gone" in event["message"]


def test_single_runs_that_fail_are_a_failed_look(mock_server, pauses):
    add_runs(mock_server, 250, "completed")
    mock_server.fault(status=429, headers={"Retry-After": "31"}, path=f"{LIST}/run_0")
    assert event_of(trigger(run_ids=["run_0", "run_248", "run_249"]))["reason"] == "success_statuses"
    assert pauses[1] == 31.0


def test_a_kill_cancels_what_was_still_active_at_the_last_look(mock_server):
    add_runs(mock_server, 20, "in_progress")
    for number in range(5):
        mock_server.add_run(thread_id="thread_1", run_id=f"over_{number}", statuses="completed")
    run_ids = [f"over_{number}" for number in range(5)] + [f"run_{number}" for number in range(20)]
    one = trigger(run_ids=run_ids, cancel_on_kill=True)

    async def killed() -> None:
        waiting = asyncio.create_task(anext(one.run()))
        while len(mock_server.requests) < 2:
            await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await one.on_kill()

    asyncio.run(killed())
    cancels = {request.path for request in mock_server.requests if request.method == "POST"}
    assert cancels == {f"{LIST}/run_{number}/cancel" for number in range(20)}


@pytest.mark.parametrize(
    ("asked", "known", "cancelled"),
    [(True, {"waiting": ["run_1"]}, ["run_1"]), (True, {}, []), (False, {"waiting": ["run_1"]}, [])],
)
def test_a_kill_before_the_first_look_cancels_what_the_task_knew(mock_server, asked, known, cancelled):
    add_runs(mock_server, 2, "in_progress")
    asyncio.run(trigger(known=known, cancel_on_kill=asked).on_kill())
    assert [request.path for request in mock_server.requests] == [f"{LIST}/{run_id}/cancel" for run_id in cancelled]
