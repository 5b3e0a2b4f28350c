"""Whole runs on disk."""

from __future__ import annotations

from airflow_provider_portkey.window_export import spool as spool_module
from airflow_provider_portkey.window_export.spool import RunSpool


def test_runs_are_read_as_they_were_added_in_any_order() -> None:
    runs = [
        {"id": "a", "text": "\u00e9\U0001f600\u2028", "half": "\ud800", "number": 1e-7, "many": 10**30, "none": None},
        {"id": "b", "nested": {"z": 1, "a": [1.0, True]}},
        {"id": "c" * 5_000},
    ]
    spool = RunSpool()
    for run in runs:
        spool.add(run)
    for run in reversed(runs):
        assert spool.read(str(run["id"])) == run
    assert list(spool.read("b")["nested"]) == ["z", "a"]
    spool.close()


def test_the_run_that_was_added_last_counts() -> None:
    spool = RunSpool()
    spool.add({"id": "a", "status": "in_progress"})
    assert spool.read("a")["status"] == "in_progress"
    spool.add({"id": "a", "status": "completed"})
    assert spool.read("a") == {"id": "a", "status": "completed"}
    spool.close()


def test_large_runs_go_to_disk() -> None:
    spool = RunSpool()
    for number in range(20):
        spool.add({"id": str(number), "x": "x" * (spool_module._MAX_IN_MEMORY // 10)})
    assert spool._file._rolled  # type: ignore[attr-defined]
    assert spool.read("0")["id"] == "0"
    spool.close()
