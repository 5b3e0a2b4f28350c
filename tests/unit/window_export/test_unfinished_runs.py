"""Runs that have not ended when their window is exported."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_portkey import exceptions
from airflow_provider_portkey.testing import PortkeyMockServer
from airflow_provider_portkey.window_export.state import WindowState


@pytest.mark.parametrize("status", ["queued", "in_progress", "cancelling", "requires_action", "never_heard_of"])
def test_a_run_that_has_not_ended_is_carried_over_to_the_next_window_once(
    clock: Any, tmp_path: Path, context: dict[str, Any], status: str, nights: Any, add: Any
) -> None:
    add("done")
    add("late", hour=23.9, statuses=[(status, 0), ("completed", 3600)])

    first = nights.export(tmp_path, context=context)
    tonight = nights.files(tmp_path)
    clock.now += 86_400
    again = nights.export(tmp_path, context=context)
    second = nights.export(tmp_path, night=1, context=context)
    everything = nights.files(tmp_path)
    for night in (1, 0, 1):
        nights.export(tmp_path, night=night, context=context)

    assert first["runs"] == {"seen": 2, "exported": 1, "skipped": 1, "failed": 0, "carried_over": 0}
    expected = {"thread_id": "thread_1", "run_id": "late", "status": status}
    (skipped,) = first["skipped"]
    assert expected.items() <= skipped.items()
    assert again["runs"] == first["runs"]
    assert second["runs"] == {"seen": 1, "exported": 1, "skipped": 0, "failed": 0, "carried_over": 1}
    assert tonight.items() <= everything.items()
    assert nights.files(tmp_path) == everything
    assert nights.run_ids(tmp_path) == ["done"]
    assert nights.run_ids(tmp_path, 1) == ["late"]
    assert b'"late"' in tonight[f"{nights.folder(tmp_path).name}/_manifest.json"]


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "expired", "incomplete"])
def test_a_run_that_has_ended_however_is_exported(tmp_path: Path, status: str, nights: Any, add: Any) -> None:
    add("run_1", statuses=status)

    assert nights.export(tmp_path)["runs"]["exported"] == 1


def test_a_long_run_is_carried_over_from_window_to_window(
    clock: Any, tmp_path: Path, context: dict[str, Any], nights: Any, add: Any
) -> None:
    add("long", statuses=[("requires_action", 0), ("expired", 3 * 86_400)])

    manifests = []
    for night in range(5):
        manifests.append(nights.export(tmp_path, night=night, context=context))
        clock.now += 86_400
    files = nights.files(tmp_path)
    for night in (4, 2, 0, 1, 3):
        nights.export(tmp_path, night=night, context=context)

    assert [manifest["runs"]["skipped"] for manifest in manifests] == [1, 1, 1, 0, 0]
    assert [manifest["runs"]["carried_over"] for manifest in manifests] == [0, 0, 0, 1, 0]
    assert nights.files(tmp_path) == files
    assert set(nights.steps(tmp_path).values()) == {1}


def test_a_run_is_carried_over_even_if_its_thread_is_no_longer_exported(
    clock: Any, tmp_path: Path, nights: Any, add: Any
) -> None:
    add("late", statuses=[("in_progress", 0), ("completed", 60)])
    add("other", night=1, thread_id="thread_2")
    nights.export(tmp_path)
    clock.now += 86_400

    manifest = nights.export(tmp_path, night=1, thread_ids=["thread_2"])

    assert (manifest["threads"], manifest["runs"]["carried_over"]) == (2, 1)
    assert nights.run_ids(tmp_path, 1) == ["late"]


@pytest.mark.parametrize("order", [[2, 1, 0, 3], [1, 0, 2, 3], [0, 2, 1, 3], [2, 0, 1, 3], [1, 2, 0, 3]])
def test_windows_exported_in_any_order_carry_each_run_over_once(
    clock: Any, tmp_path: Path, context: dict[str, Any], order: list[int], nights: Any, add: Any
) -> None:
    clock.now += 2 * 86_400
    for night in range(3):
        add(f"done_{night}", night=night)
        add(f"late_{night}", night=night, hour=23, statuses=[("in_progress", 0), ("completed", 3600)])

    for night in order[:-1]:
        nights.export(tmp_path, night=night, context=context)
    clock.now += 86_400
    last = nights.export(tmp_path, night=order[-1], context=context)
    files = nights.files(tmp_path)
    for night in order[::-1]:
        nights.export(tmp_path, night=night, context=context)

    assert nights.files(tmp_path) == files
    assert last["runs"]["carried_over"] == 3
    wanted = {f"{kind}_{night}" for kind in ("done", "late") for night in range(3)}
    assert {run for run, _ in nights.steps(tmp_path)} == wanted
    assert set(nights.steps(tmp_path).values()) == {1}


def test_backfills_forwards_and_backwards_give_the_same_files(tmp_path: Path, nights: Any, add: Any) -> None:
    for night in range(-7, 0):
        for hour in (0, 7, 23.99):
            add(f"run_{night}_{hour}", night=night, hour=hour)

    for folder, order in (("up", range(-7, 0)), ("down", range(-1, -8, -1))):
        for night in order:
            nights.export(tmp_path / folder, night=night)

    assert nights.files(tmp_path / "up") == nights.files(tmp_path / "down")
    assert len(nights.files(tmp_path / "up")) == 14


def test_two_windows_side_by_side_neither_lose_nor_double_a_run(
    clock: Any, tmp_path: Path, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch, nights: Any, add: Any
) -> None:
    """The second window is exported while the first has decided, and not yet come to its end."""
    clock.now += 86_400
    add("late", hour=23.9, statuses=[("in_progress", 0), ("completed", 60)])
    add("next", night=1)
    save = WindowState.save

    def meanwhile(self: Any) -> None:
        save(self)
        monkeypatch.setattr(WindowState, "save", save)
        clock.now += 60
        assert nights.export(tmp_path, night=1, context=context)["runs"]["carried_over"] == 0

    monkeypatch.setattr(WindowState, "save", meanwhile)
    assert nights.export(tmp_path, context=context)["runs"]["skipped"] == 1
    clock.now += 86_400
    assert nights.export(tmp_path, night=2, context=context)["runs"]["carried_over"] == 1

    assert set(nights.steps(tmp_path).values()) == {1}
    assert {run for run, _ in nights.steps(tmp_path)} == {"late", "next"}


def test_a_second_process_at_the_same_window_stops_the_first(
    clock: Any, tmp_path: Path, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch, nights: Any, add: Any
) -> None:
    add("late", hour=23.9, statuses=[("in_progress", 0), ("completed", 60)])
    save = WindowState.save

    def meanwhile(self: Any) -> None:
        monkeypatch.setattr(WindowState, "save", save)
        clock.now += 60
        nights.export(tmp_path, context=context)
        save(self)

    monkeypatch.setattr(WindowState, "save", meanwhile)
    with pytest.raises(exceptions.PortkeyExportConflictError, match="Another process"):
        nights.export(tmp_path, context=context)

    clock.now += 86_400
    nights.export(tmp_path, night=1, context=context)
    assert Counter(run for run, _ in nights.steps(tmp_path)) == {"late": 2}


def test_included_runs_are_exported_as_they_are(clock: Any, tmp_path: Path, nights: Any, add: Any) -> None:
    add("late", statuses=[("in_progress", 0), ("completed", 60)])

    assert nights.export(tmp_path, on_unfinished="include")["runs"]["exported"] == 1
    clock.now += 86_400
    assert nights.export(tmp_path, night=1, on_unfinished="include")["runs"]["seen"] == 0


def test_a_run_that_has_not_ended_fails_its_thread_with_on_unfinished_fail(
    clock: Any, tmp_path: Path, nights: Any, add: Any
) -> None:
    add("late", statuses=[("in_progress", 0), ("completed", 60)])
    add("done", thread_id="thread_2")

    with pytest.raises(exceptions.PortkeyThreadsFailedError, match=r"'thread_1'.*still in_progress") as failed:
        nights.export(tmp_path, thread_ids=["thread_1", "thread_2"], on_unfinished="fail")
    clock.now += 60
    manifest = nights.export(tmp_path, thread_ids=["thread_1", "thread_2"], on_unfinished="fail")

    assert failed.value.manifest["runs"] == {"seen": 2, "exported": 1, "skipped": 0, "failed": 1, "carried_over": 0}
    assert manifest["runs"]["exported"] == 2


def test_a_run_that_was_carried_over_stays_so_under_another_policy(
    clock: Any, tmp_path: Path, nights: Any, add: Any
) -> None:
    add("late", statuses=[("in_progress", 0), ("completed", 60)])
    nights.export(tmp_path)
    clock.now += 86_400
    nights.export(tmp_path, on_unfinished="include")
    nights.export(tmp_path, night=1, on_unfinished="fail")

    assert not (nights.folder(tmp_path) / "thread_1.jsonl").exists()
    assert nights.run_ids(tmp_path, 1) == ["late"]


def test_a_thread_that_is_new_to_a_closed_window_carries_nothing_over(
    mock_server: PortkeyMockServer, clock: Any, tmp_path: Path, nights: Any, add: Any
) -> None:
    """The next window has been exported, and would not read the record again."""
    add("late", statuses=[("in_progress", 0), ("completed", 3 * 86_400)])
    mock_server.add_messages(thread_id="thread_2", texts=["no run"])
    clock.now += 86_400
    for night in (0, 1):
        nights.export(tmp_path, night=night, thread_ids=["thread_2"])

    with pytest.raises(exceptions.PortkeyThreadsFailedError, match="already exported completely"):
        nights.export(tmp_path, thread_ids=["thread_1", "thread_2"])
    clock.now += 3 * 86_400
    assert nights.export(tmp_path, thread_ids=["thread_1", "thread_2"])["runs"]["exported"] == 1


def test_by_the_end_of_runs_each_is_in_the_window_in_which_it_ended(
    clock: Any, tmp_path: Path, nights: Any, add: Any
) -> None:
    minutes = 60
    ends = [("completed", 23.5, 20 * minutes, 0), ("completed", 23.5, 40 * minutes, 1), ("incomplete", 23.5, 60, 1),
            ("failed", 23.9, 600, 1), ("cancelled", 23.9, 600, 1), ("expired", 23.9, 600, 1)]  # fmt: skip
    for number, (status, hour, seconds, _) in enumerate(ends):
        script = [("in_progress", 0), (status, seconds)]
        add(f"run_{number}", hour=hour, statuses=script)
    clock.now += 40 * minutes
    add("active", hour=23.99, statuses="in_progress")

    manifest = nights.export(tmp_path, window_by="ended")
    clock.now += 86_400
    nights.export(tmp_path, night=1, window_by="ended")

    assert manifest["runs"] == {"seen": 1, "exported": 1, "skipped": 0, "failed": 0, "carried_over": 0}
    for night in (0, 1):
        assert set(nights.run_ids(tmp_path, night)) == {
            f"run_{number}" for number, end in enumerate(ends) if end[3] == night
        }


def test_a_list_that_is_not_newest_first_is_refused(tmp_path: Path, nights: Any, add: Any) -> None:
    add("newer", hour=3)
    add("older", hour=2)

    with pytest.raises(exceptions.PortkeyThreadsFailedError, match="not newest first"):
        nights.export(tmp_path)
