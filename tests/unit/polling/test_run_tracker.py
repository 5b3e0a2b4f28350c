from __future__ import annotations

import json
import math
import random
from collections import Counter
from typing import Any

import pytest

from airflow_provider_portkey.exceptions import (
    PortkeyPaginationError,
    PortkeyServerError,
    PortkeyUnexpectedResponseError,
)
from airflow_provider_portkey.jobs.lists import RUNS
from airflow_provider_portkey.jobs.run import RUN
from airflow_provider_portkey.polling.drivers import Get, drive
from airflow_provider_portkey.polling.run_tracker import (
    LOOKBACK,
    OVERLAP,
    TERMINAL_STATUSES,
    RunTracker,
    Scope,
    Snapshot,
    plan_snapshot,
    runs_of,
)

NOW = 1_800_000_000.0


def run(run_id: str, ago: float, status: str = "completed", **fields: Any) -> dict[str, Any]:
    usual = {"id": run_id, "thread_id": "thread_1", "created_at": NOW - ago, "status": status}
    return {**usual, "instructions": "long", "tools": [], **fields}


def take(thread: Any, scope: Scope, known: Snapshot | None = None) -> Snapshot:
    return thread.drive(plan_snapshot(runs_of("thread_1"), scope, known))


def page(limit: int, after: str | None = None) -> Get:
    return Get(RUNS.path, {"thread_id": "thread_1"}, RUNS.query(limit=limit, order="desc", after=after))


def single(run_id: str) -> Get:
    return Get(RUN.path, {"thread_id": "thread_1", "run_id": run_id})


def ids(runs) -> list[str]:
    return [run["id"] for run in runs]


@pytest.fixture
def observe(make_thread):
    """Take the snapshot that a tracker needs, emit the events that are due, and return the ids of their runs."""

    def observe(tracker: RunTracker, *runs: dict[str, Any], now: float = NOW) -> list[str]:
        due = tracker.observe(take(make_thread(runs), tracker.scope(now)), now)
        for each in due:
            tracker.emitted(each)
        return ids(due)

    return observe


@pytest.fixture
def started(observe):
    """Return a tracker that has observed some runs."""

    def started(*runs: dict[str, Any], **how: Any) -> RunTracker:
        tracker = RunTracker(**how)
        assert observe(tracker, *runs) == []
        return tracker

    return started


# Snapshots


def test_a_snapshot_takes_one_small_page_where_that_reaches_back_far_enough(make_thread):
    thread = make_thread([run(f"run_{n}", ago=60.0 * n) for n in range(500)])
    snapshot = take(thread, Scope(NOW - 300))
    assert thread.requests == [page(20)]
    assert ids(snapshot.runs) == [f"run_{n}" for n in reversed(range(20))]
    assert "instructions" not in snapshot.runs[0]


def test_a_snapshot_takes_further_pages_until_a_run_is_older_than_needed(make_thread):
    thread = make_thread([run(f"run_{n}", ago=float(n)) for n in range(500)])
    snapshot = take(thread, Scope(NOW - 150))
    assert thread.requests == [page(20), page(100, "run_19"), page(100, "run_119")]
    assert Scope(NOW - 150).is_covered_by(snapshot)
    assert not Scope(NOW - 400).is_covered_by(snapshot)


def test_runs_of_the_same_second_as_the_oldest_may_be_on_the_next_page(make_thread):
    thread = make_thread([run(f"run_{n}", ago=5.0) for n in range(30)])
    assert len(take(thread, Scope(NOW - 5)).runs) == 30


def test_a_short_thread_is_read_to_its_end(make_thread):
    thread = make_thread([run("run_1", ago=5)])
    snapshot = take(thread, Scope(NOW - 900))
    assert thread.requests == [page(20)]
    assert Scope(0.0).is_covered_by(snapshot)


def test_pending_runs_that_the_pages_did_not_show_are_requested_singly_and_may_be_gone(make_thread):
    old, runs = run("run_old", ago=9000, status="in_progress"), [run(f"run_{n}", ago=60.0 * n) for n in range(30)]
    thread = make_thread([*runs, old])
    snapshot = take(thread, Scope(NOW - 300, frozenset({"run_old", "run_3", "run_no"})))
    assert thread.requests == [page(20), single("run_no"), single("run_old")]
    assert "run_old" in ids(snapshot.runs)
    assert snapshot.gone == {"run_no"}


