from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pytest

from airflow_provider_portkey.exceptions import (
    PortkeyNotFoundError,
    PortkeyPaginationError,
    PortkeyServerError,
    PortkeyUnexpectedResponseError,
)
from airflow_provider_portkey.polling.run_tracker import (
    ENDED,
    LOOKBACK,
    OVERLAP,
    Look,
    Need,
    Page,
    RunTracker,
    Single,
    read,
)

NOW = 1_800_000_000.0


def run(run_id: str, ago: float, status: str = "completed", **fields: Any) -> dict[str, Any]:
    return {"id": run_id, "created_at": NOW - ago, "status": status, "instructions": "long", "tools": [], **fields}


class Thread:
    """Answers what :func:`read` asks, from runs given newest first, and keeps the questions."""

    def __init__(self, *runs: dict[str, Any]) -> None:
        self.runs = list(runs)
        self.questions: list[Page | Single] = []

    def answer(self, question: Page | Single) -> Any:
        self.questions.append(question)
        if isinstance(question, Single):
            found = [run for run in self.runs if run["id"] == question.run_id]
            if not found:
                raise PortkeyNotFoundError("no such run", status_code=404)
            return found[0]
        ids = [run["id"] for run in self.runs]
        start = ids.index(question.after) + 1 if question.after else 0
        return self.runs[start : start + question.limit], start + question.limit < len(ids)

    def look(self, need: Need, known: Look | None = None) -> Look:
        reading = read(need, known)
        try:
            question = next(reading)
            while True:
                try:
                    answer = self.answer(question)
                except PortkeyNotFoundError as error:
                    question = reading.throw(error)
                else:
                    question = reading.send(answer)
        except StopIteration as done:
            look: Look = done.value
            return look


def ids(runs) -> list[str]:
    return [run["id"] for run in runs]


def observe(watch: RunTracker, *runs: dict[str, Any], now: float = NOW) -> list[str]:
    due = watch.observe(Thread(*runs).look(watch.need(now)), now)
    for each in due:
        watch.told(each)
    return ids(due)


def started(*runs: dict[str, Any], **how: Any) -> RunTracker:
    watch = RunTracker(**how)
    assert observe(watch, *runs) == []
    return watch


# Reading


def test_a_look_reads_one_small_page_where_that_reaches_back_far_enough():
    thread = Thread(*(run(f"run_{n}", ago=60.0 * n) for n in range(500)))
    look = thread.look(Need(NOW - 300))
    assert thread.questions == [Page(20)]
    assert ids(look.runs) == [f"run_{n}" for n in reversed(range(20))]
    assert "instructions" not in look.runs[0]


def test_a_look_reads_on_until_a_run_is_older_than_needed():
    thread = Thread(*(run(f"run_{n}", ago=float(n)) for n in range(500)))
    look = thread.look(Need(NOW - 150))
    assert thread.questions == [Page(20), Page(100, "run_19"), Page(100, "run_119")]
    assert Need(NOW - 150).is_met_by(look)
    assert not Need(NOW - 400).is_met_by(look)


def test_runs_of_the_same_moment_as_the_oldest_may_be_on_the_next_page():
    thread = Thread(*(run(f"run_{n}", ago=5.0) for n in range(30)))
    assert len(thread.look(Need(NOW - 5)).runs) == 30


def test_a_short_thread_is_read_to_its_end():
    thread = Thread(run("run_1", ago=5))
    look = thread.look(Need(NOW - 900))
    assert thread.questions == [Page(20)]
    assert Need(0.0).is_met_by(look)


def test_open_runs_that_the_pages_did_not_show_are_asked_for_singly_and_may_be_gone():
    old, runs = run("run_old", ago=9000, status="in_progress"), [run(f"run_{n}", ago=60.0 * n) for n in range(30)]
    thread = Thread(*runs, old)
    look = thread.look(Need(NOW - 300, frozenset({"run_old", "run_3", "run_no"})))
    assert thread.questions == [Page(20), Single("run_no"), Single("run_old")]
    assert "run_old" in ids(look.runs)
    assert look.gone == {"run_no"}


def test_a_look_of_somebody_else_is_completed_not_repeated():
    runs = [run(f"run_{n}", ago=60.0 * n) for n in range(30)]
    thread = Thread(*runs)
    shared = thread.look(Need(NOW - 300))
    thread.questions.clear()
    assert ids(thread.look(Need(NOW - 600, frozenset({"run_25"})), shared).runs)[0] == "run_25"
    assert thread.questions == [Single("run_25")]
    thread.questions.clear()
    assert Need(NOW - 1700).is_met_by(thread.look(Need(NOW - 1700), shared))
    assert thread.questions == [Page(20), Page(100, "run_19")]


