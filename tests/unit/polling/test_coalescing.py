"""Waits for single runs of one thread on one event loop, against the mock server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_portkey.client import aio
from airflow_provider_portkey.exceptions import PortkeyServerError
from airflow_provider_portkey.polling import coalescing
from airflow_provider_portkey.polling.wait_state import WaitState
from airflow_provider_portkey.testing import PortkeyMockServer
from airflow_provider_portkey.triggers import job as trigger_module
from airflow_provider_portkey.triggers.run import PortkeyRunTrigger

LIST = "/v1/threads/thread_1/runs"


class Clock:
    """Time that passes only while every task sleeps, no request is in flight and no line is being logged."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.sleeping: list[tuple[float, asyncio.Future[None]]] = []
        self.busy = 0
        self.waits = 0
        self.slept = 0
        #: Grows whenever a sleep begins, or a request or a line of the log ends.
        self.moves = 0

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept += 1
        self.moves += 1
        if seconds <= 0:
            return
        waker = asyncio.get_running_loop().create_future()
        self.sleeping.append((self.now + seconds, waker))
        await waker

    async def run(self, *waits: asyncio.Task[Any], until: float = 1e9) -> None:
        """Let time pass until the waits are over, at most ``until`` seconds."""
        end = self.now + until
        while self.slept < self.waits:  # some have not begun
            await asyncio.sleep(0.001)
        while not all(wait.done() for wait in waits):
            before = self.moves
            for _ in range(10):  # turns of the loop in which something new may begin
                await asyncio.sleep(0)
            if self.busy or self.moves != before:
                await asyncio.sleep(0.001)
                continue
            self.sleeping = [one for one in self.sleeping if not one[1].done()]
            if not self.sleeping:
                continue
            earliest = min(at for at, _ in self.sleeping)
            if earliest > end:
                self.now = end
                return
            self.now = earliest
            for at, waker in self.sleeping:
                if at == earliest:
                    waker.set_result(None)


@pytest.fixture
def server_clock(monkeypatch: pytest.MonkeyPatch, replace_sleep: Callable[[object], None]) -> Clock:
    """The server_clock of the waits and of the mock server."""
    server_clock = Clock()

    def counted(method: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def call(*arguments: Any) -> Any:
            server_clock.busy += 1
            try:
                return await method(*arguments)
            finally:
                server_clock.busy -= 1
                server_clock.moves += 1

        return call

    replace_sleep(server_clock.sleep)
    for module in (trigger_module, coalescing):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=server_clock.time, monotonic=server_clock.time))
    for cls, name in ((aio.AsyncPortkeyClient, "_send"), (trigger_module.BasePortkeyTrigger, "_report")):
        monkeypatch.setattr(cls, name, counted(getattr(cls, name)))
    return server_clock


def add_runs(mock_server: PortkeyMockServer, count: int, statuses: Any = "in_progress") -> list[str]:
    return [
        mock_server.add_run(thread_id="thread_1", run_id=f"run_{number}", statuses=statuses)["id"]
        for number in range(count)
    ]


def wait_for(server_clock: Clock, run_id: str, **changes: Any) -> asyncio.Task[dict[str, Any]]:
    ids = {"thread_id": "thread_1", "run_id": run_id}
    ids |= {name: changes.pop(name) for name in ids if name in changes}
    arguments = {name: changes.pop(name) for name in ("portkey_conn_id",) if name in changes}
    first_poll_at = server_clock.now + changes.pop("first", 10.0)
    times = {"started_at": server_clock.now, "deadline": server_clock.now + 1000, "next_poll_at": first_poll_at}
    wait_state = WaitState(**({"poll_interval": 10.0} | times | changes)).to_dict()
    trigger = PortkeyRunTrigger(**ids, wait_state=wait_state, **arguments)
    server_clock.waits += 1

    async def event() -> dict[str, Any]:
        async with aclosing(trigger.run()) as events:
            return (await anext(events)).payload

    return asyncio.get_running_loop().create_task(event())