@pytest.mark.parametrize(("active", "pages", "singles"), [(4, 1, 4), (5, 2, 0), (100, 2, 0), (300, 4, 0)])
def test_many_pending_runs_are_read_from_the_list_and_not_one_by_one(make_thread, active, pages, singles):
    older = [run(f"run_{n}", ago=9000.0 + n, status="in_progress") for n in range(active)]
    finished = [run(f"run_done_{n}", ago=20_000.0 + n) for n in range(900)]
    thread = make_thread([*(run(f"run_new_{n}", ago=20.0 * n) for n in range(20)), *older, *finished])
    snapshot = take(thread, Scope(NOW - 300, frozenset(ids(older))))
    assert set(ids(older)) <= set(ids(snapshot.runs))
    assert (len(thread.page_starts), len(thread.requests) - len(thread.page_starts)) == (pages, singles)


def test_pages_that_show_no_pending_run_are_few(make_thread):
    # Five pending runs, each among two hundred that have finished.
    runs = [run(f"run_{n}", ago=20.0 * n, status="completed" if n % 200 else "queued") for n in range(1001)]
    thread = make_thread(runs)
    pending = frozenset(f"run_{n}" for n in range(200, 1001, 200))
    assert pending <= set(ids(take(thread, Scope(NOW - 300, pending)).runs))
    assert (len(thread.page_starts), len(thread.requests)) == (2, 7)


def test_a_shared_snapshot_is_completed_not_repeated(make_thread):
    runs = [run(f"run_{n}", ago=60.0 * n) for n in range(30)]
    thread = make_thread(runs)
    shared = take(thread, Scope(NOW - 300))
    thread.requests.clear()
    assert ids(take(thread, Scope(NOW - 600, frozenset({"run_25"})), shared).runs)[0] == "run_25"
    assert thread.requests == [single("run_25")]
    thread.requests.clear()
    assert Scope(NOW - 1700).is_covered_by(take(thread, Scope(NOW - 1700), shared))
    assert thread.requests == [page(20), page(100, "run_19")]


def test_the_next_scope_follows_the_pending_runs_and_the_new_ones():
    snapshot = Snapshot(
        (run("old", ago=500, status="queued"), run("known", ago=400, status="queued"), run("new", ago=50)), 0.0
    )
    snapshot = Snapshot((*snapshot.runs, run("newest", ago=9, status="requires_action")), 0.0)
    scope = Scope(NOW - 300, frozenset({"known"})).following(snapshot)
    assert scope == Scope(NOW - 9 - OVERLAP, frozenset({"known", "newest"}))
    assert scope.following(Snapshot((), 0.0)).since == scope.since


@pytest.mark.parametrize("error", [PortkeyServerError("oh"), PortkeyUnexpectedResponseError("oh")])
def test_a_request_that_fails_ends_the_snapshot(make_thread, error):
    thread = make_thread([])
    thread.errors[None] = error
    with pytest.raises(type(error)):
        take(thread, Scope(NOW))


@pytest.mark.parametrize("count", [1, 30, 200])
def test_a_list_that_repeats_itself_is_noticed(make_thread, count):
    thread = make_thread([run(f"run_{n}", ago=float(n)) for n in range(count)])
    thread.ignores_after = True

    def get(path: str, ids: Any, query: Any) -> dict[str, Any]:
        return thread.get(path, ids, query) | {"has_more": True}

    with pytest.raises(PortkeyPaginationError, match="run_0"):
        drive(plan_snapshot(runs_of("thread_1"), Scope(0.0)), get)


def test_a_list_that_is_oldest_first_is_noticed(make_thread):
    with pytest.raises(PortkeyUnexpectedResponseError, match="not newest first"):
        take(make_thread([run("run_1", ago=60), run("run_2", ago=1)]), Scope(0.0))
    assert take(make_thread([run("run_1", ago=9), run("run_2", ago=1)]), Scope(0.0)).runs


WRONG_FIELDS = [{"created_at": value} for value in (None, True, "x", [], {}, float("nan"))] + [
    {"status": value} for value in (None, 7, [], {})
]


@pytest.mark.parametrize("fields", WRONG_FIELDS)
@pytest.mark.parametrize("pending", [frozenset(), frozenset({"run_1"})])
def test_a_run_with_a_wrong_field_is_no_run(make_thread, fields, pending):
    thread = make_thread([run("run_1", ago=1) | fields])
    with pytest.raises(PortkeyUnexpectedResponseError):
        take(thread, Scope(NOW, pending), Snapshot((), -math.inf) if pending else None)
    assert thread.requests == [single("run_1") if pending else page(20)]