def test_the_next_look_follows_the_open_runs_it_was_asked_for_and_the_new_ones():
    look = Look((run("old", ago=500, status="queued"), run("known", ago=400, status="queued"), run("new", ago=50)), 0.0)
    look = Look((*look.runs, run("newest", ago=9, status="requires_action")), 0.0)
    need = Need(NOW - 300, frozenset({"known"})).following(look)
    assert need == Need(NOW - 9 - OVERLAP, frozenset({"known", "newest"}))
    assert need.following(Look((), 0.0)).since == need.since


@pytest.mark.parametrize("error", [PortkeyServerError("oh"), PortkeyUnexpectedResponseError("oh")])
def test_a_question_that_fails_ends_the_look(error):
    reading = read(Need(NOW))
    next(reading)
    with pytest.raises(type(error)):
        reading.throw(error)


def test_a_list_that_goes_round_is_noticed():
    reading = read(Need(0.0))
    next(reading)
    reading.send(([run("run_1", ago=1)], True))
    with pytest.raises(PortkeyPaginationError, match="run_1"):
        reading.send(([run("run_1", ago=1)], True))


def test_a_list_that_is_oldest_first_is_noticed():
    with pytest.raises(PortkeyUnexpectedResponseError, match="not newest first"):
        Thread(run("run_1", ago=60), run("run_2", ago=1)).look(Need(0.0))
    assert Thread(run("run_1", ago=9), run("run_2", ago=1)).look(Need(0.0)).runs


@pytest.mark.parametrize("fields", [{"created_at": None}, {"created_at": True}, {"status": None}, {"created_at": "x"}])
def test_a_run_that_lacks_what_is_needed_is_no_run(fields):
    with pytest.raises(PortkeyUnexpectedResponseError):
        Thread(run("run_1", ago=1) | fields).look(Need(0.0))


# Watching


def test_the_very_first_look_tells_nothing_and_watches_what_goes_on():
    watch = started(run("run_2", ago=30, status="in_progress"), run("run_1", ago=60))
    assert observe(watch, run("run_2", ago=30), run("run_1", ago=60)) == ["run_2"]
    assert observe(watch, run("run_2", ago=30), run("run_1", ago=60)) == []


def test_runs_that_are_stuck_for_longer_than_the_look_back_are_left_alone():
    thread = run("run_2", ago=90, status="queued"), run("run_1", ago=120, status="queued")
    watch = started(*thread, lookback=100)
    assert set(watch.open) == {"run_2"}
    assert set(started(*thread, run("run_0", ago=LOOKBACK + 1, status="queued")).open) == {"run_1", "run_2"}


def test_a_run_that_began_and_ended_between_two_looks_is_told():
    watch = started(run("run_1", ago=60))
    assert observe(watch, run("run_3", ago=2, status="failed"), run("run_2", ago=5), run("run_1", ago=60)) == [
        "run_2",
        "run_3",
    ]


@pytest.mark.parametrize("runs", [[], [run("run_0", ago=1_000_000)]])
def test_a_thread_that_was_idle_for_long_tells_its_next_run(runs):
    watch = started(*runs)
    assert observe(watch, run("run_1", ago=-20), *runs, now=NOW + 30) == ["run_1"]


def test_a_run_that_shows_up_late_in_the_list_is_not_lost():
    watch = started(run("run_2", ago=30))
    assert observe(watch, run("run_2", ago=30), run("run_1", ago=30 + OVERLAP)) == ["run_1"]


def test_an_older_look_than_the_last_repeats_nothing():
    watch = started(run("run_1", ago=60))
    older = Look((run("run_1", ago=60), run("run_2", ago=2, status="queued")), -1.0)
    assert observe(watch, run("run_2", ago=2), run("run_1", ago=60)) == ["run_2"]
    assert watch.observe(older, NOW) == []
    assert observe(watch, run("run_2", ago=2), run("run_1", ago=60)) == []


def test_an_end_comes_again_until_it_is_told():
    watch = started()
    look = Thread(run("run_1", ago=1)).look(watch.need(NOW))
    assert ids(watch.observe(look, NOW)) == ["run_1"]
    (due,) = watch.observe(look, NOW)
    watch.told(due)
    assert watch.observe(look, NOW) == []


def test_a_run_that_is_gone_is_forgotten():
    watch = started(run("run_1", ago=1, status="queued"))
    assert observe(watch) == []
    assert not watch.open


FILTERS = [
    ({"statuses": ["failed"]}, ["failed"]),
    ({"statuses": ["failed", "expired"]}, ["failed", "expired"]),
    ({"assistant_id": "asst_2"}, ["expired"]),
    ({"metadata": {"team": "data"}}, ["failed", "cancelled"]),
    ({"metadata": {"team": "data", "env": "prod"}}, ["cancelled"]),
    ({"metadata": {"team": "data"}, "statuses": ["failed"], "assistant_id": "asst_2"}, []),
    ({}, ["completed", "failed", "cancelled", "expired", "incomplete"]),
]


