"""Whole runs on disk."""

from __future__ import annotations

from airflow_provider_portkey.window_export import run_buffer
from airflow_provider_portkey.window_export.run_buffer import RunBuffer


def test_runs_are_read_as_they_were_added_in_any_order() -> None:
    runs = [
        {"id": "a", "text": "\u00e9\U0001f600\u2028", "half": "\ud800", "number": 1e-7, "many": 10**30, "none": None},
        {"id": "b", "nested": {"z": 1, "a": [1.0, True]}},
        {"id": "c" * 5_000},
    ]
    buffer = RunBuffer()
    for run in runs:
        buffer.add(run)
    for run in reversed(runs):
        assert buffer.read(str(run["id"])) == run
    assert list(buffer.read("b")["nested"]) == ["z", "a"]
    buffer.close()


def test_the_run_that_was_added_last_counts() -> None:
    buffer = RunBuffer()
    buffer.add({"id": "a", "status": "in_progress"})
    assert buffer.read("a")["status"] == "in_progress"
    buffer.add({"id": "a", "status": "completed"})
    assert buffer.read("a") == {"id": "a", "status": "completed"}
    buffer.close()


def test_large_runs_go_to_disk() -> None:
    buffer = RunBuffer()
    for number in range(20):
        buffer.add({"id": str(number), "x": "x" * (run_buffer._MAX_IN_MEMORY // 10)})
    assert buffer._file._rolled  # type: ignore[attr-defined]
    assert buffer.read("0")["id"] == "0"
    buffer.close()
