"""Threads that fail, and errors that end an export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_portkey import exceptions
from airflow_provider_portkey.testing import PortkeyMockServer


def paths(mock_server: PortkeyMockServer) -> list[str]:
    return [request.path.removeprefix("/v1") for request in mock_server.requests]


def broken(mock_server: PortkeyMockServer, what: str) -> None:
    faults: dict[str, dict[str, Any]] = {
        "gone": {"status": 404, "path": "*/threads/thread_2/runs"},
        "no list": {"body": {"hello": 1}, "path": "*/threads/thread_2/runs"},
        "login page": {"body": "<html>", "path": "*/threads/thread_2/runs"},
        "refused": {"status": 400, "path": "*/threads/thread_2/runs/*/steps"},
        "goes round": {"ignore_after": True, "merge": {"has_more": True}, "path": "*/runs/run_2/steps", "times": None},
        "no timestamp": {"merge": {"data": [{"id": "run_2"}]}, "path": "*/threads/thread_2/runs"},
    }
    mock_server.fault(**faults[what])


@pytest.mark.parametrize("what", ["gone", "no list", "login page", "refused", "goes round", "no timestamp"])
def test_a_thread_that_fails_is_named_and_all_others_are_written(
    mock_server: PortkeyMockServer, tmp_path: Path, context: dict[str, Any], what: str, nights: Any, add: Any
) -> None:
    threads = [f"thread_{number}" for number in range(1, 6)]
    for number, thread_id in enumerate(threads, 1):
        add(f"run_{number}", thread_id=thread_id, steps=130)
    broken(mock_server, what)

    with pytest.raises(exceptions.PortkeyThreadsFailedError, match="1 of 5 threads failed: 'thread_2'") as failed:
        nights.export(tmp_path, thread_ids=threads, context=context)

    manifest = failed.value.manifest
    assert [each["thread_id"] for each in manifest["failed_threads"]] == ["thread_2"]
    assert manifest["runs"]["seen"] == manifest["runs"]["exported"] + manifest["runs"]["failed"]
    assert (manifest["runs"]["exported"], manifest["files"]) == (4, 4)
    written = {f"thread_{number}.jsonl" for number in (1, 3, 4, 5)}
    assert {entry.name for entry in nights.folder(tmp_path).iterdir()} == written
    assert not isinstance(failed.value, exceptions.AirflowFailException)
    mock_server.clear_faults()
    assert nights.export(tmp_path, thread_ids=threads, context=context)["files"] == 5


def test_an_earlier_file_of_a_thread_that_fails_stays(
    mock_server: PortkeyMockServer, tmp_path: Path, nights: Any, add: Any
) -> None:
    add("run_1")
    nights.export(tmp_path)
    before = nights.files(tmp_path)
    mock_server.fault(status=404, path="*/threads/thread_1/runs")

    with pytest.raises(exceptions.PortkeyThreadsFailedError):
        nights.export(tmp_path)

    assert nights.files(tmp_path) == before


def test_a_run_of_a_thread_that_failed_is_carried_over_to_the_first_window_that_can_take_it(
    mock_server: PortkeyMockServer, clock: Any, tmp_path: Path, context: dict[str, Any], nights: Any, add: Any
) -> None:
    clock.now += 86_400
    add("late", hour=23.9, statuses=[("in_progress", 0), ("completed", 3600)])
    mock_server.fault(status=404, path="*/threads/thread_1/runs")
    with pytest.raises(exceptions.PortkeyThreadsFailedError):
        nights.export(tmp_path, context=context)
    nights.export(tmp_path, night=1, context=context)

    assert nights.export(tmp_path, context=context)["runs"]["skipped"] == 1
    clock.now += 86_400
    assert nights.export(tmp_path, night=2, context=context)["runs"]["carried_over"] == 1
    assert nights.export(tmp_path, night=1, context=context)["runs"]["seen"] == 0
    clock.now += 86_400
    assert nights.export(tmp_path, night=3, context=context)["runs"]["seen"] == 0
    assert set(nights.steps(tmp_path).values()) == {1}


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, exceptions.PortkeyAuthenticationError),
        (403, exceptions.PortkeyPermissionDeniedError),
        (412, exceptions.PortkeyBudgetExceededError),
        (503, exceptions.PortkeyServerError),
        (429, exceptions.PortkeyRateLimitedError),
    ],
)
def test_an_error_that_would_meet_every_thread_stops_the_export_and_names_the_thread(
    mock_server: PortkeyMockServer,
    tmp_path: Path,
    waits: list[float],
    status: int,
    error: type[Exception],
    nights: Any,
    add: Any,
) -> None:
    for number in range(1, 5):
        add(f"run_{number}", thread_id=f"thread_{number}")
    mock_server.fault(status=status, path="*/threads/thread_3/runs", times=None)

    with pytest.raises(error, match="stopped at thread 'thread_3'"):
        nights.export(tmp_path, thread_ids=[f"thread_{number}" for number in range(1, 9)], max_concurrent_requests=1)

    assert {entry.name for entry in nights.folder(tmp_path).iterdir()} == {"thread_1.jsonl", "thread_2.jsonl"}
    assert not any("thread_8" in path for path in paths(mock_server))


def test_a_file_of_a_thread_that_is_no_longer_exported_is_removed(tmp_path: Path, nights: Any, add: Any) -> None:
    add("run_1")
    add("run_2", thread_id="thread_2")
    nights.export(tmp_path, thread_ids=["thread_1", "thread_2"])
    (nights.folder(tmp_path) / "_SUCCESS").touch()
    (nights.folder(tmp_path) / "notes.txt").touch()

    nights.export(tmp_path)

    names = {entry.name for entry in nights.folder(tmp_path).iterdir()}
    assert names == {"_manifest.json", "_SUCCESS", "notes.txt", "thread_1.jsonl"}


def test_a_window_without_runs_has_a_manifest_and_nothing_else(tmp_path: Path, nights: Any, add: Any) -> None:
    add("other", night=-3)

    manifest = nights.export(tmp_path)

    assert (manifest["threads"], manifest["files"], manifest["rows"]) == (1, 0, 0)
    assert list(nights.files(tmp_path)) == [f"{nights.folder(tmp_path).name}/_manifest.json"]
    assert json.loads((nights.folder(tmp_path) / "_manifest.json").read_text())["details"] == []


def test_a_run_without_steps_is_counted_and_has_no_file(tmp_path: Path, nights: Any, add: Any) -> None:
    add("run_1", steps=0)

    manifest = nights.export(tmp_path)

    assert (manifest["runs"]["exported"], manifest["files"]) == (1, 0)


def test_no_threads_at_all_is_an_export_of_nothing(mock_server: PortkeyMockServer, tmp_path: Path, nights: Any) -> None:
    assert nights.export(tmp_path, thread_ids=[])["threads"] == 0
