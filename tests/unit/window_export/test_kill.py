"""A process that is killed at any point: nothing is lost or doubled."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_portkey.client.sync import PortkeyClient
from airflow_provider_portkey.testing import AssetStateStore, PortkeyMockServer
from airflow_provider_portkey.window_export.state import FileState


class Killed(BaseException):
    """What ``kill -9`` is to the process that it meets."""


class Reaper:
    """Kills the process before or after one of its requests, renames, or writes and removals of state."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.at: int | None = None
        send, replace, store = PortkeyClient._send, os.replace, AssetStateStore.set
        unlink = os.unlink

        def passes(call: Callable[..., Any]) -> Callable[..., Any]:
            def watched(*arguments: Any) -> Any:
                self.strike()
                done = call(*arguments)
                self.strike()
                return done

            return watched

        monkeypatch.setattr(PortkeyClient, "_send", passes(send))
        monkeypatch.setattr(AssetStateStore, "set", passes(store))
        monkeypatch.setattr(AssetStateStore, "delete", passes(AssetStateStore.delete))
        monkeypatch.setattr(FileState, "remove", passes(FileState.remove))
        monkeypatch.setattr("os.replace", passes(replace))
        # A process that is gone cleans up nothing.
        monkeypatch.setattr("os.unlink", lambda *given, **more: None if self.dead else unlink(*given, **more))

    @property
    def dead(self) -> bool:
        return self.at is not None and self.count > self.at

    def strike(self) -> None:
        self.count += 1
        if self.dead:
            raise Killed


def records(folder: Path, context: dict[str, Any]) -> list[str]:
    """Return the names of the records, and of what a journal left."""
    stored = [key.rpartition("/")[2] for store in context.values() for key in store.values]
    return stored or [path.name for path in (folder / "_unfinished").iterdir()]


def restart_runs(mock_server: PortkeyMockServer, threads: list[str], seconds: float) -> None:
    """Let the run ``late`` of each thread begin now."""
    for thread_id in threads:
        statuses = [("in_progress", 0), ("completed", seconds)]
        mock_server.set_run_statuses(thread_id=thread_id, run_id="late", statuses=statuses)


@pytest.mark.slow
@pytest.mark.parametrize("include_runs", [False, True])
def test_killed_at_any_point_a_retry_writes_each_row_once_and_the_same_bytes(
    mock_server: PortkeyMockServer,
    clock: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    context: dict[str, Any],
    nights: Any,
    add: Any,
    include_runs: bool,
) -> None:
    threads = ["thread_1", "thread_2"]
    clock.now += 86_400
    for thread_id in threads:
        add("done", thread_id=thread_id)
        add("late", thread_id=thread_id, hour=23.9, statuses=[("in_progress", 0), ("completed", 86_400)])
        add("next", thread_id=thread_id, night=1)
    evening = clock.now
    reaper = Reaper(monkeypatch)

    def two_nights(folder: Path, at: int | None) -> dict[str, bytes]:
        """Two nights; the process is killed once on the way, and started again."""
        for key in context:
            context[key] = AssetStateStore()
        clock.now, reaper.count, reaper.at = evening, 0, at
        restart_runs(mock_server, threads, 86_400)
        for night in (0, 1):
            arguments = {
                "night": night,
                "thread_ids": threads,
                "context": context,
                "max_concurrent_requests": 1,
                "include_runs": include_runs,
            }
            try:
                nights.export(folder, **arguments)
            except Killed:
                reaper.at = None
                nights.export(folder, **arguments)
            clock.now += 86_400
        return nights.files(folder)

    whole = two_nights(tmp_path / "whole", None)
    points = reaper.count
    assert points > 40
    assert len(whole) == (12 if include_runs else 6)
    for at in range(points):
        folder = tmp_path / str(at)
        assert two_nights(folder, at) == whole, at
        assert set(nights.steps(folder).values()) == {1}
        assert {run for run, _ in nights.steps(folder)} == {"done", "late", "next"}
        if include_runs:
            runs = [(row["thread_id"], row["id"]) for row in nights.rows(folder / "runs")]
            assert sorted(runs) == [(thread, run) for thread in threads for run in ("done", "late", "next")]
        assert list(folder.rglob("*.part")) == []
        assert {name.count(".") for name in records(folder, context)} <= {1}, "the journals are removed"


@pytest.mark.slow
def test_a_run_that_ends_between_the_kill_and_the_retry_is_exported_once(
    mock_server: PortkeyMockServer,
    clock: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    context: dict[str, Any],
    nights: Any,
    add: Any,
) -> None:
    threads = ["thread_1", "thread_2"]
    clock.now += 86_400
    for thread_id in threads:
        add("done", thread_id=thread_id)
        add("late", thread_id=thread_id, hour=23.9, statuses=[("in_progress", 0), ("completed", 60)])
    evening = clock.now
    reaper = Reaper(monkeypatch)
    where = Counter[int]()
    for at in range(0, 60, 2):
        folder = tmp_path / str(at)
        for key in context:
            context[key] = AssetStateStore()
        clock.now, reaper.count, reaper.at = evening, 0, at
        restart_runs(mock_server, threads, 60)
        arguments = {"thread_ids": threads, "context": context, "max_concurrent_requests": 1}
        try:
            nights.export(folder, **arguments)
        except Killed:
            reaper.at = None
            clock.now += 60
            nights.export(folder, **arguments)
        reaper.at = None
        clock.now = evening + 86_400
        where[nights.export(folder, night=1, **arguments)["runs"]["carried_over"]] += 1
        assert set(nights.steps(folder).values()) == {1}
        assert len(nights.steps(folder)) == 8, at
    assert where.keys() == {0, 2}  # the decisions about both are saved at once
