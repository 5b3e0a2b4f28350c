from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_portkey.exceptions import PortkeyExportConflictError
from airflow_provider_portkey.export.window import Window
from airflow_provider_portkey.window_export.runs import RunSummary
from airflow_provider_portkey.window_export.state import FileState, WindowState

FIRST = datetime(2026, 11, 1, tzinfo=UTC)
DAY = timedelta(days=1)
LATE = RunSummary("late", 0, "queued")


def opened(base: Path, context: Any, night: int = 0) -> WindowState:
    folder = ObjectStoragePath(str(base))
    window = Window(FIRST + night * DAY, FIRST + (night + 1) * DAY)
    return WindowState(context, folder, folder / "window", window, "created")


def parts(base: Path, context: Any) -> list[str]:
    """Return the keys of the saved parts."""
    stored = [key for store in context.values() for key in store.values]
    folder = base / "_unfinished"
    keys = stored or [path.name for path in folder.iterdir()]
    return [key for key in keys if key.rpartition("/")[2].count(".") == 3]


def test_a_decision_is_saved_before_the_file_of_its_thread_with_all_others_so_far(tmp_path: Path, context: Any) -> None:
    state = opened(tmp_path, context)
    for thread in ("a", "b", "c"):
        state.decide(thread, [LATE], [], "skip")
    state.save_before("unknown")
    assert parts(tmp_path, context) == []

    state.save_before("b")
    state.save_before("c")

    assert len(parts(tmp_path, context)) == 1
    assert opened(tmp_path, context).record.decided.keys() == {"a", "b", "c"}


def test_decisions_of_threads_without_a_file_are_saved_64_at_a_time(tmp_path: Path, context: Any) -> None:
    state = opened(tmp_path, context)
    for number in range(130):
        state.decide(f"thread_{number}", [LATE], [], "skip")

    assert len(parts(tmp_path, context)) == 2
    assert len(opened(tmp_path, context).record.decided) == 128


def test_at_the_end_the_record_has_everything_and_no_part_is_left(tmp_path: Path, context: Any) -> None:
    for _ in range(2):  # two processes that were killed, and one that was not
        state = opened(tmp_path, context)
        state.decide("a", [LATE], [], "skip")
        state.decide("b", [RunSummary("other", 0, "queued")], [], "skip")
        state.save()
    opened(tmp_path, context).close([])

    assert parts(tmp_path, context) == []
    assert opened(tmp_path, context, 1).record.carried_in == {"a": ["late"], "b": ["other"]}


def test_what_was_decided_after_the_end_about_a_thread_that_failed_is_taken_even_if_the_process_was_killed(
    tmp_path: Path, context: Any
) -> None:
    opened(tmp_path, context).close(["a"])
    again = opened(tmp_path, context)
    again.decide("a", [LATE], [], "skip")
    again.save()

    assert opened(tmp_path, context, 1).record.carried_in == {"a": ["late"]}


def test_a_process_whose_window_was_taken_over_saves_and_ends_nothing(tmp_path: Path, context: Any) -> None:
    first = opened(tmp_path, context)
    first.decide("a", [LATE], [], "skip")
    second = opened(tmp_path, context)

    for call in (first.save, lambda: first.close([])):
        with pytest.raises(PortkeyExportConflictError, match="Another process"):
            call()
    second.close([])
    assert opened(tmp_path, context, 1).record.carried_in == {}


def test_an_export_that_decides_nothing_new_does_not_write_the_record_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = opened(tmp_path, {})
    state.decide("a", [LATE], [], "skip")
    state.close([])
    written: list[str] = []
    write = FileState.write
    monkeypatch.setattr(FileState, "write", lambda store, key, value: (written.append(key), write(store, key, value)))

    opened(tmp_path, {}).close([])

    assert [key.count(".") for key in written] == [2, 2], "the claim, twice"