@pytest.mark.parametrize(("how", "told"), FILTERS)
def test_filters(how, told):
    watch = started(**how)
    runs = [
        run("incomplete", 1, "incomplete", metadata=None),
        run("expired", 2, "expired", assistant_id="asst_2"),
        run("cancelled", 3, "cancelled", metadata={"team": "data", "env": "prod", "list": []}),
        run("failed", 4, "failed", metadata={"team": "data"}, assistant_id="asst_1"),
        run("completed", 5),
    ]
    assert observe(watch, *runs) == told
    assert not watch.open


# The state


def test_another_process_goes_on_from_the_state():
    watch = started(run("run_2", ago=30, status="queued"), run("run_1", ago=30))
    state = json.loads(json.dumps(watch.to_dict()))
    assert state == {"at": NOW - 30, "seen": {"run_1": NOW - 30, "run_2": NOW - 30}, "open": ["run_2"]}
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
        {"at": None, "seen": {}, "open": []},
        {"at": True, "seen": {}, "open": []},
        {"at": float("nan"), "seen": {}, "open": []},
        {"at": 1, "seen": [], "open": []},
        {"at": 1, "seen": {"run_1": "x"}, "open": []},
        {"at": 1, "seen": {}, "open": "run_1"},
        {"at": 1, "seen": {}, "open": [1]},
        {"at": 1, "seen": {}, "open": [""]},
    ],
)
def test_rubbish_is_no_state(state):
    watch = RunTracker()
    with pytest.raises(ValueError, match=r"its '|no object"):
        watch.restore(state)
    assert not watch.started


def test_the_state_stays_small():
    watch, thread = started(), []
    for n in range(300):
        thread.insert(0, run(f"run_{n:05}", ago=-60.0 * n))
        observe(watch, *thread[:50], now=NOW + 60.0 * n)
    assert len(json.dumps(watch.to_dict())) < 200


# A model: random runs, random looks, random deaths


def happen(
    chance: random.Random,
    now: float,
    thread: dict[str, dict[str, Any]],
    shown: list[str],
    hidden: list[tuple[float, str]],
) -> None:
    """Begin some runs, show those whose time has come, end others."""
    for _ in range(chance.choice([0, 0, 1, 2, 25])):
        run_id = f"run_{len(thread)}"
        status = chance.choice(["queued", "in_progress", *sorted(ENDED)])
        thread[run_id] = {"id": run_id, "created_at": int(now), "status": status}
        hidden.append((now + chance.choice([0, 0, OVERLAP - 2]), run_id))
    for each in [each for each in hidden if each[0] <= now]:
        hidden.remove(each)
        shown.append(each[1])
    for each in thread.values():
        if each["status"] not in ENDED and chance.random() < 0.3:
            each["status"] = chance.choice(["in_progress", *sorted(ENDED)])


@pytest.mark.parametrize("seed", range(30))
def test_each_end_is_told_once_whatever_happens(seed):
    chance = random.Random(seed)
    interest = frozenset(chance.sample(sorted(ENDED), chance.randint(1, 5)))
    thread: dict[str, dict[str, Any]] = {}
    shown: list[str] = []
    hidden: list[tuple[float, str]] = []
    told: Counter[str] = Counter()
    kept: dict[str, Any] | None = None
    now, watch, shared_need = NOW, RunTracker(statuses=interest), Need(NOW - LOOKBACK)
    first_look: set[str] | None = None

    def world() -> Thread:
        return Thread(*sorted((thread[each] for each in shown), key=lambda each: -each["created_at"]))

    for _ in range(60):
        now += chance.choice([0.0, 0.5, 3.0, 20.0, 400.0])
        happen(chance, now, thread, shown, hidden)
        if chance.random() < 0.15:
            # The process dies and another one goes on from what was kept, perhaps with another first look.
            watch, shared_need = RunTracker(statuses=interest), Need(now - chance.choice([0, 60, LOOKBACK]))
            if kept is not None:
                watch.restore(json.loads(json.dumps(kept)))
        look = world().look(shared_need)
        shared_need = shared_need.following(look)
        if chance.random() < 0.2:
            continue  # this subscriber was not there yet
        if first_look is None:
            first_look = {each for each in shown if thread[each]["status"] in ENDED}
        look = world().look(watch.need(now), look)
        for each in watch.observe(look, now):
            told[each["id"]] += 1
            watch.told(each)
            kept = watch.to_dict()
            if chance.random() < 0.3:
                break  # the rest of this look is told by the next one, or by the next process
        else:
            kept = watch.to_dict()
    for each in [*hidden]:
        shown.append(each[1])
    for _ in range(2):
        for each in watch.observe(world().look(watch.need(now)), now):
            told[each["id"]] += 1
            watch.told(each)
    assert first_look is not None
    expected = {each for each in shown if thread[each]["status"] in interest} - first_look
    assert told == Counter(expected)
