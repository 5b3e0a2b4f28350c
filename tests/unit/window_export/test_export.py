"""Windows of threads against the mock server over HTTP: what is asked for, what lands, what is left to the next."""

from __future__ import annotations

import hashlib
import json
import os
import random
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.dataset
import pytest

from airflow_provider_portkey import exceptions
from airflow_provider_portkey.client import sessions
from airflow_provider_portkey.client.sync import PortkeyClient
from airflow_provider_portkey.testing import PortkeyMockServer
from airflow_provider_portkey.transfers import steps_to_object_storage
from airflow_provider_portkey.transfers.steps_to_object_storage import PortkeyThreadStepsToObjectStorageOperator
from airflow_provider_portkey.window_export import state as window_state

NIGHT = datetime(2025, 11, 21, tzinfo=UTC)
DAY = timedelta(days=1)


class Clock:
    """The mock server's clock, which a test moves."""

    def __init__(self) -> None:
        self.now = (NIGHT + DAY + timedelta(minutes=5)).timestamp()

    def __call__(self) -> float:
        return self.now


class AssetStore:
    """What Airflow 3.3 puts into the context of a task with one asset."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self.kept[key]) if key in self.kept else default

    def set(self, key: str, value: Any) -> None:
        self.kept[key] = json.dumps(value)


class SeveralAssets:
    def get(self, key: str, default: Any = None) -> Any:
        raise ValueError("Task has 2 concrete inlets and outlets")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def mock_server(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Iterator[PortkeyMockServer]:
    with PortkeyMockServer(clock=clock) as mock_server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(mock_server.connection()))
        yield mock_server


@pytest.fixture(params=["file", "asset"])
def context(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Where records are kept: in files, or in the state store of an asset."""
    return {} if request.param == "file" else {"asset_state_store": AssetStore()}


def operator(path: object, **arguments: Any) -> PortkeyThreadStepsToObjectStorageOperator:
    given = {
        "task_id": "export",
        "path": str(path),
        "window_start": NIGHT,
        "window_end": NIGHT + DAY,
        **({} if "thread_ids_path" in arguments else {"thread_ids": ["thread_1"]}),
    }
    return PortkeyThreadStepsToObjectStorageOperator(**{**given, **arguments})