def run(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a scene to its end, and check that no task, session or group is left."""

    async def whole() -> None:
        async with asyncio.timeout(60):
            await scene()
        assert not aio._SHARED[asyncio.get_running_loop()]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(whole())
    assert not any(coalescing._GROUPS.values())


async def stop(*waits: asyncio.Task[Any]) -> None:
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)


def requests(mock_server: PortkeyMockServer, since: float, seconds: float) -> list[str]:
    return [request.path for request in mock_server.requests if since <= request.time < since + seconds]


def test_two_hundred_waits_cost_two_requests_an_interval(mock_server, server_clock):
    began = server_clock.now
    run_ids = add_runs(mock_server, 200)

    async def scene():
        waits = [wait_for(server_clock, run_id, first=0.1 + number / 20) for number, run_id in enumerate(run_ids)]
        await server_clock.run(*waits, until=65)
        await stop(*waits)

    run(scene)
    assert len(requests(mock_server, began, 20)) <= 12
    for interval in range(2, 6):
        assert requests(mock_server, began + 10 * interval, 10) == [LIST] * 2


def test_newer_runs_on_the_thread_cost_the_waits_nothing(mock_server, server_clock):
    began = server_clock.now
    run_ids = add_runs(mock_server, 200)

    async def scene():
        waits = [wait_for(server_clock, run_id) for run_id in run_ids]
        for _ in range(6):
            await server_clock.run(*waits, until=10)
            mock_server.add_runs(thread_id="thread_1", count=130)
        await stop(*waits)

    run(scene)
    for interval in range(4, 6):
        assert requests(mock_server, began + 10 * interval, 10) == [LIST] * 2


@pytest.mark.parametrize("interval", [1.0, 10.0, 60.0])
def test_each_wait_is_polled_in_time_and_finishes_by_itself(mock_server, server_clock, interval):
    for number in range(60):
        mock_server.add_run(
            thread_id="thread_1", run_id=f"run_{number}", statuses=[("queued", 0), ("completed", 7 * number)]
        )
    began, finished = server_clock.now, {}

    async def scene():
        waits = {}
        for number in range(60):
            waits[number] = wait_for(
                server_clock, f"run_{number}", poll_interval=interval, first=number * interval / 60
            )
            waits[number].add_done_callback(
                lambda _, number=number: finished.setdefault(number, server_clock.now - began)
            )
        await server_clock.run(*waits.values())
        assert {wait.result()["job"]["id"] for wait in waits.values()} == {f"run_{number}" for number in range(60)}

    run(scene)
    for number, after in finished.items():
        assert 7 * number <= after <= 7 * number + interval + 0.01


def test_a_lone_wait_requests_its_run_and_nothing_else(mock_server, server_clock):
    add_runs(mock_server, 3, [("queued", 0), ("completed", 25)])

    async def scene():
        wait = wait_for(server_clock, "run_1")
        await server_clock.run(wait)
        assert wait.result()["reason"] == "succeeded"

    run(scene)
    assert [request.path for request in mock_server.requests] == [f"{LIST}/run_1"] * 3


def test_waits_with_long_intervals_do_not_pay_for_one_with_a_short_one(mock_server, server_clock):
    began = server_clock.now
    run_ids = add_runs(mock_server, 50)

    async def scene():
        waits = [wait_for(server_clock, run_id, poll_interval=60.0, first=60.0) for run_id in run_ids[1:]]
        waits.append(wait_for(server_clock, "run_0", poll_interval=1.0, first=1.0))
        await server_clock.run(*waits, until=240.5)
        await stop(*waits)

    run(scene)
    sent = requests(mock_server, began, 240.5)
    assert sent.count(f"{LIST}/run_0") == 240 - sent.count(LIST)
    assert sent.count(LIST) == 4


def test_runs_that_the_list_does_not_show_keep_their_own_responses(mock_server, server_clock):
    add_runs(mock_server, 5)

    async def scene():
        waits = [wait_for(server_clock, f"run_{number}") for number in range(5)]
        gone = [wait_for(server_clock, f"gone_{number}") for number in range(2)]
        await server_clock.run(*gone)
        assert [wait.result()["reason"] for wait in gone] == ["refused"] * 2
        assert "gone_1" in gone[1].result()["message"]
        assert not any(wait.done() for wait in waits)
        await stop(*waits)

    run(scene)


def test_a_list_that_fails_is_a_failed_poll_for_each_wait_that_it_would_have_served(mock_server, server_clock):
    began = server_clock.now
    add_runs(mock_server, 200)
    mock_server.fault(status=503, path=LIST, times=2)

    async def scene():
        patient = [wait_for(server_clock, f"run_{number}") for number in range(199)]
        impatient = wait_for(server_clock, "run_199", max_consecutive_failures=2)
        await server_clock.run(*patient, impatient, until=35)
        assert impatient.result()["reason"] == "gave_up"
        assert not any(wait.done() for wait in patient)
        await stop(*patient)

    run(scene)
    assert requests(mock_server, began, 35) == [LIST] * 4


def test_pages_before_a_failed_page_are_not_lost(mock_server, server_clock, monkeypatch):
    add_runs(mock_server, 200, "completed")
    get = aio.AsyncPortkeyClient.get

    async def second_page_fails(self, path, ids, query=None):
        if "after" in dict(query or ()):
            mock_server.fault(status=500, path=LIST)
        return await get(self, path, ids, query)

    monkeypatch.setattr(aio.AsyncPortkeyClient, "get", second_page_fails)

    async def scene():
        waits = [wait_for(server_clock, f"run_{number}", max_consecutive_failures=1) for number in range(200)]
        await server_clock.run(*waits)
        reasons = [wait.result()["reason"] for wait in waits]
        assert (reasons.count("succeeded"), reasons.count("gave_up")) == (100, 100)

    run(scene)


@pytest.mark.parametrize(
    "fault", [{"status": 404}, {"status": 405}, {"status": 403}, {"body": {"object": "page", "runs": []}}]
)
def test_where_there_is_no_list_each_wait_polls_by_itself(mock_server, server_clock, fault):
    began = server_clock.now
    add_runs(mock_server, 5)
    mock_server.fault(**fault, path=LIST, times=None)

    async def scene():
        waits = [wait_for(server_clock, f"run_{number}") for number in range(5)]
        await server_clock.run(*waits, until=35)
        assert not any(wait.done() for wait in waits)
        await stop(*waits)

    run(scene)
    sent = requests(mock_server, began, 35)
    assert sent.count(LIST) == 1
    assert len(sent) == 16


def test_a_refusal_of_the_key_ends_each_wait_with_its_own_error(mock_server, server_clock):
    add_runs(mock_server, 3)
    mock_server.fault(status=401, times=None)

    async def scene():
        waits = [wait_for(server_clock, f"run_{number}") for number in range(3)]
        await server_clock.run(*waits)
        for number, wait in enumerate(waits):
            assert wait.result()["reason"] == "refused"
            assert f"runs/run_{number}" in wait.result()["message"]

    run(scene)


def test_waits_that_are_cancelled_during_a_poll_leave_the_poll_to_the_others(mock_server, server_clock):
    add_runs(mock_server, 20, "completed")
    mock_server.fault(delay=0.2, path=LIST)

    async def scene():
        waits = [wait_for(server_clock, f"run_{number}") for number in range(20)]
        passing = asyncio.create_task(server_clock.run(*waits))
        while not mock_server.requests:
            await asyncio.sleep(0.01)
        await stop(*waits[:10])  # the first of them too, whose client sends the request
        await passing
        assert all(wait.cancelled() for wait in waits[:10])
        assert [wait.result()["reason"] for wait in waits[10:]] == ["succeeded"] * 10

    run(scene)
    assert len(mock_server.requests) == 1


@pytest.mark.parametrize("state", ["asleep", "polling"])
def test_when_all_are_cancelled_nothing_is_left(mock_server, server_clock, state):
    add_runs(mock_server, 20)
    mock_server.fault(delay=30, path=LIST)

    async def scene():
        waits = [wait_for(server_clock, f"run_{number}") for number in range(20)]
        passing = asyncio.create_task(server_clock.run(*waits, until=5 if state == "asleep" else 15))
        if state == "asleep":
            await passing
        else:
            while not mock_server.requests:
                await asyncio.sleep(0.01)
        await stop(*waits, passing)

    run(scene)


def test_a_wait_that_becomes_due_during_a_slow_poll_does_not_wait_for_it(mock_server, server_clock, monkeypatch):
    add_runs(mock_server, 4)
    mock_server.fault(delay=30, path=LIST)

    async def scene():
        slow = [wait_for(server_clock, f"run_{number}") for number in range(2)]
        late = wait_for(server_clock, "run_2", poll_interval=60.0, first=30.0)
        passing = asyncio.create_task(server_clock.run(late))
        while not mock_server.requests:
            await asyncio.sleep(0.01)
        server_clock.busy -= 1  # let the time pass though the list is in flight
        while not any(request.path == f"{LIST}/run_2" for request in mock_server.requests):
            await asyncio.sleep(0.01)
        await stop(*slow, late, passing)

    run(scene)


def test_a_run_that_several_wait_for_is_requested_singly(mock_server, server_clock):
    add_runs(mock_server, 2, [("queued", 0), ("completed", 15)])

    async def scene():
        waits = [wait_for(server_clock, "run_0") for _ in range(3)]
        await server_clock.run(*waits)
        assert [wait.result()["reason"] for wait in waits] == ["succeeded"] * 3

    run(scene)
    assert {request.path for request in mock_server.requests} == {f"{LIST}/run_0"}


def test_waits_of_other_threads_and_other_connections_share_nothing(mock_server, server_clock, monkeypatch):
    add_runs(mock_server, 2)
    mock_server.add_run(thread_id="thread_2", run_id="run_9", statuses="in_progress")
    other = mock_server.connection() | {"password": "another-key"}
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps(other))
    began = server_clock.now

    async def scene():
        waits = [
            wait_for(server_clock, "run_0"),
            wait_for(server_clock, "run_1", portkey_conn_id="other"),
            wait_for(server_clock, "run_9", thread_id="thread_2"),
        ]
        await server_clock.run(*waits, until=15)
        await stop(*waits)

    run(scene)
    assert sorted(requests(mock_server, began, 15)) == [
        f"{LIST}/run_0",
        f"{LIST}/run_1",
        "/v1/threads/thread_2/runs/run_9",
    ]


def test_waits_half_an_interval_apart_come_together(mock_server, server_clock):
    began = server_clock.now
    run_ids = add_runs(mock_server, 200)

    async def scene():
        # Every other run: each page serves both halves.
        waits = [
            wait_for(server_clock, run_id, first=1.0 + 9.5 * (number % 2)) for number, run_id in enumerate(run_ids)
        ]
        await server_clock.run(*waits, until=65)
        await stop(*waits)

    run(scene)
    assert requests(mock_server, began, 65) == [LIST] * 14


def test_an_adaptive_wait_that_was_just_deferred_is_not_served_before_its_time(mock_server, server_clock):
    began, served_at = server_clock.now, []
    add_runs(mock_server, 3, statuses=["in_progress", ("completed", 4)])

    async def scene():
        early = [wait_for(server_clock, f"run_{number}", first=5.0, poll_interval=None) for number in range(2)]
        deferred = wait_for(server_clock, "run_2", first=7.0, poll_interval=None)
        deferred.add_done_callback(lambda _: served_at.append(server_clock.now - began))
        await server_clock.run(*early, deferred)

    run(scene)
    assert served_at == [7.0]


def test_a_failed_page_is_no_failed_poll_of_a_wait_that_was_not_due(mock_server, server_clock):
    add_runs(mock_server, 3)
    mock_server.fault(status=503, path=LIST, times=1)

    async def scene():
        due = [wait_for(server_clock, f"run_{number}", max_consecutive_failures=1) for number in range(2)]
        later = wait_for(server_clock, "run_2", max_consecutive_failures=1, first=14.0)
        await server_clock.run(*due)
        assert [wait.result()["reason"] for wait in due] == ["gave_up"] * 2
        await server_clock.run(later, until=20)
        assert not later.done()
        await stop(later)

    run(scene)


class GatedThread:
    """A client of a thread whose list responds when it is let, and not before."""

    def __init__(self, *listed: str) -> None:
        self.listed = listed
        self.requested = 0
        self.errors: list[Exception] = []
        self.gate = asyncio.Event()

    async def get(self, path: str, ids: object, query: object = None) -> dict[str, Any]:
        self.requested += 1
        await self.gate.wait()
        if self.errors:
            raise self.errors.pop()
        return {"data": [{"id": run_id} for run_id in self.listed], "has_more": False}


async def due_during_a_search(thread: GatedThread) -> list[Any]:
    """Let two waits search their runs, and two others become due meanwhile; return what each got."""
    group = coalescing.PollGroup("thread_1")

    def poll(run_id: str) -> asyncio.Task[Any]:
        group.enter(run_id)
        return asyncio.create_task(group.poll(thread, run_id, wait=0.0, interval=10.0, may_be_early=True))

    polls = [poll("run_0"), poll("run_1")]
    while not thread.requested:
        await asyncio.sleep(0)
    polls += [poll("run_2"), poll("run_3")]
    for _ in range(10):  # turns of the loop in which another request would be sent
        await asyncio.sleep(0)
    assert thread.requested == 1
    thread.gate.set()
    async with asyncio.timeout(10):
        results = await asyncio.gather(*polls, return_exceptions=True)
    await group.close()
    assert not group._waiters
    assert not group._held
    return results


def test_waits_that_become_due_during_a_search_get_their_runs_from_it():
    thread = GatedThread("run_3", "run_2", "run_1", "run_0")
    results = asyncio.run(due_during_a_search(thread))
    assert [run["id"] for run in results] == ["run_0", "run_1", "run_2", "run_3"]
    assert thread.requested == 1


def test_waits_that_a_search_did_not_find_request_their_runs_when_it_is_over():
    thread = GatedThread("run_1", "run_0")
    results = asyncio.run(due_during_a_search(thread))
    assert [run and run["id"] for run in results] == ["run_0", "run_1", None, None]
    assert thread.requested <= 2


def test_waits_that_became_due_during_a_search_that_failed_begin_another_one():
    thread = GatedThread("run_3", "run_2", "run_1", "run_0")
    thread.errors.append(PortkeyServerError("broken", status_code=503))
    *first, third, fourth = asyncio.run(due_during_a_search(thread))
    assert [str(error) for error in first] == ["broken"] * 2
    assert (third["id"], fourth["id"]) == ("run_2", "run_3")
    assert thread.requested == 2
