from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from airflow_provider_portkey.exceptions import (
    PortkeyNotFoundError,
    PortkeyPaginationError,
    PortkeyRequestError,
    PortkeyServerError,
    PortkeyUnexpectedResponseError,
)
from airflow_provider_portkey.jobs.run import RUN
from airflow_provider_portkey.jobs.spec import JobSpec
from airflow_provider_portkey.polling import drivers
from airflow_provider_portkey.polling.drivers import Get, Plan, WakeUp, adrive, drive, sleep_to_grid
from airflow_provider_portkey.polling.job_sequence import JobSequencePoller
from airflow_provider_portkey.polling.poller import Poller
from airflow_provider_portkey.polling.run_group import RunGroupPoller
from airflow_provider_portkey.polling.run_pages import RunPagePlanner
from airflow_provider_portkey.polling.run_tracker import Scope, plan_snapshot, runs_of
from airflow_provider_portkey.polling.wait_state import WaitState

BROKEN = PortkeyServerError("broken", status_code=500)
GONE = PortkeyNotFoundError("gone", status_code=404)
STATE = WaitState(started_at=0.0, deadline=1000.0)
IDS = {"thread_id": "thread_1"}


def runs(count: int) -> list[dict[str, Any]]:
    return [
        {"id": f"run_{number}", "status": ("in_progress", "completed")[number % 2], "created_at": 100_000 - number}
        for number in range(count)
    ]


def ids(*numbers: int) -> list[str]:
    return [f"run_{number}" for number in numbers]


def outcome(carry_out: Callable[[], Any]) -> Any:
    """Return a result, or the type and message of an error: what two drivers have to agree on."""
    try:
        return carry_out()
    except (PortkeyRequestError, PortkeyPaginationError) as error:
        return type(error), str(error)


RUNS_OF_JOBS = JobSpec(
    kind="run", path=RUN.path, active_statuses=(), success_statuses=["completed"], failure_statuses=["failed"]
)

PLANS: dict[str, Callable[[], Plan[Any]]] = {
    "one job": lambda: Poller(RUN, {**IDS, "run_id": "run_3"}, STATE).requests(1.0),
    "one job that is gone": lambda: Poller(RUN, {**IDS, "run_id": "run_gone"}, STATE).requests(1.0),
    "several jobs": lambda: JobSequencePoller(
        RUNS_OF_JOBS, [{**IDS, "run_id": run_id} for run_id in ids(1, 3, 4, 5)], STATE
    ).requests(1.0),
    "runs of two pages": lambda: RunGroupPoller("thread_1", ids(*range(150)), STATE).requests(1.0),
    "a page and a single run": lambda: RunGroupPoller("thread_1", ids(1, 2, 240), STATE).requests(1.0),
    "active runs": lambda: RunGroupPoller("thread_1", None, STATE, created_within=1e6).requests(100_000.0),
    "active runs of the newest page": lambda: RunPagePlanner("thread_1").find_active({"completed"}, 99_950.0),
    "a page that is gone": lambda: RunPagePlanner("thread_1", ["run_gone"]).find(ids(1, 2, 3)),
    "a snapshot": lambda: plan_snapshot(runs_of("thread_1"), Scope(99_800.0, frozenset({"run_249", "run_gone"}))),
}


@pytest.mark.parametrize("error", [None, BROKEN, GONE])
@pytest.mark.parametrize("name", PLANS)
def test_each_plan_leads_to_the_same_with_both_drivers(make_thread, name, error):
    results, requests = [], []
    for is_async in (False, True):
        thread = make_thread(runs(250))
        thread.errors["run_gone"] = GONE
        if error:
            thread.errors["run_99"] = error  # the second page
        plan, drive_async = PLANS[name](), is_async

        def carry_out(plan=plan, thread=thread, drive_async=drive_async):
            return asyncio.run(adrive(plan, thread.aget)) if drive_async else drive(plan, thread.get)

        results.append(outcome(carry_out))
        requests.append(thread.requests)
    assert results[0] == results[1]
    assert requests[0] == requests[1]
    assert requests[0]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_list_that_repeats_itself_is_an_error_with_both_drivers(make_thread, is_async):
    for plan in (PLANS["active runs"](), PLANS["a snapshot"]()):
        thread = make_thread(runs(250))
        thread.ignores_after = True
        with pytest.raises(PortkeyPaginationError):
            asyncio.run(adrive(plan, thread.aget)) if is_async else drive(plan, thread.get)
        assert len(thread.requests) == 2


def request(name: str) -> Get:
    return Get("/jobs/{job_id}", {"job_id": name})


class Jobs:
    """Fails for each job whose name is that of an error, and keeps the order of what happened."""

    errors: Mapping[str, Exception] = {"broken": BROKEN, "gone": GONE, "bug": ZeroDivisionError("bug")}

    def __init__(self) -> None:
        self.happened: list[str] = []

    def get(self, path: str, ids: Mapping[str, str], query: Any) -> dict[str, Any]:
        self.happened.append(ids["job_id"])
        if error := self.errors.get(ids["job_id"]):
            raise error
        return {"id": ids["job_id"]}

    async def aget(self, path: str, ids: Mapping[str, str], query: Any) -> dict[str, Any]:
        name = ids["job_id"]
        self.happened.append(f"start {name}")
        if name in self.errors:
            raise self.errors[name]
        for _ in range(3):
            await asyncio.sleep(0)
        self.happened.append(f"end {name}")
        return {"id": name}


def all_at_once(*names: str) -> Plan[Any]:
    return (yield [request(name) for name in names])


def test_several_requests_stop_at_the_first_failure_on_a_worker():
    jobs = Jobs()
    assert drive(all_at_once("a", "gone", "b"), jobs.get) == [{"id": "a"}, GONE]
    assert jobs.happened == ["a", "gone"]