def export(path: object, *, night: int = 0, context: dict[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
    start = NIGHT + night * DAY
    window = {"window_start": start, "window_end": start + DAY}
    return operator(path, **{**window, **arguments}).execute(context or {})


def add(mock_server: PortkeyMockServer, run_id: str, *, night: int = 0, hour: float = 12, **run: Any) -> dict[str, Any]:
    created_at = int((NIGHT + night * DAY + timedelta(hours=hour)).timestamp())
    return mock_server.add_run(
        **{"thread_id": "thread_1", "run_id": run_id, "steps": 2, "created_at": created_at, **run}
    )


def partition(path: Path, night: int = 0) -> Path:
    return path / f"window_start={NIGHT + night * DAY:%Y%m%dT%H%M%SZ}"


def runs_of(file: Path) -> list[str]:
    """Return the runs of a file in the order of its rows, each once."""
    return list(dict.fromkeys(json.loads(line)["run_id"] for line in file.read_text().splitlines()))


def tree(path: Path) -> dict[str, bytes]:
    """Return every file of the partitions."""
    return {str(file.relative_to(path)): file.read_bytes() for file in path.glob("window_start=*/*") if file.is_file()}


def all_steps(path: Path) -> Counter[tuple[str, str]]:
    lines = [line for file in path.rglob("*.jsonl") for line in file.read_text().splitlines()]
    return Counter((row["run_id"], row["id"]) for row in map(json.loads, lines))


def paths(mock_server: PortkeyMockServer) -> list[str]:
    return [request.path.removeprefix("/v1") for request in mock_server.requests]


def year_of_runs(mock_server: PortkeyMockServer, count: int = 5_000) -> list[datetime]:
    """Fill a year with runs, the last one at the end of the night after ``NIGHT``."""
    last = NIGHT + 2 * DAY - timedelta(seconds=1)
    moments = [last - timedelta(days=365) * (count - 1 - number) / count for number in range(count)]
    for number, moment in enumerate(moments):
        mock_server.add_run(
            thread_id="thread_1", run_id=f"run_{number:06}", created_at=int(moment.timestamp()), steps=1 + number % 3
        )
    return [datetime.fromtimestamp(int(moment.timestamp()), tz=UTC) for moment in moments]


@pytest.mark.parametrize("nights_ago", [0, 1, 30, 200])
def test_a_night_of_a_year_costs_the_pages_of_its_window_and_its_steps_and_no_more(
    mock_server: PortkeyMockServer, clock: Clock, tmp_path: Path, nights_ago: int
) -> None:
    moments = year_of_runs(mock_server)
    clock.now += 86_400
    start = NIGHT + DAY - nights_ago * DAY

    manifest = export(tmp_path, night=1 - nights_ago, max_concurrent_requests=8)

    in_window = [moment for moment in moments if start <= moment < start + DAY]
    newest_first = moments[::-1]
    first_older = next(place for place, moment in enumerate(newest_first) if moment < start)
    requests = Counter("/steps" in path for path in paths(mock_server))
    assert len(in_window) in (13, 14)
    assert requests == {False: first_older // 100 + 1, True: len(in_window)}
    if nights_ago == 0:
        assert requests[False] == 1
    assert manifest["runs"] == {
        "seen": len(in_window), "exported": len(in_window), "skipped": 0, "failed": 0, "picked_up": 0,
    }  # fmt: skip
    assert manifest["pages"] == sum(requests.values())


def test_runs_that_fill_the_page_exactly_cost_no_further_page(
    mock_server: PortkeyMockServer, clock: Clock, tmp_path: Path
) -> None:
    add(mock_server, "older", night=-1)
    for number in range(99):
        add(mock_server, f"run_{number:02}", hour=number / 10, steps=0)

    export(tmp_path)

    assert Counter(path.endswith("/runs") for path in paths(mock_server)) == {True: 1, False: 99}


def test_the_window_has_its_start_and_not_its_end(mock_server: PortkeyMockServer, tmp_path: Path) -> None:
    add(mock_server, "before", hour=-1 / 3600)
    add(mock_server, "first", hour=0)
    add(mock_server, "last", hour=24 - 1 / 3600)
    add(mock_server, "after", hour=24)

    export(tmp_path)

    assert runs_of(partition(tmp_path) / "thread_1.jsonl") == ["first", "last"]


def test_a_row_is_a_step_as_it_came_and_the_manifest_says_what_is_there(
    mock_server: PortkeyMockServer, tmp_path: Path
) -> None:
    add(mock_server, "run_1", steps=3)
    add(mock_server, "run_2", steps=120, thread_id="thread/2")

    manifest = export(tmp_path, thread_ids=["thread/2", "thread_1", "thread_1"])

    folder = partition(tmp_path)
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
        "window_start": "2025-11-21T00:00:00Z",
        "window_end": "2025-11-22T00:00:00Z",
        "window_by": "created",
        "format": "jsonl",
        "compression": None,
        "threads": 2,
        "files": 2,
        "runs": {"seen": 2, "exported": 2, "skipped": 0, "failed": 0, "picked_up": 0},
        "rows": 123,
        "bytes": sum(map(len, files.values())),
        "sha256": hashlib.sha256("".join(lines).encode()).hexdigest(),
        "pages": 5,
        "usage": {"prompt_tokens": 2460, "completion_tokens": 615, "total_tokens": 3075},
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
    mock_server: PortkeyMockServer, tmp_path: Path, file_format: str, compression: str | None, name: str
) -> None:
    add(mock_server, "run_1")
    export(tmp_path)
    export(tmp_path, file_format=file_format, compression=compression)
    first = tree(tmp_path)

    export(tmp_path, file_format=file_format, compression=compression)

    assert tree(tmp_path) == first
    assert sorted(Path(each).name for each in first) == sorted(["_manifest.json", name])


def test_readers_of_partitions_find_the_window_and_nothing_but_rows(
    mock_server: PortkeyMockServer, tmp_path: Path
) -> None:
    add(mock_server, "run_1", steps=3)
    add(mock_server, "run_2", night=-1, steps=4, thread_id="_hidden")
    for night in (-1, 0):
        export(tmp_path, night=night, thread_ids=["thread_1", "_hidden"], file_format="parquet")

    table = pyarrow.dataset.dataset(tmp_path, format="parquet", partitioning="hive").to_table()

    assert Counter(zip(*table.select(["window_start", "run_id"]).to_pydict().values(), strict=True)) == {
        ("20251121T000000Z", "run_1"): 3,
        ("20251120T000000Z", "run_2"): 4,
    }


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_rows_does_not_depend_on_the_order_of_answers(
    mock_server: PortkeyMockServer, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    for number in range(30):
        add(mock_server, f"run_{chance.random()}", hour=number / 3, steps=3, thread_id=f"thread_{number % 3}")
    threads = ["thread_2", "thread_0", "thread_1", "thread_none"]
    mock_server.add_messages(thread_id="thread_none", texts=["no run"])
    export(tmp_path / "one", thread_ids=threads, max_concurrent_requests=1)
    for run in range(60):
        mock_server.fault(delay=chance.random() / 20, path="*/threads/*", times=1 + run % 2)

    export(tmp_path / "many", thread_ids=threads[::-1], max_concurrent_requests=7)

    assert tree(tmp_path / "one") == tree(tmp_path / "many")
    for number in range(3):
        rows = map(json.loads, (partition(tmp_path / "many") / f"thread_{number}.jsonl").read_text().splitlines())
        moments = [row["created_at"] for row in rows]
        assert moments == sorted(moments)


@pytest.mark.parametrize("limit", [1, 4])
def test_there_are_never_more_requests_at_once_than_allowed_and_as_many_where_there_is_work(
    mock_server: PortkeyMockServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    for number in range(24):
        add(mock_server, f"run_{number}", thread_id=f"thread_{number // 2}")
    lock, now, most = threading.Lock(), [0], [0]
    full = threading.Event()
    send = PortkeyClient._send

    def counted(self: PortkeyClient, *arguments: Any) -> Any:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        if now[0] == limit:
            full.set()
        full.wait(5)
        try:
            return send(self, *arguments)
        finally:
            with lock:
                now[0] -= 1

    monkeypatch.setattr(PortkeyClient, "_send", counted)
    export(tmp_path, thread_ids=[f"thread_{number}" for number in range(12)], max_concurrent_requests=limit)

    assert most == [limit]


def test_many_small_threads_are_fetched_side_by_side(mock_server: PortkeyMockServer, tmp_path: Path) -> None:
    for number in range(20):
        add(mock_server, f"run_{number}", thread_id=f"thread_{number:02}")
    mock_server.fault(delay=0.1, path="*/threads/*", times=None)

    started = time.monotonic()
    export(tmp_path, thread_ids=[f"thread_{number:02}" for number in range(20)], max_concurrent_requests=8)

    assert time.monotonic() - started < 40 * 0.1 / 2  # forty requests, one after the other: four seconds


def test_no_thread_is_left_behind_whatever_ends_the_export(mock_server: PortkeyMockServer, tmp_path: Path) -> None:
    for number in range(20):
        add(mock_server, f"run_{number:02}", hour=number / 2)
    before = set(threading.enumerate())
    mock_server.fault(delay=0.1, path="*/steps", times=2)
    mock_server.fault(status=401, path="*/runs/run_03/steps")

    with pytest.raises(exceptions.PortkeyAuthenticationError, match="stopped at thread 'thread_1'"):
        export(tmp_path, max_concurrent_requests=6)

    assert [each for each in set(threading.enumerate()) - before if "portkey-export" in each.name] == []


# --- runs that have not ended ---


@pytest.mark.parametrize("status", ["queued", "in_progress", "cancelling", "requires_action", "never_heard_of"])
def test_a_run_that_has_not_ended_is_left_to_the_next_window_once(
    mock_server: PortkeyMockServer, clock: Clock, tmp_path: Path, context: dict[str, Any], status: str
) -> None:
    add(mock_server, "done")
    add(mock_server, "late", hour=23.9, statuses=[(status, 0), ("completed", 3600)])

    first = export(tmp_path, context=context)
    tonight = tree(tmp_path)
    clock.now += 86_400
    again = export(tmp_path, context=context)
    second = export(tmp_path, night=1, context=context)
    everything = tree(tmp_path)
    for night in (1, 0, 1):
        export(tmp_path, night=night, context=context)

    assert first["runs"] == {"seen": 2, "exported": 1, "skipped": 1, "failed": 0, "picked_up": 0}
    left = {"thread_id": "thread_1", "run_id": "late", "status": status}
    (skipped,) = first["skipped"]
    assert left.items() <= skipped.items()
    assert again["runs"] == first["runs"]
    assert second["runs"] == {"seen": 1, "exported": 1, "skipped": 0, "failed": 0, "picked_up": 1}
    assert tonight.items() <= everything.items()
    assert tree(tmp_path) == everything
    assert runs_of(partition(tmp_path) / "thread_1.jsonl") == ["done"]
    assert runs_of(partition(tmp_path, 1) / "thread_1.jsonl") == ["late"]
    assert b'"late"' in tonight[f"{partition(tmp_path).name}/_manifest.json"]


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "expired", "incomplete"])
def test_a_run_that_has_ended_however_is_exported(mock_server: PortkeyMockServer, tmp_path: Path, status: str) -> None:
    add(mock_server, "run_1", statuses=status)

    assert export(tmp_path)["runs"]["exported"] == 1


def test_a_run_that_goes_on_and_on_is_handed_from_window_to_window(
    mock_server: PortkeyMockServer, clock: Clock, tmp_path: Path, context: dict[str, Any]
) -> None:
    add(mock_server, "long", statuses=[("requires_action", 0), ("expired", 3 * 86_400)])

    manifests = []
    for night in range(5):
        manifests.append(export(tmp_path, night=night, context=context))
        clock.now += 86_400
    files = tree(tmp_path)
    for night in (4, 2, 0, 1, 3):
        export(tmp_path, night=night, context=context)

    assert [manifest["runs"]["skipped"] for manifest in manifests] == [1, 1, 1, 0, 0]
    assert [manifest["runs"]["picked_up"] for manifest in manifests] == [0, 0, 0, 1, 0]
    assert tree(tmp_path) == files
    assert set(all_steps(tmp_path).values()) == {1}


def test_a_thread_that_nobody_asks_for_any_more_is_still_owed_its_run(
    mock_server: PortkeyMockServer, clock: Clock, tmp_path: Path
) -> None:
    add(mock_server, "late", statuses=[("in_progress", 0), ("completed", 60)])
    add(mock_server, "other", night=1, thread_id="thread_2")
    export(tmp_path)
    clock.now += 86_400

    manifest = export(tmp_path, night=1, thread_ids=["thread_2"])

    assert (manifest["threads"], manifest["runs"]["picked_up"]) == (2, 1)
    assert runs_of(partition(tmp_path, 1) / "thread_1.jsonl") == ["late"]


@pytest.mark.parametrize("order", [[2, 1, 0, 3], [1, 0, 2, 3], [0, 2, 1, 3], [2, 0, 1, 3], [1, 2, 0, 3]])
def test_windows_exported_in_any_order_leave_and_take_each_run_once(
    mock_server: PortkeyMockServer, clock: Clock, tmp_path: Path, context: dict[str, Any], order: list[int]
) -> None:
    clock.now += 2 * 86_400
    for night in range(3):
        add(mock_server, f"done_{night}", night=night)
        add(mock_server, f"late_{night}", night=night, hour=23, statuses=[("in_progress", 0), ("completed", 3600)])

    for night in order[:-1]:
        export(tmp_path, night=night, context=context)
    clock.now += 86_400
    last = export(tmp_path, night=order[-1], context=context)
    files = tree(tmp_path)
    for night in order[::-1]:
        export(tmp_path, night=night, context=context)

    assert tree(tmp_path) == files
    assert last["runs"]["picked_up"] == 3
    wanted = {f"{kind}_{night}" for kind in ("done", "late") for night in range(3)}
    assert {run for run, _ in all_steps(tmp_path)} == wanted
    assert set(all_steps(tmp_path).values()) == {1}


def test_backfills_forwards_and_backwards_give_the_same_files(mock_server: PortkeyMockServer, tmp_path: Path) -> None:
    for night in range(-7, 0):
        for hour in (0, 7, 23.99):
            add(mock_server, f"run_{night}_{hour}", night=night, hour=hour)

    for folder, nights in (("up", range(-7, 0)), ("down", range(-1, -8, -1))):
        for night in nights:
            export(tmp_path / folder, night=night)

    assert tree(tmp_path / "up") == tree(tmp_path / "down")
    assert len(tree(tmp_path / "up")) == 14


def test_two_windows_side_by_side_neither_lose_nor_double_a_run(
    mock_server: PortkeyMockServer,
    clock: Clock,
    tmp_path: Path,
    context: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second window is exported while the first has decided, and not yet come to its end."""
    clock.now += 86_400
    add(mock_server, "late", hour=23.9, statuses=[("in_progress", 0), ("completed", 60)])
    add(mock_server, "next", night=1)
    save = window_state.WindowLedger.save

    def meanwhile(self: Any) -> None:
        save(self)
        monkeypatch.setattr(window_state.WindowLedger, "save", save)
        clock.now += 60
        assert export(tmp_path, night=1, context=context)["runs"]["picked_up"] == 0

    monkeypatch.setattr(window_state.WindowLedger, "save", meanwhile)
    assert export(tmp_path, context=context)["runs"]["skipped"] == 1
    clock.now += 86_400
    assert export(tmp_path, night=2, context=context)["runs"]["picked_up"] == 1

    assert set(all_steps(tmp_path).values()) == {1}
    assert {run for run, _ in all_steps(tmp_path)} == {"late", "next"}


def test_a_second_process_at_the_same_window_stops_the_first(
    mock_server: PortkeyMockServer,
    clock: Clock,
    tmp_path: Path,
    context: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add(mock_server, "late", hour=23.9, statuses=[("in_progress", 0), ("completed", 60)])
    save = window_state.WindowLedger.save

    def meanwhile(self: Any) -> None:
        monkeypatch.setattr(window_state.WindowLedger, "save", save)
        clock.now += 60
        export(tmp_path, context=context)
        save(self)

    monkeypatch.setattr(window_state.WindowLedger, "save", meanwhile)
    with pytest.raises(exceptions.PortkeyExportConflictError, match="Another process"):
        export(tmp_path, context=context)

    clock.now += 86_400
    export(tmp_path, night=1, context=context)
    assert Counter(run for run, _ in all_steps(tmp_path)) == {"late": 2}


def test_included_runs_are_exported_as_they_are(mock_server: PortkeyMockServer, clock: Clock, tmp_path: Path) -> None:
    add(mock_server, "late", statuses=[("in_progress", 0), ("completed", 60)])

    assert export(tmp_path, unfinished="include")["runs"]["exported"] == 1
    clock.now += 86_400
    assert export(tmp_path, night=1, unfinished="include")["runs"]["seen"] == 0


def test_a_run_that_has_not_ended_fails_its_thread_where_that_is_asked_for(
    mock_server: PortkeyMockServer, clock: Clock, tmp_path: Path
) -> None:
    add(mock_server, "late", statuses=[("in_progress", 0), ("completed", 60)])
    add(mock_server, "done", thread_id="thread_2")

    with pytest.raises(exceptions.PortkeyThreadsFailedError, match=r"'thread_1'.*still in_progress") as failed:
        export(tmp_path, thread_ids=["thread_1", "thread_2"], unfinished="fail")
    clock.now += 60
    manifest = export(tmp_path, thread_ids=["thread_1", "thread_2"], unfinished="fail")

    assert failed.value.manifest["runs"] == {"seen": 2, "exported": 1, "skipped": 0, "failed": 1, "picked_up": 0}
    assert manifest["runs"]["exported"] == 2


def test_what_was_left_under_one_policy_is_taken_under_another(
    mock_server: PortkeyMockServer, clock: Clock, tmp_path: Path
) -> None:
    add(mock_server, "late", statuses=[("in_progress", 0), ("completed", 60)])
    export(tmp_path)
    clock.now += 86_400
    export(tmp_path, unfinished="include")
    export(tmp_path, night=1, unfinished="fail")

    assert not (partition(tmp_path) / "thread_1.jsonl").exists()
    assert runs_of(partition(tmp_path, 1) / "thread_1.jsonl") == ["late"]


def test_a_thread_that_is_new_to_a_closed_window_may_not_leave_anything(
    mock_server: PortkeyMockServer, clock: Clock, tmp_path: Path
) -> None:
    """The next window has been exported: it would not look again."""
    add(mock_server, "late", statuses=[("in_progress", 0), ("completed", 3 * 86_400)])
    mock_server.add_messages(thread_id="thread_2", texts=["no run"])
    clock.now += 86_400
    for night in (0, 1):
        export(tmp_path, night=night, thread_ids=["thread_2"])

    with pytest.raises(exceptions.PortkeyThreadsFailedError, match="exported before, to its end"):
        export(tmp_path, thread_ids=["thread_1", "thread_2"])
    clock.now += 3 * 86_400
    assert export(tmp_path, thread_ids=["thread_1", "thread_2"])["runs"]["exported"] == 1


def test_by_the_end_of_runs_each_is_in_the_window_in_which_it_ended(
    mock_server: PortkeyMockServer, clock: Clock, tmp_path: Path
) -> None:
    minutes = 60
    ends = [("completed", 23.5, 20 * minutes, 0), ("completed", 23.5, 40 * minutes, 1), ("incomplete", 23.5, 60, 1),
            ("failed", 23.9, 600, 1), ("cancelled", 23.9, 600, 1), ("expired", 23.9, 600, 1)]  # fmt: skip
    for number, (status, hour, seconds, _) in enumerate(ends):
        script = [("in_progress", 0), (status, seconds)]
        add(mock_server, f"run_{number}", hour=hour, statuses=script)
    clock.now += 40 * minutes
    add(mock_server, "active_statuses", hour=23.99, statuses="in_progress")

    manifest = export(tmp_path, window_by="ended")
    clock.now += 86_400
    export(tmp_path, night=1, window_by="ended")

    assert manifest["runs"] == {"seen": 1, "exported": 1, "skipped": 0, "failed": 0, "picked_up": 0}
    for night in (0, 1):
        assert set(runs_of(partition(tmp_path, night) / "thread_1.jsonl")) == {
            f"run_{number}" for number, end in enumerate(ends) if end[3] == night
        }


def test_a_list_that_is_not_newest_first_is_refused(mock_server: PortkeyMockServer, tmp_path: Path) -> None:
    add(mock_server, "newer", hour=3)
    add(mock_server, "older", hour=2)

    with pytest.raises(exceptions.PortkeyThreadsFailedError, match="not newest first"):
        export(tmp_path)


# --- things that go wrong ---


def broken(mock_server: PortkeyMockServer, what: str) -> None:
    faults: dict[str, dict[str, Any]] = {
        "gone": {"status": 404, "path": "*/threads/thread_2/runs"},
        "no list": {"body": {"hello": 1}, "path": "*/threads/thread_2/runs"},
        "login page": {"body": "<html>", "path": "*/threads/thread_2/runs"},
        "refused": {"status": 400, "path": "*/threads/thread_2/runs/*/steps"},
        "goes round": {"ignore_after": True, "merge": {"has_more": True}, "path": "*/runs/run_2/steps", "times": None},
        "no moment": {"merge": {"data": [{"id": "run_2"}]}, "path": "*/threads/thread_2/runs"},
    }
    mock_server.fault(**faults[what])


@pytest.mark.parametrize("what", ["gone", "no list", "login page", "refused", "goes round", "no moment"])
def test_a_thread_that_fails_is_named_and_all_others_land(
    mock_server: PortkeyMockServer, tmp_path: Path, context: dict[str, Any], what: str
) -> None:
    threads = [f"thread_{number}" for number in range(1, 6)]
    for number, thread_id in enumerate(threads, 1):
        add(mock_server, f"run_{number}", thread_id=thread_id, steps=130)
    broken(mock_server, what)

    with pytest.raises(exceptions.PortkeyThreadsFailedError, match="1 of 5 threads failed: 'thread_2'") as failed:
        export(tmp_path, thread_ids=threads, context=context)

    manifest = failed.value.manifest
    assert [each["thread_id"] for each in manifest["failed_threads"]] == ["thread_2"]
    assert manifest["runs"]["seen"] == manifest["runs"]["exported"] + manifest["runs"]["failed"]
    assert (manifest["runs"]["exported"], manifest["files"]) == (4, 4)
    landed = {f"thread_{number}.jsonl" for number in (1, 3, 4, 5)}
    assert {entry.name for entry in partition(tmp_path).iterdir()} == landed
    assert not isinstance(failed.value, exceptions.AirflowFailException)
    mock_server.clear_faults()
    assert export(tmp_path, thread_ids=threads, context=context)["files"] == 5


def test_an_earlier_file_of_a_thread_that_fails_stays(mock_server: PortkeyMockServer, tmp_path: Path) -> None:
    add(mock_server, "run_1")
    export(tmp_path)
    before = tree(tmp_path)
    mock_server.fault(status=404, path="*/threads/thread_1/runs")

    with pytest.raises(exceptions.PortkeyThreadsFailedError):
        export(tmp_path)

    assert tree(tmp_path) == before


def test_what_a_thread_that_failed_leaves_later_is_taken_by_the_first_window_that_can(
    mock_server: PortkeyMockServer, clock: Clock, tmp_path: Path, context: dict[str, Any]
) -> None:
    clock.now += 86_400
    add(mock_server, "late", hour=23.9, statuses=[("in_progress", 0), ("completed", 3600)])
    mock_server.fault(status=404, path="*/threads/thread_1/runs")
    with pytest.raises(exceptions.PortkeyThreadsFailedError):
        export(tmp_path, context=context)
    export(tmp_path, night=1, context=context)

    assert export(tmp_path, context=context)["runs"]["skipped"] == 1
    clock.now += 86_400
    assert export(tmp_path, night=2, context=context)["runs"]["picked_up"] == 1
    assert export(tmp_path, night=1, context=context)["runs"]["seen"] == 0
    clock.now += 86_400
    assert export(tmp_path, night=3, context=context)["runs"]["seen"] == 0
    assert set(all_steps(tmp_path).values()) == {1}


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
def test_what_would_meet_every_thread_stops_the_export_and_names_where(
    mock_server: PortkeyMockServer, tmp_path: Path, waits: list[float], status: int, error: type[Exception]
) -> None:
    for number in range(1, 5):
        add(mock_server, f"run_{number}", thread_id=f"thread_{number}")
    mock_server.fault(status=status, path="*/threads/thread_3/runs", times=None)

    with pytest.raises(error, match="stopped at thread 'thread_3'"):
        export(tmp_path, thread_ids=[f"thread_{number}" for number in range(1, 9)], max_concurrent_requests=1)

    assert {entry.name for entry in partition(tmp_path).iterdir()} == {"thread_1.jsonl", "thread_2.jsonl"}
    assert not any("thread_8" in path for path in paths(mock_server))


def test_a_file_of_which_nothing_is_left_goes(mock_server: PortkeyMockServer, tmp_path: Path) -> None:
    add(mock_server, "run_1")
    add(mock_server, "run_2", thread_id="thread_2")
    export(tmp_path, thread_ids=["thread_1", "thread_2"])
    (partition(tmp_path) / "_SUCCESS").touch()
    (partition(tmp_path) / "notes.txt").touch()

    export(tmp_path)

    names = {entry.name for entry in partition(tmp_path).iterdir()}
    assert names == {"_manifest.json", "_SUCCESS", "notes.txt", "thread_1.jsonl"}


def test_a_window_without_runs_has_a_manifest_and_nothing_else(mock_server: PortkeyMockServer, tmp_path: Path) -> None:
    add(mock_server, "other", night=-3)

    manifest = export(tmp_path)

    assert (manifest["threads"], manifest["files"], manifest["rows"]) == (1, 0, 0)
    assert list(tree(tmp_path)) == [f"{partition(tmp_path).name}/_manifest.json"]
    assert json.loads((partition(tmp_path) / "_manifest.json").read_text())["details"] == []


def test_a_run_without_steps_is_counted_and_has_no_file(mock_server: PortkeyMockServer, tmp_path: Path) -> None:
    add(mock_server, "run_1", steps=0)

    manifest = export(tmp_path)

    assert (manifest["runs"]["exported"], manifest["files"]) == (1, 0)


def test_no_threads_at_all_is_an_export_of_nothing(mock_server: PortkeyMockServer, tmp_path: Path) -> None:
    assert export(tmp_path, thread_ids=[])["threads"] == 0


class Killed(BaseException):
    """What ``kill -9`` is to the process that it meets."""


class Reaper:
    """Ends the process at one of the moments at which something outside of it happens."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.at: int | None = None
        send, replace, store = PortkeyClient._send, os.replace, AssetStore.set
        unlink = os.unlink

        def passes(call: Callable[..., Any]) -> Callable[..., Any]:
            def watched(*arguments: Any) -> Any:
                self.strike()
                done = call(*arguments)
                self.strike()
                return done

            return watched

        monkeypatch.setattr(PortkeyClient, "_send", passes(send))
        monkeypatch.setattr(AssetStore, "set", passes(store))
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


def rewind(mock_server: PortkeyMockServer, threads: list[str], seconds: float) -> None:
    """Start the late runs again, for some seconds."""
    statuses = [("in_progress", 0), ("completed", seconds)]
    for thread_id in threads:
        mock_server.set_run_statuses(thread_id=thread_id, run_id="late", statuses=statuses)


def test_killed_at_any_moment_a_retry_leaves_each_step_once_and_the_same_bytes(
    mock_server: PortkeyMockServer,
    clock: Clock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    context: dict[str, Any],
) -> None:
    threads = ["thread_1", "thread_2"]
    clock.now += 86_400
    for thread_id in threads:
        add(mock_server, "done", thread_id=thread_id)
        add(mock_server, "late", thread_id=thread_id, hour=23.9, statuses=[("in_progress", 0), ("completed", 86_400)])
        add(mock_server, "next", thread_id=thread_id, night=1)
    evening = clock.now
    reaper = Reaper(monkeypatch)

    def nights(folder: Path, at: int | None) -> dict[str, bytes]:
        """Two nights; the process is killed once on the way, and started again."""
        for key in context:
            context[key] = AssetStore()
        clock.now, reaper.count, reaper.at = evening, 0, at
        rewind(mock_server, threads, 86_400)
        for night in (0, 1):
            arguments = {"night": night, "thread_ids": threads, "context": context, "max_concurrent_requests": 1}
            try:
                export(folder, **arguments)
            except Killed:
                reaper.at = None
                export(folder, **arguments)
            clock.now += 86_400
        return tree(folder)

    whole = nights(tmp_path / "whole", None)
    moments = reaper.count
    assert moments > 40
    assert len(whole) == 6
    for at in range(moments):
        folder = tmp_path / str(at)
        assert nights(folder, at) == whole, at
        assert set(all_steps(folder).values()) == {1}
        assert {run for run, _ in all_steps(folder)} == {"done", "late", "next"}
        assert list(folder.rglob("*.part")) == []


def test_a_run_that_ends_between_the_kill_and_the_retry_stands_once(
    mock_server: PortkeyMockServer,
    clock: Clock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    context: dict[str, Any],
) -> None:
    threads = ["thread_1", "thread_2"]
    clock.now += 86_400
    for thread_id in threads:
        add(mock_server, "done", thread_id=thread_id)
        add(mock_server, "late", thread_id=thread_id, hour=23.9, statuses=[("in_progress", 0), ("completed", 60)])
    evening = clock.now
    reaper = Reaper(monkeypatch)
    where = Counter[int]()
    for at in range(0, 60, 2):
        folder = tmp_path / str(at)
        for key in context:
            context[key] = AssetStore()
        clock.now, reaper.count, reaper.at = evening, 0, at
        rewind(mock_server, threads, 60)
        arguments = {"thread_ids": threads, "context": context, "max_concurrent_requests": 1}
        try:
            export(folder, **arguments)
        except Killed:
            reaper.at = None
            clock.now += 60
            export(folder, **arguments)
        reaper.at = None
        clock.now = evening + 86_400
        where[export(folder, night=1, **arguments)["runs"]["picked_up"]] += 1
        assert set(all_steps(folder).values()) == {1}
        assert len(all_steps(folder)) == 8, at
    assert where.keys() == {0, 1, 2}


# --- memory ---


def peak(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class Pages:
    """In place of the hook's requests: pages of steps that are made when they are asked for."""

    def __init__(self, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps = steps
        monkeypatch.setattr(PortkeyClient, "get", lambda client, path, ids, query=None, **_: self.get(path, query))

    def get(self, path: str, query: Any) -> dict[str, Any]:
        if not path.endswith("/steps"):
            run = {"id": "run_1", "created_at": int(NIGHT.timestamp()), "status": "completed"}
            return {"data": [run] if self.steps else [], "has_more": False}
        start = int(dict(query).get("after", "-1")) + 1
        data = [{"id": str(number), "x": "x" * 500} for number in range(start, min(start + 100, self.steps))]
        return {"data": data, "has_more": start + 100 < self.steps}


def test_memory_does_not_grow_with_the_steps_of_a_run(
    portkey_connection: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Pages(300, monkeypatch)
    export(tmp_path / "warm")
    Pages(2_000, monkeypatch)
    few = peak(lambda: export(tmp_path / "few"))
    Pages(40_000, monkeypatch)
    many = peak(lambda: export(tmp_path / "many"))

    assert (partition(tmp_path / "many") / "thread_1.jsonl").stat().st_size > 20_000_000
    assert many - few < 3_000_000  # the cursors and the latest 10,000 ids that paging remembers


def test_memory_does_not_grow_with_the_threads_of_a_file(
    portkey_connection: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = Pages(0, monkeypatch)
    listed = Counter[str]()
    monkeypatch.setattr(pages, "get", lambda path, query: {"data": [listed.update("x")][:0], "has_more": False})
    for count in (1_000, 20_000):
        (tmp_path / f"{count}.txt").write_text("".join(f"thread_{number}\n" for number in range(count)))
    export(tmp_path / "warm", thread_ids_path=str(tmp_path / "1000.txt"))
    few = peak(lambda: export(tmp_path / "few", thread_ids_path=str(tmp_path / "1000.txt")))
    listed.clear()
    many = peak(lambda: export(tmp_path / "many", thread_ids_path=str(tmp_path / "20000.txt")))

    assert listed == {"x": 20_000}
    assert many - few < 300_000


# --- arguments ---


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("window_by", "started"),
        ("unfinished", "wait"),
        ("max_run_seconds", -1),
        ("max_run_seconds", "1h"),
        ("max_concurrent_requests", 0),
        ("max_concurrent_requests", 33),
        ("max_concurrent_requests", True),
        ("file_format", "xml"),
        ("compression", "bz2"),
        ("thread_ids", None),
    ],
)
def test_a_wrong_choice_is_refused_when_the_task_is_written(field: str, wrong: Any) -> None:
    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match=rf"^{field}="):
        operator("/tmp/steps", **{field: wrong})


def test_thread_ids_come_from_one_place() -> None:
    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match="not both"):
        operator("/tmp/steps", thread_ids=["thread_1"], thread_ids_path="/tmp/ids")


TOMORROW = datetime.now(tz=UTC) + DAY


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("window_start", {"window_start": datetime(2025, 1, 1)}),
        ("window_start", {"window_start": "yesterday"}),
        ("window_start", {"window_start": "None"}),
        ("window_end", {"window_start": NIGHT + DAY}),
        ("window_end", {"window_start": NIGHT + 2 * DAY}),
        ("window_end", {"window_end": TOMORROW}),
        ("path", {"path": " "}),
        ("path", {"path": "s3://"}),
        ("include", {"include": "one"}),
        ("thread_ids", {"thread_ids": "None"}),
        (r"thread_ids\[1\]", {"thread_ids": ["a", ".."]}),
        ("thread_ids_path", {"thread_ids_path": "/tmp/"}),
    ],
)
def test_a_wrong_value_is_refused_before_anything_is_sent_or_written(
    mock_server: PortkeyMockServer, tmp_path: Path, field: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match=rf"^{field}="):
        operator(**{"path": tmp_path / "steps", **arguments}).execute({})

    assert mock_server.requests == []
    assert list(tmp_path.iterdir()) == []


def test_an_empty_window_says_how_to_get_an_interval(mock_server: PortkeyMockServer, tmp_path: Path) -> None:
    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match="CronTriggerTimetable"):
        operator(tmp_path, window_start=NIGHT, window_end=NIGHT).execute({})


