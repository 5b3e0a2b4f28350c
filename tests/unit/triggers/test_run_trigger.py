from __future__ import annotations

import asyncio
import json
import time

import pytest
from airflow.triggers.base import TriggerEvent

from airflow_provider_portkey.client import aio
from airflow_provider_portkey.triggers import job as trigger_module
from airflow_provider_portkey.triggers.run import PortkeyRunTrigger

PAUSE = trigger_module.sleep_to_grid


@pytest.fixture(autouse=True)
def no_pause(pauses: list[float]) -> None:
    """No wait of these tests is slept."""


def trigger(**changes) -> PortkeyRunTrigger:
    arguments = {"thread_id": "thread_1", "run_id": "run_1", "deadline": time.time() + 60, "poll_interval": 7.0}
    return PortkeyRunTrigger(**(arguments | changes))


async def event_of(one: PortkeyRunTrigger) -> dict:
    events = [event async for event in one.run()]
    assert len(events) == 1
    assert isinstance(events[0], TriggerEvent)
    return events[0].payload


def test_survives_the_trip_through_the_database():
    one = trigger(
        cancel_on_kill=True, max_consecutive_failures=None, on_requires_action="wait", status="queued", failures=2
    )
    classpath, arguments = one.serialize()
    assert classpath == "airflow_provider_portkey.triggers.run.PortkeyRunTrigger"
    again = PortkeyRunTrigger(**json.loads(json.dumps(arguments)))
    assert again.serialize() == one.serialize()


def test_carries_no_credential(mock_server):
    shown = json.dumps(trigger().serialize()) + repr(trigger())
    connection = mock_server.connection()
    assert connection["password"] not in shown
    assert connection["extra"]["provider_api_key"] not in shown


def test_looks_until_the_run_has_ended(mock_server, pauses):
    mock_server.add_run(
        thread_id="thread_1",
        run_id="run_1",
        statuses=[("queued", 0), ("in_progress", 1), ("completed", 2)],
        advance="per_poll",
    )
    event = asyncio.run(event_of(trigger()))
    assert (event["reason"], event["job"]["status"]) == ("success_statuses", "completed")
    assert len(mock_server.requests) == 3
    assert pauses[1:] == [pytest.approx(7.0, abs=1)] * 2


def test_there_is_a_pause_between_any_two_looks(mock_server, pauses):
    mock_server.add_run(thread_id="thread_1", run_id="run_1", statuses="in_progress")
    mock_server.fault(status=500, times=3)
    mock_server.fault(status=200, body="<html>", content_type="text/html", times=1)
    event = asyncio.run(event_of(trigger(max_consecutive_failures=3)))
    assert event["reason"] == "gave_up"
    assert len(mock_server.requests) == 3
    assert len(pauses) == 3
    assert all(pause > 0 for pause in pauses[1:])


def test_honours_retry_after(mock_server, pauses):
    mock_server.add_run(thread_id="thread_1", run_id="run_1", statuses="completed")
    mock_server.fault(status=429, headers={"Retry-After": "31"})
    assert asyncio.run(event_of(trigger()))["reason"] == "success_statuses"
    assert pauses[1] == 31.0


def test_says_which_of_the_two_refused(mock_server):
    mock_server.fault(status=401, body={"error": {"message": "Bad key", "type": "x", "param": None, "code": None}})
    event = asyncio.run(event_of(trigger()))
    assert (event["reason"], event["error"]["refused_by"]) == ("refused", "provider")
    assert "provider_api_key" in event["message"]


def test_a_deadline_in_the_past_still_takes_one_look(mock_server):
    mock_server.add_run(thread_id="thread_1", run_id="run_1", statuses="completed")
    assert asyncio.run(event_of(trigger(deadline=time.time() - 5)))["reason"] == "success_statuses"
    mock_server.add_run(thread_id="thread_1", run_id="run_2", statuses="queued")
    assert asyncio.run(event_of(trigger(run_id="run_2", deadline=time.time() - 5)))["reason"] == "timed_out"


def test_many_waits_share_one_session_which_the_last_one_closes(mock_server, monkeypatch):
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
        return await asyncio.gather(*(event_of(trigger()) for _ in range(20)))

    assert {event["reason"] for event in asyncio.run(all_of_them())} == {"success_statuses"}
    assert len(opened) == 1
    assert opened[0].closed


def test_a_wait_that_is_cancelled_leaves_the_session_to_the_others(mock_server):
    mock_server.add_run(thread_id="thread_1", run_id="run_1", statuses="queued")

    async def one_of_two() -> bool:
        waits = [asyncio.create_task(event_of(trigger())) for _ in range(2)]
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


@pytest.mark.parametrize(("asked", "status"), [(True, "cancelled"), (False, "in_progress")])
def test_a_kill_cancels_the_run_only_where_it_was_asked_for(mock_server, asked, status):
    mock_server.add_run(thread_id="thread_1", run_id="run_1", statuses="in_progress")
    asyncio.run(trigger(cancel_on_kill=asked).on_kill())
    cancels = [request for request in mock_server.requests if request.method == "POST"]
    assert [request.path for request in cancels] == (["/v1/threads/thread_1/runs/run_1/cancel"] if asked else [])
    assert [request.body for request in cancels] == ([b"{}"] if asked else [])


@pytest.mark.parametrize("seconds", [0.3, 2.0, 10.0])
def test_a_pause_is_never_too_short_and_ends_on_the_common_grid(seconds, monkeypatch):
    slept = []

    async def sleep(length: float) -> None:
        slept.append(length)

    monkeypatch.setattr(trigger_module.asyncio, "sleep", sleep)
    monkeypatch.setattr(trigger_module.time, "time", lambda: 1_800_000_000.07)
    asyncio.run(PAUSE(seconds))
    grid = min(0.25, seconds / 10)
    assert seconds <= slept[0] <= seconds + grid
    assert (1_800_000_000.07 + slept[0]) % grid == pytest.approx(0, abs=1e-5) or (
        1_800_000_000.07 + slept[0]
    ) % grid == pytest.approx(grid, abs=1e-5)
