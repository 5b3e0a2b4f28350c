from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_portkey.exceptions import PortkeyExportConflictError, PortkeyRemoteJobNotFinishedError
from airflow_provider_portkey.export.window import Window
from airflow_provider_portkey.window_export.carry_over import WindowRecord
from airflow_provider_portkey.window_export.runs import RunSummary

FIRST = datetime(2026, 11, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def night(number: int) -> Window:
    return Window(FIRST + number * DAY, FIRST + (number + 1) * DAY)


class Records:
    """All records, as JSON."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.exported: list[tuple[str, str]] = []

    def read(self, end: str) -> WindowRecord | None:
        return WindowRecord.from_dict(json.loads(self.values[end])) if end in self.values else None

    def write(self, record: WindowRecord) -> None:
        self.values[record.window_end] = json.dumps(record.to_dict())

    def begin(self, number: int) -> WindowRecord:
        window = night(number)
        record = self.read(window.to_dict()["window_end"])
        if record is None:
            record = WindowRecord.create(window, "created", None, self.read)
        self.write(record)
        return record

    def export(
        self, number: int, runs: dict[str, dict[str, str]], *, fails: tuple[str, ...] = (), thread_ids: Any = None
    ) -> dict[str, list[str]]:
        """Export a night; ``runs`` are all there are, by thread, with their status; ``run_<night>_...``."""
        record = self.begin(number)
        done = {}
        threads = runs if thread_ids is None else thread_ids
        for thread in sorted({*threads, *record.carried_in}):
            if thread in fails:
                continue
            every = {run: RunSummary(run, 0, status) for run, status in runs[thread].items()}
            own = [run for run in every.values() if run.id.startswith(f"run_{number}_")]
            carried_in = [every[run] for run in record.run_ids_carried_in(thread)]
            _, exported, keep = record.decide(thread, own, carried_in, "skip")
            if keep:
                self.write(record)
            done[thread] = [run.id for run in exported]
        record.close(fails)
        self.write(record)
        return done


def test_a_run_is_carried_over_to_the_next_window() -> None:
    records = Records()

    assert records.export(0, {"a": {"run_0_x": "queued", "run_0_y": "completed"}}) == {"a": ["run_0_y"]}
    assert records.export(1, {"a": {"run_0_x": "failed", "run_0_y": "completed"}}) == {"a": ["run_0_x"]}
    assert records.export(2, {"a": {"run_0_x": "failed"}}) == {"a": []}


def test_a_decision_is_repeated() -> None:
    records = Records()
    records.export(0, {"a": {"run_0_x": "queued"}})
    ended = {"a": {"run_0_x": "completed"}}

    assert [records.export(0, ended), records.export(1, ended), records.export(0, ended), records.export(1, ended)] == [
        {"a": []}, {"a": ["run_0_x"]}, {"a": []}, {"a": ["run_0_x"]},
    ]  # fmt: skip


def test_runs_are_taken_from_closed_windows_only_and_later_from_others() -> None:
    records = Records()
    first = records.begin(0)
    first.decide("a", [RunSummary("run_0_x", 0, "queued")], [], "skip")
    records.write(first)
    ended = {"a": {"run_0_x": "completed"}}

    assert records.export(1, ended) == {"a": []}
    records.export(0, ended)
    assert records.export(1, ended) == {"a": []}
    assert records.export(2, ended) == {"a": ["run_0_x"]}
    assert records.export(3, ended) == {"a": []}


def test_a_thread_that_failed_keeps_the_window_pending() -> None:
    records = Records()
    runs = {"a": {"run_0_x": "queued"}, "b": {"run_0_y": "queued"}}
    ended = {"a": {"run_0_x": "completed"}, "b": {"run_0_y": "completed"}}
    records.export(0, runs, fails=("b",))

    assert records.export(1, ended) == {"a": ["run_0_x"], "b": []}
    assert records.export(0, runs) == {"a": [], "b": []}
    assert records.export(2, ended) == {"a": [], "b": ["run_0_y"]}
    assert records.export(3, ended) == {"a": [], "b": []}


def test_a_run_that_has_ended_must_not_become_active_again() -> None:
    records = Records()
    records.export(0, {"a": {"run_0_x": "completed"}})

    with pytest.raises(PortkeyRemoteJobNotFinishedError, match="already exported"):
        records.export(0, {"a": {"run_0_x": "in_progress"}})


def test_the_end_of_a_missing_window_is_pending() -> None:
    assert Records().begin(3).pending == {"2026-11-04T00:00:00Z": None}


def test_by_their_ends_nothing_is_carried_over() -> None:
    records = Records()
    records.export(0, {"a": {"run_0_x": "queued"}})

    record = WindowRecord.create(night(1), "ended", None, records.read)

    assert (record.carried_in, record.pending) == ({}, {})


def test_the_record_is_the_same_in_plain_data() -> None:
    records = Records()
    records.export(0, {"b": {"run_0_x": "queued"}, "a": {"run_0_x": "queued"}})
    records.export(1, {"b": {"run_0_x": "completed"}, "a": {"run_0_x": "queued"}}, fails=("a",))
    record = records.read("2026-11-03T00:00:00Z")

    assert record is not None
    assert WindowRecord.from_dict(record.to_dict()) == record
    assert record.undecided == {"a"}


@pytest.mark.parametrize("data", [{}, {"decided": []}, {"decided": {}, "unknown": 1}, {"decided": {"a": 1}}])
def test_an_invalid_record_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(PortkeyExportConflictError):
        WindowRecord.from_dict(data)


@pytest.mark.parametrize("seed", range(150))
def test_whatever_is_exported_when_each_run_is_exported_once_and_none_is_lost(seed: int) -> None:
    """Nights in any order, again and again, with threads that fail and runs that end at any time."""
    chance = random.Random(seed)
    records, nights, threads = Records(), 6, ("a", "b", "c")
    runs = {
        thread: {
            f"run_{number}_{each}": chance.choice(["completed", "queued", "requires_action"])
            for number in range(nights)
            for each in range(2)
        }
        for thread in threads
    }
    written: dict[tuple[int, str], list[str]] = {}

    def export(number: int, fails: tuple[str, ...] = ()) -> None:
        for thread, done in records.export(number, runs, fails=fails).items():
            before = written.get((number, thread))
            assert before in (None, done) or not set(before) - set(done)
            written[number, thread] = done

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
        found = sorted(run for (_, of), done in written.items() if of == thread for run in done)
        assert found == sorted(runs[thread])
