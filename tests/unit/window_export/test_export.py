"""The export of a window from the mock server: requests, files, manifest."""

from __future__ import annotations

import hashlib
import json
import random
import threading
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.dataset
import pytest

from airflow_provider_portkey import exceptions
from airflow_provider_portkey.client.sync import PortkeyClient
from airflow_provider_portkey.testing import PortkeyMockServer


def paths(mock_server: PortkeyMockServer) -> list[str]:
    return [request.path.removeprefix("/v1") for request in mock_server.requests]


def year_of_runs(mock_server: PortkeyMockServer, end: datetime, count: int = 5_000) -> list[datetime]:
    """Add the runs of a year, the last one a second before its end; return their creation."""
    last = end - timedelta(seconds=1)
    created = [last - timedelta(days=365) * (count - 1 - number) / count for number in range(count)]
    for number, timestamp in enumerate(created):
        seconds = int(timestamp.timestamp())
        mock_server.add_run(thread_id="thread_1", run_id=f"run_{number:06}", created_at=seconds, steps=1 + number % 3)
    return [timestamp.replace(microsecond=0) for timestamp in created]


@pytest.mark.parametrize("nights_ago", [0, 1, 30, 200])
def test_a_night_of_a_year_costs_the_pages_back_to_its_window_and_its_steps(
    mock_server: PortkeyMockServer, clock: Any, tmp_path: Path, nights_ago: int, nights: Any
) -> None:
    created = year_of_runs(mock_server, nights.start + 2 * nights.day)
    clock.now += 86_400
    start = nights.start + nights.day - nights_ago * nights.day

    manifest = nights.export(tmp_path, night=1 - nights_ago, max_concurrent_requests=8)

    in_window = [timestamp for timestamp in created if start <= timestamp < start + nights.day]
    first_older = next(place for place, timestamp in enumerate(created[::-1]) if timestamp < start)
    requests = Counter("/steps" in path for path in paths(mock_server))
    assert len(in_window) in (13, 14)
    assert requests == {False: first_older // 100 + 1, True: len(in_window)}
    if nights_ago == 0:
        assert requests[False] == 1
    assert manifest["runs"] == {
        "seen": len(in_window), "exported": len(in_window), "skipped": 0, "failed": 0, "carried_over": 0,
    }  # fmt: skip
    assert manifest["pages"] == sum(requests.values())


def test_runs_that_fill_the_page_exactly_cost_no_further_page(
    mock_server: PortkeyMockServer, tmp_path: Path, nights: Any, add: Any
) -> None:
    add("older", night=-1)
    for number in range(99):
        add(f"run_{number:02}", hour=number / 10, steps=0)

    nights.export(tmp_path)

    assert Counter(path.endswith("/runs") for path in paths(mock_server)) == {True: 1, False: 99}


def test_the_window_has_its_start_and_not_its_end(tmp_path: Path, nights: Any, add: Any) -> None:
    add("before", hour=-1 / 3600)
    add("first", hour=0)
    add("last", hour=24 - 1 / 3600)
    add("after", hour=24)

    nights.export(tmp_path)

    assert nights.run_ids(tmp_path) == ["first", "last"]


def test_a_row_is_a_step_as_received_and_the_manifest_has_the_totals(tmp_path: Path, nights: Any, add: Any) -> None:
    add("run_1", steps=3)
    add("run_2", steps=120, thread_id="thread/2")

    manifest = nights.export(tmp_path, thread_ids=["thread/2", "thread_1", "thread_1"])

    folder = nights.folder(tmp_path)
    files = {name: (folder / name).read_bytes() for name in ("thread%2F2.jsonl", "thread_1.jsonl")}
    assert sorted(entry.name for entry in folder.iterdir()) == ["_manifest.json", *sorted(files)]
    steps = [json.loads(line) for line in files["thread_1.jsonl"].splitlines()]
    assert [step["id"] for step in steps] == [step["id"] for step in sorted(steps, key=lambda step: step["created_at"])]
    assert {"step_details", "usage", "run_id", "thread_id"} <= steps[0].keys()
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items())]
    started, finished = (datetime.fromisoformat(manifest.pop(name)) for name in ("started_at", "finished_at"))
    assert started <= finished
    assert manifest == {
        "uri": f"file://{folder}",
        "path": str(folder),
        "window_start": "2025-11-21T00:00:00Z",
        "window_end": "2025-11-22T00:00:00Z",
        "window_by": "created",
        "format": "jsonl",
        "compression": None,
        "threads": 2,
        "files": 2,
        "runs": {"seen": 2, "exported": 2, "skipped": 0, "failed": 0, "carried_over": 0},
        "rows": 123,
        "bytes": sum(map(len, files.values())),
        "sha256": hashlib.sha256("".join(lines).encode()).hexdigest(),
        "non_finite_values": 0,
        "status_counts": {"completed": 2},
        "pages": 5,
        "usage": {"prompt_tokens": 2460, "completion_tokens": 615, "total_tokens": 3075},
        "cost": None,
        "skipped": [],
        "failed_threads": [],
        "schema_version": 1,
    }
    written = json.loads((folder / "_manifest.json").read_text())
    assert written["rows"] == 123
    assert [(entry["thread_id"], entry["file"], entry["rows"], entry["runs"]) for entry in written["details"]] == [
        ("thread/2", "thread%2F2.jsonl", 120, 1),
        ("thread_1", "thread_1.jsonl", 3, 1),
    ]


