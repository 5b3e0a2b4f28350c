"""Triggers for one run and for many runs, against the mock server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from airflow_provider_portkey.client import aio
from airflow_provider_portkey.exceptions import PortkeyPaginationError
from airflow_provider_portkey.jobs.run import RUN_GROUP
from airflow_provider_portkey.polling.events import conclude
from airflow_provider_portkey.testing import PortkeyMockServer
from airflow_provider_portkey.triggers.run import PortkeyRunTrigger, PortkeyThreadRunsTrigger

LIST = "/v1/threads/thread_1/runs"


@pytest.fixture(autouse=True)
def no_pause(pauses: list[float]) -> None:
    """No wait of these tests is slept."""


@pytest.fixture
def run_trigger(wait_state):
    def make(state: Any = (), **changes: Any) -> PortkeyRunTrigger:
        ids = {"thread_id": "thread_1", "run_id": "run_1"}
        return PortkeyRunTrigger(**ids | changes, wait_state=wait_state(**dict(state)))

    return make


@pytest.fixture
def group_trigger(wait_state):
    def make(state: Any = (), **changes: Any) -> PortkeyThreadRunsTrigger:
        return PortkeyThreadRunsTrigger(thread_id="thread_1", wait_state=wait_state(**dict(state)), **changes)

    return make


@pytest.fixture
def event_of(next_event):
    return lambda trigger: asyncio.run(next_event(trigger))


def add_runs(mock_server: PortkeyMockServer, count: int, statuses: Any = "completed") -> list[str]:
    runs = range(count)
    return [mock_server.add_run(thread_id="thread_1", run_id=f"run_{n}", statuses=statuses)["id"] for n in runs]


def test_survives_the_trip_through_the_database(run_trigger):
    state = {"max_consecutive_failures": None, "on_requires_action": "wait", "status": "queued", "failures": 2}
    one = run_trigger(state, cancel_on_kill=True, trace_id="trace_1")
    classpath, arguments = one.serialize()
    assert classpath == "airflow_provider_portkey.triggers.run.PortkeyRunTrigger"
    assert arguments["wait_state"].items() >= state.items()
    again = PortkeyRunTrigger(**json.loads(json.dumps(arguments)))
    assert again.serialize() == one.serialize()


def test_carries_no_credential(mock_server, run_trigger):
    shown = json.dumps(run_trigger().serialize()) + repr(run_trigger())
    connection = mock_server.connection()
    assert connection["password"] not in shown
    assert connection["extra"]["provider_api_key"] not in shown


def test_polls_until_the_run_has_finished(mock_server, pauses, run_trigger, event_of):
    mock_server.add_run(
        thread_id="thread_1",
        run_id="run_1",
        statuses=[("queued", 0), ("in_progress", 1), ("completed", 2)],
        advance="per_poll",
    )
    event = event_of(run_trigger())
    assert (event["reason"], event["job"]["status"]) == ("succeeded", "completed")
    assert len(mock_server.requests) == 3
    assert pauses[1:] == [7.0, 7.0]


def test_there_is_a_pause_between_any_two_polls(mock_server, pauses, run_trigger, event_of):
    mock_server.add_run(thread_id="thread_1", run_id="run_1", statuses="in_progress")
    mock_server.fault(status=500, times=3)
    mock_server.fault(status=200, body="<html>", content_type="text/html", times=1)
    event = event_of(run_trigger({"max_consecutive_failures": 3}))
    assert event["reason"] == "gave_up"
    assert len(mock_server.requests) == 3
    assert len(pauses) == 3
    assert all(pause > 0 for pause in pauses[1:])


def test_honours_retry_after(mock_server, pauses, run_trigger, event_of):
    mock_server.add_run(thread_id="thread_1", run_id="run_1", statuses="completed")
    mock_server.fault(status=429, headers={"Retry-After": "31"})
    assert event_of(run_trigger())["reason"] == "succeeded"
    assert pauses[1] == 31.0


def test_says_which_of_the_two_refused(mock_server, run_trigger, event_of):
    mock_server.fault(status=401, body={"error": {"message": "Bad key", "type": "x", "param": None, "code": None}})
    event = event_of(run_trigger())
    assert (event["reason"], event["error"]["refused_by"]) == ("refused", "provider")
    assert "provider_api_key" in event["message"]


def test_a_deadline_in_the_past_still_takes_one_poll(mock_server, run_trigger, event_of):
    mock_server.add_run(thread_id="thread_1", run_id="run_1", statuses="completed")
    assert event_of(run_trigger({"deadline": 0.0}))["reason"] == "succeeded"
    mock_server.add_run(thread_id="thread_1", run_id="run_2", statuses="queued")
    assert event_of(run_trigger({"deadline": 0.0}, run_id="run_2"))["reason"] == "timed_out"


def test_many_waits_share_one_session_which_the_last_one_closes(mock_server, monkeypatch, run_trigger, next_event):
    mock_server.add_run(
        thread_id="thread_1",
        run_id="run_1",
        statuses=[("queued", n) for n in range(60)] + [("completed", 60)],
        advance="per_poll",
    )
    opened = []
    original = aio._open_session

    async def counted(settings):
        opened.append(await original(settings))
        return opened[-1]

    monkeypatch.setattr(aio, "_open_session", counted)

    async def all_of_them() -> list[dict]:
        return await asyncio.gather(*(next_event(run_trigger()) for _ in range(20)))

    assert {event["reason"] for event in asyncio.run(all_of_them())} == {"succeeded"}
    assert len(opened) == 1
    assert opened[0].closed


def test_a_wait_that_is_cancelled_leaves_the_session_to_the_others(mock_server, run_trigger, next_event):
    mock_server.add_run(thread_id="thread_1", run_id="run_1", statuses="queued")

    async def one_of_two() -> bool:
        waits = [asyncio.create_task(next_event(run_trigger())) for _ in range(2)]
        while len(mock_server.requests) < 4:
            await asyncio.sleep(0.01)
        waits[0].cancel()
        seen = len(mock_server.requests)
        while len(mock_server.requests) < seen + 3:
            await asyncio.sleep(0.01)
        alive = not waits[1].done()
        waits[1].cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        return alive and not aio._SHARED[asyncio.get_running_loop()]

    assert asyncio.run(one_of_two())


@pytest.mark.parametrize("requested", [True, False])
def test_a_kill_cancels_the_run_only_where_that_was_requested(mock_server, requested, run_trigger):
    mock_server.add_run(thread_id="thread_1", run_id="run_1", statuses="in_progress")
    asyncio.run(run_trigger(cancel_on_kill=requested).on_kill())
    cancels = [request for request in mock_server.requests if request.method == "POST"]
    assert [request.path for request in cancels] == (["/v1/threads/thread_1/runs/run_1/cancel"] if requested else [])
    assert [request.body for request in cancels] == ([b""] if requested else [])


# Many runs


def test_a_wait_for_many_runs_survives_the_trip_through_the_database(group_trigger):
    known = {"waiting": ["run_1"], "pages": [None, "run_0"]}
    one = group_trigger(run_ids=["run_1"], wait_for="any", max_failed_runs=None, created_within=5.0, known=known)
    classpath, arguments = one.serialize()
    assert classpath == "airflow_provider_portkey.triggers.run.PortkeyThreadRunsTrigger"
    assert PortkeyThreadRunsTrigger(**json.loads(json.dumps(arguments))).serialize() == one.serialize()


def test_two_hundred_runs_cost_two_requests_a_poll(mock_server, pauses, group_trigger, event_of):
    run_ids = add_runs(mock_server, 200, "in_progress")
    mock_server.fault(status=500, times=3)
    event = event_of(group_trigger({"max_consecutive_failures": 3}, run_ids=run_ids))
    assert event["reason"] == "gave_up"
    assert len(mock_server.requests) == 3
    assert event_of(group_trigger({"deadline": 0.0}, run_ids=run_ids))["reason"] == "timed_out"
    assert [request.path for request in mock_server.requests[3:]] == [LIST] * 2
    assert all(pause > 0 for pause in pauses[1:3])


def test_only_runs_out_of_the_lists_reach_are_requested_by_themselves(mock_server, group_trigger, event_of):
    add_runs(mock_server, 350)
    event = event_of(group_trigger(run_ids=["run_0", "run_348", "run_349"]))
    assert (event["reason"], event["job"]["status_counts"]) == ("succeeded", {"completed": 3})
    assert [request.path for request in mock_server.requests] == [LIST, f"{LIST}/run_0"]


def test_the_active_runs_are_found_and_waited_for(mock_server, group_trigger, event_of):
    add_runs(mock_server, 120)
    for number in range(3):
        mock_server.add_run(thread_id="thread_1", run_id=f"active_{number}", statuses="queued")
    event = event_of(group_trigger({"deadline": 0.0}))
    assert event["reason"] == "timed_out"
    assert "3 of 3 runs" in event["message"]


def test_a_list_that_repeats_itself_is_an_event_of_its_own(mock_server, group_trigger, event_of):
    add_runs(mock_server, 2, "queued")
    run = {"id": "run_1", "status": "queued", "created_at": 4_000_000_000}
    mock_server.fault(body={"object": "list", "data": [run], "has_more": True}, path=LIST, times=None)
    with pytest.raises(PortkeyPaginationError, match="run_1"):
        conclude(RUN_GROUP, event_of(group_trigger()))
    assert len(mock_server.requests) == 2


def test_a_run_that_does_not_exist_is_named(mock_server, group_trigger, event_of):
    add_runs(mock_server, 2, "in_progress")
    event = event_of(group_trigger(run_ids=["run_0", "run_1", "gone"]))
    assert (event["reason"], event["error"]["status_code"]) == ("refused", 404)
    assert "runs/gone" in event["message"]


def test_single_runs_that_fail_are_a_failed_poll(mock_server, pauses, group_trigger, event_of):
    add_runs(mock_server, 250, "completed")
    mock_server.fault(status=429, headers={"Retry-After": "31"}, path=f"{LIST}/run_0")
    assert event_of(group_trigger(run_ids=["run_0", "run_248", "run_249"]))["reason"] == "succeeded"
    assert pauses[1] == 31.0


def test_a_kill_cancels_the_runs_that_were_active_at_the_last_poll(mock_server, group_trigger):
    add_runs(mock_server, 20, "in_progress")
    for number in range(5):
        mock_server.add_run(thread_id="thread_1", run_id=f"over_{number}", statuses="completed")
    run_ids = [f"over_{number}" for number in range(5)] + [f"run_{number}" for number in range(20)]
    one = group_trigger(run_ids=run_ids, cancel_on_kill=True)

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
    ("requested", "known", "cancelled"),
    [(True, {"waiting": ["run_1"]}, ["run_1"]), (True, {}, []), (False, {"waiting": ["run_1"]}, [])],
)
def test_a_kill_before_the_first_poll_cancels_the_runs_that_the_task_knew(
    mock_server, requested, known, cancelled, group_trigger
):
    add_runs(mock_server, 2, "in_progress")
    asyncio.run(group_trigger(known=known, cancel_on_kill=requested).on_kill())
    assert [request.path for request in mock_server.requests] == [f"{LIST}/{run_id}/cancel" for run_id in cancelled]
