"""Log exports over HTTP, against the mock server: cut in time, resumed, and continued after a crash anywhere."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import TaskDeferred
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_portkey.client.sync import PortkeyClient
from airflow_provider_portkey.exceptions import (
    PortkeyRemoteJobFailedError,
    PortkeyRowsMismatchError,
    PortkeyUnreachableError,
    PortkeyWindowTooFullError,
)
from airflow_provider_portkey.log_export.plan import make_plan
from airflow_provider_portkey.polling import coalescing
from airflow_provider_portkey.testing import PortkeyMockServer
from airflow_provider_portkey.transfers.logs_to_object_storage import PortkeyLogsToObjectStorageOperator

START, END = "2026-07-25T00:00:00Z", "2026-07-25T01:00:00Z"
MODES = ("poke", "reschedule", "deferred")


class Crash(BaseException):
    """The worker is gone: nothing that the task does about errors runs."""


class Store(dict):
    """Airflow's task state store: what is set outlives the process."""

    def set(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))


@pytest.fixture(scope="module", autouse=True)
def _database(request: pytest.FixtureRequest) -> None:
    """Airflow 2 reads from its database when a task was rescheduled."""
    if not AIRFLOW_V_3_0_PLUS:
        request.getfixturevalue("parse_dags")  # which makes the database


@pytest.fixture
def portkey(monkeypatch: pytest.MonkeyPatch) -> Iterator[PortkeyMockServer]:
    """A mock server whose exports take no time, and polls follow each other at once."""

    async def asleep(seconds: float) -> None:
        pass

    monkeypatch.setattr(coalescing, "sleep_to_grid", asleep)
    monkeypatch.setattr("airflow_provider_portkey.client.downloads.wait_before_retry", lambda *args: 0.0)
    with PortkeyMockServer(job_seconds=0) as mock_server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(mock_server.connection()))
        yield mock_server


class Task:
    """One task instance; every process of it is a new operator, and only the store is shared."""

    def __init__(self, mode: str, path: Path, **arguments: Any) -> None:
        how = {"deferrable": True} if mode == "deferred" else {"mode": mode, "deferrable": False}
        self._arguments = {"path": str(path), "window_start": START, "window_end": END} | how | arguments
        self.store = Store()
        self.try_number = 0
        self.max_tries = 3
        self.deferred = 0

    def run(self) -> dict[str, Any]:
        self.try_number += 1
        first: datetime | None = None
        while True:
            try:
                return self._make().execute(self.context(first))
            except AirflowRescheduleException:
                first = datetime.now(tz=UTC)
            except TaskDeferred as deferred:
                return self._resume(deferred)

    def _resume(self, deferred: TaskDeferred) -> dict[str, Any]:
        self.deferred += 1
        classpath, arguments = deferred.trigger.serialize()
        module, _, name = classpath.rpartition(".")
        trigger = getattr(__import__(module, fromlist=[name]), name)(**json.loads(json.dumps(arguments)))
        event = json.loads(json.dumps(asyncio.run(anext(trigger.run())).payload))
        return self._make().resume_execution("execute_complete", {"event": event}, self.context(None))

    def _make(self) -> PortkeyLogsToObjectStorageOperator:
        return PortkeyLogsToObjectStorageOperator(task_id="logs", poke_interval=0, timeout=300, **self._arguments)

    def context(self, first: datetime | None) -> dict[str, Any]:
        ti = SimpleNamespace(
            dag_id="dag",
            task_id="logs",
            run_id="run",
            map_index=-1,
            max_tries=self.max_tries,
            try_number=self.try_number,
            get_first_reschedule_date=lambda context: first,
        )
        return {"ti": ti, "task_state_store": self.store, "task_reschedule_count": 0 if first is None else 1}


def starts(portkey: PortkeyMockServer) -> list[str]:
    """Return the ids of the exports that were started."""
    return [one.path.split("/")[-2] for one in portkey.requests if one.path.endswith("/start")]


def ids(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_bytes().splitlines()]