@pytest.mark.parametrize(
    ("file_format", "compression", "name"),
    [
        ("jsonl", "gzip", "thread_1.jsonl.gz"),
        ("jsonl", "zstd", "thread_1.jsonl.zst"),
        ("json", None, "thread_1.json"),
        ("csv", None, "thread_1.csv"),
        ("parquet", "zstd", "thread_1.parquet"),
    ],
)
def test_each_format_gives_the_same_bytes_again_and_nothing_of_another_stays(
    tmp_path: Path, file_format: str, compression: str | None, name: str, nights: Any, add: Any
) -> None:
    add("run_1")
    nights.export(tmp_path)
    nights.export(tmp_path, file_format=file_format, compression=compression)
    first = nights.files(tmp_path)

    nights.export(tmp_path, file_format=file_format, compression=compression)

    assert nights.files(tmp_path) == first
    assert sorted(Path(each).name for each in first) == sorted(["_manifest.json", name])


def test_readers_of_partitions_find_the_window_and_nothing_but_rows(tmp_path: Path, nights: Any, add: Any) -> None:
    add("run_1", steps=3)
    add("run_2", night=-1, steps=4, thread_id="_hidden")
    for night in (-1, 0):
        nights.export(tmp_path, night=night, thread_ids=["thread_1", "_hidden"], file_format="parquet")

    table = pyarrow.dataset.dataset(tmp_path, format="parquet", partitioning="hive").to_table()

    assert Counter(zip(*table.select(["window_start", "run_id"]).to_pydict().values(), strict=True)) == {
        ("20251121T000000Z", "run_1"): 3,
        ("20251120T000000Z", "run_2"): 4,
    }


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_rows_does_not_depend_on_the_order_of_responses(
    mock_server: PortkeyMockServer, tmp_path: Path, seed: int, nights: Any, add: Any
) -> None:
    chance = random.Random(seed)
    for number in range(30):
        add(f"run_{chance.random()}", hour=number / 3, steps=3, thread_id=f"thread_{number % 3}")
    threads = ["thread_2", "thread_0", "thread_1", "thread_none"]
    mock_server.add_messages(thread_id="thread_none", texts=["no run"])
    nights.export(tmp_path / "one", thread_ids=threads, max_concurrent_requests=1)
    for run in range(60):
        mock_server.fault(delay=chance.random() / 20, path="*/threads/*", times=1 + run % 2)

    nights.export(tmp_path / "many", thread_ids=threads[::-1], max_concurrent_requests=7)

    assert nights.files(tmp_path / "one") == nights.files(tmp_path / "many")
    for number in range(3):
        rows = map(json.loads, (nights.folder(tmp_path / "many") / f"thread_{number}.jsonl").read_text().splitlines())
        created = [row["created_at"] for row in rows]
        assert created == sorted(created)


@pytest.mark.parametrize(("limit", "runs", "counted"), [(1, 24, "/runs"), (4, 24, "/runs"), (8, 12, "/steps")])
def test_there_are_as_many_concurrent_requests_as_allowed_and_never_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, runs: int, counted: str, nights: Any, add: Any
) -> None:
    """With one run per thread as well, where each thread needs its list before its steps."""
    for number in range(runs):
        add(f"run_{number}", thread_id=f"thread_{number % 12}")
    lock, now, most = threading.Lock(), [0], [0]
    full = threading.Event()
    send = PortkeyClient._send

    def wait_until_full(self: PortkeyClient, *arguments: Any) -> Any:
        if not any(counted in str(argument) for argument in arguments):
            return send(self, *arguments)
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
            if now[0] == limit:
                full.set()
        full.wait(60)
        try:
            return send(self, *arguments)
        finally:
            with lock:
                now[0] -= 1

    monkeypatch.setattr(PortkeyClient, "_send", wait_until_full)
    nights.export(tmp_path, thread_ids=[f"thread_{number}" for number in range(12)], max_concurrent_requests=limit)

    assert full.is_set()
    assert most == [limit]


def test_no_worker_thread_outlives_an_export_that_fails(
    mock_server: PortkeyMockServer, tmp_path: Path, nights: Any, add: Any
) -> None:
    for number in range(20):
        add(f"run_{number:02}", hour=number / 2)
    before = set(threading.enumerate())
    mock_server.fault(delay=0.1, path="*/steps", times=2)
    mock_server.fault(status=401, path="*/runs/run_03/steps", times=None)

    with pytest.raises(exceptions.PortkeyAuthenticationError, match="stopped at thread 'thread_1'"):
        nights.export(tmp_path, max_concurrent_requests=6)

    assert [each for each in set(threading.enumerate()) - before if "portkey-export" in each.name] == []