# Tracking


def test_the_very_first_poll_emits_nothing_and_tracks_active_runs(observe, started):
    tracker = started(run("run_2", ago=30, status="in_progress"), run("run_1", ago=60))
    assert observe(tracker, run("run_2", ago=30), run("run_1", ago=60)) == ["run_2"]
    assert observe(tracker, run("run_2", ago=30), run("run_1", ago=60)) == []


def test_runs_that_are_active_for_longer_than_the_lookback_are_left_alone(started):
    thread = run("run_2", ago=90, status="queued"), run("run_1", ago=120, status="queued")
    tracker = started(*thread, lookback=100)
    assert set(tracker.pending) == {"run_2"}
    assert set(started(*thread, run("run_0", ago=LOOKBACK + 1, status="queued")).pending) == {"run_1", "run_2"}


def test_a_run_that_began_and_finished_between_two_polls_is_emitted(observe, started):
    tracker = started(run("run_1", ago=60))
    assert observe(tracker, run("run_3", ago=2, status="failed"), run("run_2", ago=5), run("run_1", ago=60)) == [
        "run_2",
        "run_3",
    ]


@pytest.mark.parametrize("runs", [[], [run("run_0", ago=1_000_000)]])
def test_a_thread_that_was_idle_for_long_emits_its_next_run(observe, started, runs):
    tracker = started(*runs)
    assert observe(tracker, run("run_1", ago=-20), *runs, now=NOW + 30) == ["run_1"]


def test_a_run_that_shows_up_late_in_the_list_is_not_lost(observe, started):
    tracker = started(run("run_2", ago=30))
    assert observe(tracker, run("run_2", ago=30), run("run_1", ago=30 + OVERLAP)) == ["run_1"]


def test_an_older_snapshot_than_the_last_repeats_nothing(observe, started):
    tracker = started(run("run_1", ago=60))
    older = Snapshot((run("run_1", ago=60), run("run_2", ago=2, status="queued")), -1.0)
    assert observe(tracker, run("run_2", ago=2), run("run_1", ago=60)) == ["run_2"]
    assert tracker.observe(older, NOW) == []
    assert observe(tracker, run("run_2", ago=2), run("run_1", ago=60)) == []


def test_a_finished_run_is_due_until_its_event_is_emitted(make_thread, started):
    tracker = started()
    snapshot = take(make_thread([run("run_1", ago=1)]), tracker.scope(NOW))
    assert ids(tracker.observe(snapshot, NOW)) == ["run_1"]
    (due,) = tracker.observe(snapshot, NOW)
    tracker.emitted(due)
    assert tracker.observe(snapshot, NOW) == []


def test_a_run_that_is_gone_is_forgotten(observe, started):
    tracker = started(run("run_1", ago=1, status="queued"))
    assert observe(tracker) == []
    assert not tracker.pending


FILTERS = [
    ({"statuses": ["failed"]}, ["failed"]),
    ({"statuses": ["failed", "expired"]}, ["failed", "expired"]),
    ({"fields": {"assistant_id": "asst_2"}}, ["expired"]),
    ({"metadata": {"team": "data"}}, ["failed", "cancelled"]),
    ({"metadata": {"team": "data", "env": "prod"}}, ["cancelled"]),
    ({"metadata": {"team": "data"}, "statuses": ["failed"], "fields": {"assistant_id": "asst_2"}}, []),
    ({}, ["completed", "failed", "cancelled", "expired", "incomplete"]),
]


@pytest.mark.parametrize(("how", "emitted"), FILTERS)
def test_filters(observe, started, how, emitted):
    tracker = started(**how)
    runs = [
        run("incomplete", 1, "incomplete", metadata=None),
        run("expired", 2, "expired", assistant_id="asst_2"),
        run("cancelled", 3, "cancelled", metadata={"team": "data", "env": "prod", "list": []}),
        run("failed", 4, "failed", metadata={"team": "data"}, assistant_id="asst_1"),
        run("completed", 5),
    ]
    assert observe(tracker, *runs) == emitted
    assert not tracker.pending


# The state


def test_another_process_continues_from_the_state(observe, started):
    tracker = started(run("run_2", ago=30, status="queued"), run("run_1", ago=30))
    state = json.loads(json.dumps(tracker.to_dict()))
    assert state == {"at": NOW - 30, "seen": {"run_1": NOW - 30, "run_2": NOW - 30}, "pending": ["run_2"]}
    again = RunTracker()
    again.restore(state)
    assert again.started
    assert observe(again, run("run_3", ago=1), run("run_2", ago=30), run("run_1", ago=30)) == ["run_2", "run_3"]


