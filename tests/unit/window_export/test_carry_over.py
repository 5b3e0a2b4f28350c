from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_portkey.exceptions import PortkeyExportConflictError, PortkeyRemoteJobNotFinishedError
from airflow_provider_portkey.log_export.plan import Window
from airflow_provider_portkey.window_export.carry_over import WindowRecord
from airflow_provider_portkey.window_export.runs import SeenRun

FIRST = datetime(2026, 11, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def night(number: int) -> Window:
    return Window(FIRST + number * DAY, FIRST + (number + 1) * DAY)


class Books:
    """All records, written down and read again each time."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.exported: list[tuple[str, str]] = []

    def read(self, moment: str) -> WindowRecord | None:
        return WindowRecord.from_dict(json.loads(self.kept[moment])) if moment in self.kept else None

    def write(self, record: WindowRecord) -> None:
        self.kept[record.window_end] = json.dumps(record.to_dict())

    def begin(self, number: int) -> WindowRecord:
        window = night(number)
        record = self.read(window.to_dict()["window_end"])
        if record is None:
            record = WindowRecord.begin(window, "created", None, self.read)
        self.write(record)
        return record

    def export(
        self, number: int, runs: dict[str, dict[str, str]], *, fails: tuple[str, ...] = (), asked: Any = None
    ) -> dict[str, list[str]]:
        """Export a night; ``runs`` are all there are, by thread, with their status; ``run_<night>_...``."""
        record = self.begin(number)
        done = {}
        threads = runs if asked is None else asked
        for thread in sorted({*threads, *record.received}):
            if thread in fails:
                continue
            every = {run: SeenRun(run, 0, status) for run, status in runs[thread].items()}
            own = [run for run in every.values() if run.id.startswith(f"run_{number}_")]
            received = [every[run] for run in record.to_fetch(thread)]
            _, exported, keep = record.decide(thread, own, received, "skip")
            if keep:
                self.write(record)
            done[thread] = [run.id for run in exported]
        record.close(fails)
        self.write(record)
        return done


def test_what_a_window_leaves_the_next_one_receives() -> None:
    books = Books()

    assert books.export(0, {"a": {"run_0_x": "queued", "run_0_y": "completed"}}) == {"a": ["run_0_y"]}
    assert books.export(1, {"a": {"run_0_x": "failed", "run_0_y": "completed"}}) == {"a": ["run_0_x"]}
    assert books.export(2, {"a": {"run_0_x": "failed"}}) == {"a": []}


def test_a_decision_is_repeated() -> None:
    books = Books()
    books.export(0, {"a": {"run_0_x": "queued"}})
    ended = {"a": {"run_0_x": "completed"}}

    assert [books.export(0, ended), books.export(1, ended), books.export(0, ended), books.export(1, ended)] == [
        {"a": []}, {"a": ["run_0_x"]}, {"a": []}, {"a": ["run_0_x"]},
    ]  # fmt: skip


def test_only_what_is_closed_is_received_and_the_rest_later() -> None:
    books = Books()
    first = books.begin(0)
    first.decide("a", [SeenRun("run_0_x", 0, "queued")], [], "skip")
    books.write(first)
    ended = {"a": {"run_0_x": "completed"}}

    assert books.export(1, ended) == {"a": []}
    books.export(0, ended)
    assert books.export(1, ended) == {"a": []}
    assert books.export(2, ended) == {"a": ["run_0_x"]}
    assert books.export(3, ended) == {"a": []}


def test_a_thread_that_failed_keeps_the_place_open() -> None:
    books = Books()
    runs = {"a": {"run_0_x": "queued"}, "b": {"run_0_y": "queued"}}
    ended = {"a": {"run_0_x": "completed"}, "b": {"run_0_y": "completed"}}
    books.export(0, runs, fails=("b",))

    assert books.export(1, ended) == {"a": ["run_0_x"], "b": []}
    assert books.export(0, runs) == {"a": [], "b": []}
    assert books.export(2, ended) == {"a": [], "b": ["run_0_y"]}
    assert books.export(3, ended) == {"a": [], "b": []}


def test_a_run_that_has_ended_must_not_go_on_again() -> None:
    books = Books()
    books.export(0, {"a": {"run_0_x": "completed"}})

    with pytest.raises(PortkeyRemoteJobNotFinishedError, match="exported before"):
        books.export(0, {"a": {"run_0_x": "in_progress"}})


def test_a_window_without_one_before_it_says_where_to_look() -> None:
    assert Books().begin(3).look_again == {"2026-11-04T00:00:00Z": None}


def test_by_their_ends_nothing_is_received() -> None:
    books = Books()
    books.export(0, {"a": {"run_0_x": "queued"}})

    record = WindowRecord.begin(night(1), "ended", None, books.read)

    assert (record.received, record.look_again) == ({}, {})


def test_the_record_is_the_same_in_plain_data() -> None:
    books = Books()
    books.export(0, {"b": {"run_0_x": "queued"}, "a": {"run_0_x": "queued"}})
    books.export(1, {"b": {"run_0_x": "completed"}, "a": {"run_0_x": "queued"}}, fails=("a",))
    record = books.read("2026-11-03T00:00:00Z")

    assert record is not None
    assert WindowRecord.from_dict(record.to_dict()) == record
    assert record.undecided == ["a"]


@pytest.mark.parametrize("data", [{}, {"decided": []}, {"decided": {}, "unknown": 1}, {"decided": {"a": 1}}])
def test_what_is_no_record_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(PortkeyExportConflictError):
        WindowRecord.from_dict(data)


@pytest.mark.parametrize("seed", range(150))
def test_whatever_is_exported_when_each_run_is_exported_once_and_none_is_lost(seed: int) -> None:
    """Nights in any order, again and again, with threads that fail and runs that end at any time."""
    chance = random.Random(seed)
    books, nights, threads = Books(), 6, ("a", "b", "c")
    runs = {
        thread: {
            f"run_{number}_{each}": chance.choice(["completed", "queued", "requires_action"])
            for number in range(nights)
            for each in range(2)
        }
        for thread in threads
    }
    landed: dict[tuple[int, str], list[str]] = {}

    def export(number: int, fails: tuple[str, ...] = ()) -> None:
        for thread, done in books.export(number, runs, fails=fails).items():
            before = landed.get((number, thread))
            assert before in (None, done) or not set(before) - set(done)
            landed[number, thread] = done

    order = list(range(nights))
    chance.shuffle(order)
    for number in order:
        export(number, tuple(thread for thread in threads if chance.random() < 0.2))
        for states in runs.values():
            for run, status in states.items():
                if status != "completed" and chance.random() < 0.3:
                    states[run] = "completed"
        if chance.random() < 0.5:
            again = chance.choice(order[: order.index(number) + 1])
            try:
                export(again)
            except PortkeyRemoteJobNotFinishedError:
                continue
    for states in runs.values():
        states.update(dict.fromkeys(states, "completed"))
    for number in chance.sample(order, nights):
        export(number)
    export(nights)
    export(nights + 1)

    for thread in threads:
        found = sorted(run for (_, of), done in landed.items() if of == thread for run in done)
        assert found == sorted(runs[thread])