def test_a_window_that_is_there_is_not_written_again_where_that_is_forbidden(
    mock_server: PortkeyMockServer, tmp_path: Path
) -> None:
    add(mock_server, "run_1")
    export(tmp_path, overwrite=False)
    count = len(mock_server.requests)

    with pytest.raises(exceptions.PortkeyDestinationExistsError):
        export(tmp_path, overwrite=False)

    assert len(mock_server.requests) == count


@pytest.mark.parametrize(
    "arguments",
    [{"window_end": NIGHT + 2 * DAY}, {"window_start": NIGHT - DAY}, {"window_by": "ended"}],
)
def test_another_window_at_the_place_of_one_is_refused(
    mock_server: PortkeyMockServer, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    add(mock_server, "run_1")
    export(tmp_path)
    before = tree(tmp_path)

    with pytest.raises(exceptions.PortkeyExportConflictError):
        operator(tmp_path, **arguments).execute({})

    assert tree(tmp_path) == before


def test_each_task_has_a_path_of_its_own(mock_server: PortkeyMockServer, tmp_path: Path) -> None:
    add(mock_server, "run_1")
    ti = SimpleNamespace(dag_id="dag", task_id="export", run_id="night", map_index=-1, try_number=1)
    export(tmp_path, context={"ti": ti})
    export(tmp_path, context={"ti": SimpleNamespace(**{**vars(ti), "run_id": "backfill", "try_number": 3})})

    with pytest.raises(exceptions.PortkeyExportConflictError, match=r"by dag\.export\. Give dag\.export\[1\] a path"):
        export(tmp_path, context={"ti": SimpleNamespace(**{**vars(ti), "map_index": 1})})


def test_a_record_that_is_none_is_named(mock_server: PortkeyMockServer, tmp_path: Path) -> None:
    export(tmp_path, thread_ids=[])
    (record,) = (tmp_path / "_unfinished").iterdir()
    for wrong in ("[1]", "{", "{}"):
        record.write_text(wrong)
        with pytest.raises(exceptions.PortkeyExportConflictError, match="record of an earlier export"):
            export(tmp_path, thread_ids=[])


def test_with_several_assets_the_record_is_a_file(mock_server: PortkeyMockServer, tmp_path: Path) -> None:
    export(tmp_path, thread_ids=[], context={"asset_state_store": SeveralAssets()})

    assert [record.name for record in (tmp_path / "_unfinished").iterdir()] == ["window_end=20251122T000000Z.json"]


def test_both_places_hold_the_same_and_files_of_before_are_read(
    mock_server: PortkeyMockServer, clock: Clock, tmp_path: Path
) -> None:
    add(mock_server, "late", statuses=[("in_progress", 0), ("completed", 60)])
    store = AssetStore()
    export(tmp_path / "store", context={"asset_state_store": store})
    export(tmp_path / "file")
    (record,) = (tmp_path / "file" / "_unfinished").iterdir()
    (kept,) = store.kept.values()
    assert json.loads(record.read_text()) == json.loads(kept)
    assert not (tmp_path / "store" / "_unfinished").exists()
    clock.now += 86_400

    assert export(tmp_path / "file", night=1, context={"asset_state_store": store})["runs"]["picked_up"] == 1


def test_templates_reach_every_argument_that_differs_between_runs() -> None:
    fields = {*PortkeyThreadStepsToObjectStorageOperator.template_fields}

    assert fields >= {"thread_ids", "thread_ids_path", "window_start", "window_end", "path", "include"}
    assert fields >= {"portkey_conn_id", "object_storage_conn_id"}


@pytest.mark.parametrize("native", ["{{ ids | tojson }}", "{{ ids }}", "{{ ids | join(', ') }}"])
def test_a_template_may_make_the_ids(mock_server: PortkeyMockServer, tmp_path: Path, native: str) -> None:
    for number in (1, 2):
        add(mock_server, f"run_{number}", thread_id=f"thread_{number}")
    task = operator(f"{tmp_path}/{{{{ what }}}}", thread_ids=native, window_start="{{ start }}")

    task.render_template_fields({"ids": ["thread_1", "thread_2"], "what": "steps", "start": NIGHT})

    assert task.execute({})["runs"]["exported"] == 2
    assert partition(tmp_path / "steps").is_dir()


def test_the_messages_of_steps_are_joined(mock_server: PortkeyMockServer, tmp_path: Path) -> None:
    add(mock_server, "run_1", steps=3)
    add(mock_server, "run_2", steps=3, hour=13)

    export(tmp_path, include_messages=True)

    rows = [json.loads(line) for line in (partition(tmp_path) / "thread_1.jsonl").read_text().splitlines()]
    texts = [row["message_text"] for row in rows if row["type"] == "message_creation"]
    assert texts == [f"Message of step {number} of run_{run}." for run in (1, 2) for number in (0, 2)]


def test_further_fields_are_asked_for(mock_server: PortkeyMockServer, tmp_path: Path) -> None:
    add(mock_server, "run_1")
    export(tmp_path, include=["step_details"])

    (steps,) = [request for request in mock_server.requests if request.path.endswith("/steps")]
    assert "include%5B%5D=step_details" in steps.query


def test_as_many_requests_are_allowed_as_a_session_keeps_connections() -> None:
    assert steps_to_object_storage._MOST_REQUESTS == sessions.MAX_CONNECTIONS


def test_an_object_store_gets_the_window(mock_server: PortkeyMockServer, memory_store: str, clock: Clock) -> None:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    add(mock_server, "done")
    add(mock_server, "late", hour=23, statuses=[("in_progress", 0), ("completed", 60)])
    export(f"{memory_store}/steps")
    clock.now += 86_400
    first = export(f"{memory_store}/steps")
    second = export(f"{memory_store}/steps", night=1)

    assert (first["runs"]["skipped"], second["runs"]["picked_up"]) == (1, 1)
    content = (ObjectStoragePath(second["uri"]) / "thread_1.jsonl").read_bytes()
    assert {json.loads(line)["run_id"] for line in content.splitlines()} == {"late"}