@pytest.mark.parametrize(
    "state",
    [
        "text",
        [],
        {},
        {"at": None, "seen": {}, "pending": []},
        {"at": True, "seen": {}, "pending": []},
        {"at": float("nan"), "seen": {}, "pending": []},
        {"at": 1, "seen": [], "pending": []},
        {"at": 1, "seen": {"run_1": "x"}, "pending": []},
        {"at": 1, "seen": {}, "pending": "run_1"},
        {"at": 1, "seen": {}, "pending": [1]},
        {"at": 1, "seen": {}, "pending": [""]},
    ],
)
def test_anything_else_is_no_state(state):
    tracker = RunTracker()
    with pytest.raises(ValueError, match=r"its '|no object"):
        tracker.restore(state)
    assert not tracker.started


def test_the_state_stays_small(observe, started):
    tracker, thread = started(), []
    for n in range(300):
        thread.insert(0, run(f"run_{n:05}", ago=-60.0 * n))
        observe(tracker, *thread[:50], now=NOW + 60.0 * n)
    assert len(json.dumps(tracker.to_dict())) < 200


# A model: random runs, random polls, random restarts


def happen(
    chance: random.Random,
    now: float,
    thread: dict[str, dict[str, Any]],
    shown: list[str],
    hidden: list[tuple[float, str]],
) -> None:
    """Begin some runs, show hidden ones that are due, finish others."""
    for _ in range(chance.choice([0, 0, 1, 2, 25])):
        run_id = f"run_{len(thread)}"
        status = chance.choice(["queued", "in_progress", *sorted(TERMINAL_STATUSES)])
        thread[run_id] = {"id": run_id, "thread_id": "thread_1", "created_at": int(now), "status": status}
        hidden.append((now + chance.choice([0, 0, OVERLAP - 2]), run_id))
    for each in [each for each in hidden if each[0] <= now]:
        hidden.remove(each)
        shown.append(each[1])
    for each in thread.values():
        if each["status"] not in TERMINAL_STATUSES and chance.random() < 0.3:
            each["status"] = chance.choice(["in_progress", *sorted(TERMINAL_STATUSES)])


@pytest.mark.parametrize("seed", range(30))
def test_each_finished_run_is_emitted_once_whatever_happens(make_thread, seed):
    chance = random.Random(seed)
    interest = frozenset(chance.sample(sorted(TERMINAL_STATUSES), chance.randint(1, 5)))
    thread: dict[str, dict[str, Any]] = {}
    shown: list[str] = []
    hidden: list[tuple[float, str]] = []
    emitted: Counter[str] = Counter()
    saved: dict[str, Any] | None = None
    now, tracker, shared_scope = NOW, RunTracker(statuses=interest), Scope(NOW - LOOKBACK)
    first_poll: set[str] | None = None

    def server() -> Any:
        return make_thread(sorted((thread[each] for each in shown), key=lambda each: -each["created_at"]))

    for _ in range(60):
        now += chance.choice([0.0, 0.5, 3.0, 20.0, 400.0])
        happen(chance, now, thread, shown, hidden)
        if chance.random() < 0.15:
            # The process dies and another one continues from the saved state, perhaps with another first scope.
            tracker, shared_scope = RunTracker(statuses=interest), Scope(now - chance.choice([0, 60, LOOKBACK]))
            if saved is not None:
                tracker.restore(json.loads(json.dumps(saved)))
        snapshot = take(server(), shared_scope)
        shared_scope = shared_scope.following(snapshot)
        if chance.random() < 0.2:
            continue  # this subscriber was not there yet
        if first_poll is None:
            first_poll = {each for each in shown if thread[each]["status"] in TERMINAL_STATUSES}
        snapshot = take(server(), tracker.scope(now), snapshot)
        for each in tracker.observe(snapshot, now):
            emitted[each["id"]] += 1
            tracker.emitted(each)
            saved = tracker.to_dict()
            if chance.random() < 0.3:
                break  # the next snapshot or the next process emits the rest
        else:
            saved = tracker.to_dict()
    for each in [*hidden]:
        shown.append(each[1])
    for _ in range(2):
        for each in tracker.observe(take(server(), tracker.scope(now)), now):
            emitted[each["id"]] += 1
            tracker.emitted(each)
    assert first_poll is not None
    expected = {each for each in shown if thread[each]["status"] in interest} - first_poll
    assert emitted == Counter(expected)