def test_several_requests_are_sent_side_by_side_on_the_event_loop():
    jobs = Jobs()
    assert asyncio.run(adrive(all_at_once("a", "gone", "b"), jobs.aget)) == [{"id": "a"}, GONE, {"id": "b"}]
    assert jobs.happened == ["start a", "start gone", "start b", "end a", "end b"]


def test_an_error_of_another_kind_leaves_no_request_behind():
    jobs = Jobs()

    async def carry_out() -> None:
        with pytest.raises(ZeroDivisionError):
            await adrive(all_at_once("a", "bug", "b"), jobs.aget)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(carry_out())
    assert jobs.happened[-2:] == ["end a", "end b"]
    with pytest.raises(ZeroDivisionError):
        drive(all_at_once("a", "bug", "b"), jobs.get)


def test_cancelling_cancels_every_request():
    async def carry_out() -> None:
        started: list[str] = []

        async def hang(path: str, ids: Mapping[str, str], query: Any) -> dict[str, Any]:
            started.append(ids["job_id"])
            await asyncio.Event().wait()
            raise AssertionError

        driving = asyncio.create_task(adrive(all_at_once("a", "b"), hang))
        while len(started) < 2:
            await asyncio.sleep(0)
        driving.cancel()
        await asyncio.gather(driving, return_exceptions=True)
        assert driving.cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(carry_out())


@pytest.mark.parametrize("is_async", [False, True])
def test_a_failed_request_is_thrown_into_the_plan(is_async):
    def plan() -> Plan[Any]:
        seen = []
        for name in ("gone", "a", "broken"):
            try:
                seen.append((yield request(name)))
            except PortkeyRequestError as error:
                seen.append(error)
        return seen

    jobs = Jobs()
    found = asyncio.run(adrive(plan(), jobs.aget)) if is_async else drive(plan(), jobs.get)
    assert found == [GONE, {"id": "a"}, BROKEN]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_failed_request_that_the_plan_does_not_expect_ends_the_plan(is_async):
    def plan() -> Plan[Any]:
        yield request("gone")
        yield request("a")

    jobs = Jobs()
    with pytest.raises(PortkeyNotFoundError):
        asyncio.run(adrive(plan(), jobs.aget)) if is_async else drive(plan(), jobs.get)
    assert len(jobs.happened) == 1


@pytest.mark.parametrize("is_async", [False, True])
def test_an_error_of_the_plan_itself_is_not_thrown_back(is_async):
    def plan() -> Plan[Any]:
        try:
            yield request("a")
            raise PortkeyUnexpectedResponseError("no list")
        except PortkeyServerError:
            raise AssertionError from None

    jobs = Jobs()
    with pytest.raises(PortkeyUnexpectedResponseError, match="no list"):
        asyncio.run(adrive(plan(), jobs.aget)) if is_async else drive(plan(), jobs.get)


def test_a_plan_without_a_request_returns_its_result():
    def plan() -> Plan[int]:
        yield from ()
        return 7

    assert drive(plan(), Jobs().get) == 7
    assert asyncio.run(adrive(plan(), Jobs().aget)) == 7


@pytest.mark.parametrize("seconds", [0.3, 2.0, 10.0])
def test_a_pause_is_never_too_short_and_ends_on_the_common_grid(seconds, monkeypatch):
    slept = []

    async def sleep(length: float) -> None:
        slept.append(length)

    monkeypatch.setattr(drivers.asyncio, "sleep", sleep)
    monkeypatch.setattr(drivers.time, "time", lambda: 1_800_000_000.07)
    asyncio.run(sleep_to_grid(seconds))
    grid = min(drivers._GRID, seconds / 10)
    assert seconds <= slept[0] <= seconds + grid
    offset = (1_800_000_000.07 + slept[0]) % grid
    assert min(offset, grid - offset) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_a_pause_that_is_over_is_not_slept(seconds, monkeypatch):
    async def sleep(length: float) -> None:
        raise AssertionError(length)

    monkeypatch.setattr(drivers.asyncio, "sleep", sleep)
    asyncio.run(sleep_to_grid(seconds))


@pytest.mark.parametrize("seconds", [0.3, 2.0, 10.0])
def test_a_wake_up_comes_when_a_pause_would_end(seconds, monkeypatch):
    monkeypatch.setattr(drivers.time, "time", lambda: 1_800_000_000.07)

    async def wake_up_after() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        wake_up = WakeUp(seconds, list)
        assert wake_up in drivers._ASLEEP
        wake_up.cancel()
        assert wake_up._handle.cancelled()
        return wake_up._handle.when() - began

    grid = min(drivers._GRID, seconds / 10)
    assert seconds <= asyncio.run(wake_up_after()) <= seconds + grid + 0.05
    assert not drivers._ASLEEP


def test_a_wake_up_that_is_due_comes_at_the_next_turn_of_the_loop():
    async def calls() -> list[str]:
        called: list[str] = []
        WakeUp(0.0, lambda: called.append("due"))
        WakeUp(-1.0, lambda: called.append("over")).cancel()
        await asyncio.sleep(0)
        return called

    assert asyncio.run(calls()) == ["due"]


@pytest.mark.parametrize(
    ("asleep", "seconds", "grid"),
    [(0, 10, 0.1), (500, 10, 0.1), (550, 10, 0.05), (2500, 10, 0.0125), (5000, 30, 0.025), (10**6, 10, 0.00625)],
)
def test_the_grid_is_finer_where_many_wake_up(asleep, seconds, grid):
    assert drivers._grid(seconds, asleep) == pytest.approx(grid)