def expected(count: int) -> list[str]:
    return [f"log-1-{number:08d}" for number in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize("spelling", ["schema", "guide"])
@pytest.mark.parametrize("end_included", [True, False])
def test_120000_logs_are_cut_by_count_and_joined(portkey, tmp_path, spelling, end_included):
    portkey.add_logs(120_000, START, END)
    portkey.log_exports.settings(spelling=spelling, end_included=end_included)
    path = tmp_path / "logs.jsonl"
    manifest = Task("poke", path, requested_data=["id", "created_at"]).run()
    assert ids(path) == expected(120_000)
    assert manifest["rows"] == 120_000
    assert manifest["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert manifest["bytes"] == path.stat().st_size
    parts = manifest["parts"]
    assert sorted(starts(portkey)) == sorted(part["export_id"] for part in parts)
    assert len(parts) == 3
    assert all(part["rows"] == part["total"] <= 50_000 for part in parts)
    assert [part["window_start"] for part in parts] == [START, *(part["window_end"] for part in parts[:-1])]
    assert parts[-1]["window_end"] == END
    # Where the end is counted in, the log at each of the two seams is in two parts, and in the file once.
    assert sum(part["rows"] for part in parts) == 120_000 + 2 * end_included


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_waits_for_all_parts(portkey, tmp_path, mode, small_exports):
    portkey.add_logs(250, START, END)
    task = Task(mode, tmp_path / "logs.jsonl")
    manifest = task.run()
    assert ids(tmp_path / "logs.jsonl") == expected(250)
    assert len(manifest["parts"]) == 3
    assert len(starts(portkey)) == 3
    assert bool(task.deferred) == (mode == "deferred")


@pytest.fixture
def small_exports(portkey, monkeypatch):
    """Exports that hold 100 rows, and that succeed at the second poll."""
    portkey.plan("log_exports", times=None, statuses=["in_progress", "success"], advance="per_poll")
    monkeypatch.setitem(make_plan.__kwdefaults__, "limit", 100)
    portkey.log_exports.settings(max_rows=100)


def test_a_small_window_is_one_export_and_an_empty_one_none(portkey, tmp_path):
    portkey.add_logs(10, START, END)
    assert len(Task("poke", tmp_path / "some.jsonl").run()["parts"]) == 1
    manifest = Task("poke", tmp_path / "none.jsonl", window_start=END, window_end="2026-07-26T00:00:00Z").run()
    assert (manifest["rows"], manifest["parts"]) == (0, [])
    assert (tmp_path / "none.jsonl").read_bytes() == b""
    assert len(starts(portkey)) == 1


def test_rows_are_as_portkey_sent_them_also_compressed(portkey, tmp_path):
    portkey.add_logs(rows=[{"created_at": START, "id": "a", "request": {"b": "Grüße\u2028", "a": 1e-7}}])
    plain, packed = tmp_path / "logs.jsonl", tmp_path / "logs.jsonl.gz"
    Task("poke", plain).run()
    manifest = Task("poke", packed, compression="gzip").run()
    assert manifest["compression"] == "gzip"
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()
    assert b'{"b": "Gr\xc3\xbc\xc3\x9fe\\u2028", "a": 1e-07}' in plain.read_bytes()


@pytest.mark.parametrize("supports_ranges", [True, False])
def test_a_cut_download_is_resumed(portkey, tmp_path, supports_ranges):
    portkey.add_logs(3_000, START, END)
    portkey.log_exports.settings(ranges=supports_ranges)
    faults = [portkey.fault(path="/_storage/*", cut_after=size) for size in (200_000, 400_000)]
    Task("poke", tmp_path / "logs.jsonl").run()
    assert ids(tmp_path / "logs.jsonl") == expected(3_000)
    assert [fault.struck for fault in faults] == [1, 1]
    ranges = [one.headers.get("range") for one in portkey.storage_requests]
    assert ranges[0] is None
    assert all(one.startswith("bytes=") for one in ranges[1:])


def test_an_expired_url_is_renewed_and_the_download_resumed(portkey, tmp_path):
    portkey.add_logs(3_000, START, END)
    portkey.fault(path="/_storage/*", cut_after=200_000)
    portkey.fault(path="/_storage/*", status=403, body="<Code>AccessDenied</Code>")
    Task("poke", tmp_path / "logs.jsonl").run()
    assert ids(tmp_path / "logs.jsonl") == expected(3_000)
    assert sum(one.path.endswith("/download") for one in portkey.requests) == 2
    assert len(portkey.storage_requests) == 3
    assert portkey.storage_requests[2].headers["range"].startswith("bytes=")


def test_the_storage_sees_no_credential_and_no_query_of_the_connection(portkey, tmp_path, monkeypatch):
    connection = portkey.connection()
    connection["extra"] |= {
        "query": {"api-version": "v1"},
        "headers": {"x-own": "secret-value"},
        "metadata": {"a": "b"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(connection))
    portkey.add_logs(10, START, END)
    Task("poke", tmp_path / "logs.jsonl").run()
    (request,) = portkey.storage_requests
    assert not [name for name in request.headers if name.startswith("x-") or name in ("authorization", "cookie")]
    assert "mock-server" not in json.dumps(dict(request.headers))
    assert "api-version" not in request.query
    assert all("api-version" in one.query for one in portkey.requests)


def test_more_or_fewer_rows_than_counted_write_nothing_and_a_retry_counts_again(portkey, tmp_path):
    portkey.add_logs(10, START, END)
    portkey.fault(method="POST", path="*/logs/exports", merge={"total": 9})
    task = Task("poke", tmp_path / "logs.jsonl")
    with pytest.raises(PortkeyRowsMismatchError, match="has 10 rows instead of 9"):
        task.run()
    assert list(tmp_path.iterdir()) == []
    assert task.run()["rows"] == 10
    assert len(starts(portkey)) == 2


def test_a_mismatch_may_be_a_warning(portkey, tmp_path, caplog, capsys):
    portkey.add_logs(10, START, END)
    portkey.fault(method="POST", path="*/logs/exports", merge={"total": 11})
    (part,) = Task("poke", tmp_path / "logs.jsonl", on_mismatch="warn").run()["parts"]
    assert (part["rows"], part["total"]) == (10, 11)
    assert "has 10 rows instead of 11" in caplog.text + capsys.readouterr().out


def test_too_many_logs_in_one_second_start_nothing(portkey, tmp_path, small_exports):
    portkey.add_logs(101, START, START)
    with pytest.raises(PortkeyWindowTooFullError, match="101 logs in the one second from 2026-07-25T00:00:00Z on"):
        Task("poke", tmp_path / "logs.jsonl").run()
    assert starts(portkey) == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("spelling", "status"), [("schema", "failed"), ("guide", "failure")])
def test_a_cleared_task_repeats_only_the_export_that_failed(portkey, tmp_path, mode, spelling, status):
    portkey.log_exports.settings(spelling=spelling, max_rows=100)
    portkey.add_logs(150, START, END)
    portkey.plan("log_exports", statuses="success")
    portkey.plan("log_exports", statuses=["in_progress", "failed"], advance="per_poll")
    task = Task(mode, tmp_path / "logs.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(make_plan.__kwdefaults__, "limit", 100)
        with pytest.raises(PortkeyRemoteJobFailedError, match=f"finished as {status}"):
            task.run()
        task.max_tries += 1
        manifest = task.run()
    assert ids(tmp_path / "logs.jsonl") == expected(150)
    assert len(starts(portkey)) == 3
    assert manifest["parts"][0]["export_id"] == starts(portkey)[0]
    assert manifest["parts"][1]["export_id"] == starts(portkey)[2]


def test_a_task_cleared_after_it_succeeded_exports_again(portkey, tmp_path):
    portkey.add_logs(10, START, END)
    task = Task("poke", tmp_path / "logs.jsonl")
    first = task.run()
    portkey.add_logs(5, START, END)
    task.max_tries += 1
    assert task.run()["rows"] == 15
    assert first["rows"] == 10
    assert len(starts(portkey)) == 2


@pytest.mark.parametrize("carried_out", [True, False])
def test_a_start_without_a_response_is_checked_before_it_is_repeated(portkey, tmp_path, carried_out):
    portkey.add_logs(10, START, END)
    portkey.fault(path="*/start", **({"cut_after": 0} if carried_out else {"disconnect": True}))
    task = Task("poke", tmp_path / "logs.jsonl")
    with pytest.raises(PortkeyUnreachableError):
        task.run()
    assert task.run()["rows"] == 10
    assert len(starts(portkey)) == (1 if carried_out else 2)


def crashing(calls: list[int], at: int, after: bool, call: Any) -> Any:
    """Wrap a call so that the worker is gone right before, or right after, it was made for the n-th time."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        mine = len(calls) - 1
        if mine == at and not after:
            raise Crash
        result = call(*args, **kwargs)
        if mine == at and after:
            raise Crash
        return result

    return wrapped


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("what", ["request to Portkey", "write of task state", "file written"])
def test_a_crash_at_any_point_starts_each_export_once_and_loses_nothing(
    portkey, tmp_path, small_exports, monkeypatch, mode, what, after
):
    # Airflow's masking takes longer with every registered secret, and this test registers hundreds.
    monkeypatch.setattr("airflow.providers.common.compat.sdk.mask_secret", lambda secret: None)
    portkey.add_logs(150, START, END)
    owner, name = {
        "request to Portkey": (PortkeyClient, "_send"),
        "write of task state": (Store, "set"),
        "file written": (os, "replace"),
    }[what]
    crashes = 0
    for at in range(1_000):
        before = len(starts(portkey))
        path = tmp_path / f"{at}.jsonl"
        task = Task(mode, path)
        calls: list[int] = []
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, crashing(calls, at, after, getattr(owner, name)))
            try:
                manifest = task.run()
                crashed = False
            except Crash:
                crashed = True
        if crashed:
            crashes += 1
            manifest = task.run()
        assert ids(path) == expected(150)
        started = starts(portkey)[before:]
        assert sorted(started) == sorted(part["export_id"] for part in manifest["parts"])
        if not crashed:
            break
    assert crashes == at == len(calls)
    assert crashes >= {"request to Portkey": 3, "write of task state": 2, "file written": 1}[what]
