from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_portkey.exceptions import PortkeyExportConflictError
from airflow_provider_portkey.window_export.journal import Journal


class Store:
    """JSON by key, and the keys in the order in which they were written."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.written: list[str] = []

    def read(self, key: str) -> dict[str, Any] | None:
        return json.loads(self.values[key]) if key in self.values else None

    def write(self, key: str, value: dict[str, Any]) -> None:
        self.values[key] = json.dumps(value)
        self.written.append(key)

    def remove(self, key: str) -> None:
        self.values.pop(key, None)


class Killed(BaseException):
    """What ends a process at once."""


def decision(run: str) -> dict[str, Any]:
    return {"carried_out": {run: {"status": "queued"}}, "carried_in": []}


@pytest.fixture
def store() -> Store:
    return Store()


def opened(store: Store) -> Journal:
    journal = Journal(store, "night")
    journal.claim()
    return journal


def test_the_next_process_has_all_saved_decisions_the_latest_of_each_thread(store: Store) -> None:
    first = opened(store)
    first.add({"a": decision("run_1"), "b": decision("run_2")})
    first.add({"c": decision("run_3")})
    second = opened(store)
    second.add({"b": decision("run_4")})

    assert Journal(store, "night").claim() == {"a": decision("run_1"), "b": decision("run_4"), "c": decision("run_3")}
    assert Journal(store, "other").claim() == {}


def test_a_part_is_written_once_whatever_was_saved_before(store: Store) -> None:
    journal = opened(store)
    for number in range(100):
        journal.add({f"thread_{number:03d}": decision("run_1")})

    parts = [key for key in store.written if "claim" not in key]
    assert len(parts) == len(set(parts)) == 100
    assert max(len(store.values[key]) for key in parts) < 150
    assert len(store.written) == 101


def test_a_process_whose_window_was_taken_over_stops_and_replaces_nothing(store: Store) -> None:
    first = opened(store)
    second = opened(store)
    second.add({"a": decision("run_1")})

    with pytest.raises(PortkeyExportConflictError, match="Another process"):
        first.add({"a": decision("run_2")})
    assert Journal(store, "night").read() == {"a": decision("run_1")}


def test_a_process_stops_where_another_one_ends_while_it_takes_the_window_over(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(store)
    first.add({"a": decision("run_1")})
    write = store.write

    def meanwhile(key: str, value: dict[str, Any]) -> None:
        write(key, value)
        monkeypatch.setattr(store, "write", write)
        first.remove()  # was the window's process when it checked

    monkeypatch.setattr(store, "write", meanwhile)
    with pytest.raises(PortkeyExportConflictError, match="Another process"):
        Journal(store, "night").claim()


def test_nothing_is_left_not_even_what_was_saved_while_the_window_was_taken_over(store: Store) -> None:
    first = opened(store)
    first.add({"a": decision("run_1")})
    second = opened(store)
    first.check = lambda: None  # type: ignore[method-assign]  passed before the second process came
    first.add({"b": decision("run_2")})
    second.add({"c": decision("run_3")})

    second.remove()

    assert store.values == {}


@pytest.mark.parametrize("at", range(6))
def test_a_removal_that_is_killed_leaves_only_decisions_that_are_the_latest(store: Store, at: int) -> None:
    first = opened(store)
    first.add({"a": decision("old"), "b": decision("run_2")})
    first.add({"c": decision("run_3")})
    second = opened(store)
    second.add({"a": decision("new")})
    latest = {"a": decision("new"), "b": decision("run_2"), "c": decision("run_3")}
    remove, count = store.remove, 0

    def killed(key: str) -> None:
        nonlocal count
        if count == at:
            raise Killed
        count += 1
        remove(key)

    store.remove = killed  # type: ignore[method-assign]
    if at < 4:
        with pytest.raises(Killed):
            second.remove()
    else:
        second.remove()
    store.remove = remove  # type: ignore[method-assign]
    third = Journal(store, "night")

    assert (latest | third.claim()) == latest
    third.remove()
    assert store.values == {}


@pytest.mark.parametrize("part", [{}, {"decided": 1}, {"decided": [1]}])
def test_a_journal_that_is_not_valid_is_refused(store: Store, part: dict[str, Any]) -> None:
    journal = opened(store)
    journal.add({"a": decision("run_1")})
    (key,) = (key for key in store.values if "claim" not in key)
    store.write(key, part)

    with pytest.raises(PortkeyExportConflictError, match="not valid"):
        Journal(store, "night").claim()
