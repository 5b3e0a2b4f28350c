"""Logs as tables: typed columns in Hive partitions by day, which DuckDB and pyarrow read; the same files again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow.dataset
import pyarrow.parquet
import pytest

from airflow_provider_portkey.exceptions import (
    PortkeyDestinationExistsError,
    PortkeyInvalidArgumentError,
    PortkeyRowsMismatchError,
)
from airflow_provider_portkey.log_export import partitions
from airflow_provider_portkey.testing import PortkeyMockServer, fake_context
from airflow_provider_portkey.transfers.logs_to_object_storage import PortkeyLogsToObjectStorageOperator

START, END = "2026-07-24T12:00:00Z", "2026-07-27T00:00:00Z"
STEM = "20260724T120000Z-20260727T000000Z"
DATES = {"2026-07-24": 12, "2026-07-25": 24, "2026-07-26": 24}


@pytest.fixture
def portkey(monkeypatch: pytest.MonkeyPatch) -> Iterator[PortkeyMockServer]:
    """A mock server with a log for each hour of the window, and exports that take no time."""
    with PortkeyMockServer(job_seconds=0) as mock_server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(mock_server.connection()))
        mock_server.log_exports.settings(end_included=False)
        mock_server.add_logs(60, START, END)
        yield mock_server


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def export(**changes: Any) -> dict[str, Any]:
        arguments = {
            "path": str(tmp_path / "logs"),
            "window_start": START,
            "window_end": END,
            "file_format": "parquet",
            "partition_by": "date",
            "poke_interval": 0.01,
        } | changes
        return PortkeyLogsToObjectStorageOperator(task_id="logs", **arguments).execute(fake_context())

    return export


@pytest.fixture
def duckdb() -> Any:
    return pytest.importorskip("duckdb", reason="locked for the newest Airflow only")


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_each_day_has_a_file_with_typed_columns(portkey: PortkeyMockServer, export: Any, tmp_path: Path) -> None:
    manifest = export()

    assert set(files_of(tmp_path / "logs")) == {f"date={day}/{STEM}.parquet" for day in DATES}
    assert (manifest["dates"], manifest["files"], manifest["rows"]) == (DATES, 3, 60)
    assert manifest["bytes"] == sum(map(len, files_of(tmp_path / "logs").values()))
    schema = pyarrow.parquet.read_schema(tmp_path / "logs" / "date=2026-07-25" / f"{STEM}.parquet")
    types = {field.name: str(field.type) for field in schema}
    assert types["created_at"] == "timestamp[us, tz=UTC]"
    assert (types["is_success"], types["cost"], types["total_units"]) == ("bool", "double", "int64")


def test_duckdb_reads_the_partitions(duckdb: Any, portkey: PortkeyMockServer, export: Any, tmp_path: Path) -> None:
    export()
    found = duckdb.sql(
        "select date, count(*), sum(cost), bool_and(is_success), min(created_at) < max(created_at), "
        "typeof(any_value(date)) "
        f"from read_parquet('{tmp_path}/logs/date=*/*.parquet', hive_partitioning = true) group by date order by date"
    ).fetchall()
    days = [(date.fromisoformat(day), rows, rows / 4, True, True, "DATE") for day, rows in DATES.items()]
    assert found == days


def test_pyarrow_reads_the_partitions(portkey: PortkeyMockServer, export: Any, tmp_path: Path) -> None:
    export()
    dataset = pyarrow.dataset.dataset(tmp_path / "logs", format="parquet", partitioning="hive")
    table = dataset.to_table(
        filter=pyarrow.dataset.field("date") == "2026-07-25", columns=["created_at", "cost", "date"]
    )
    assert table.num_rows == 24
    assert {value.date() for value in table["created_at"].to_pylist()} == {date(2026, 7, 25)}


@pytest.mark.parametrize("file_format", ["jsonl", "json", "csv", "parquet"])
def test_the_same_window_gives_the_same_files(
    portkey: PortkeyMockServer, export: Any, tmp_path: Path, file_format: str
) -> None:
    first = export(file_format=file_format)
    files = files_of(tmp_path / "logs")
    second = export(file_format=file_format)
    assert files == files_of(tmp_path / "logs")
    assert first["sha256"] == second["sha256"]


def test_lines_of_jsonl_are_those_of_portkey(portkey: PortkeyMockServer, export: Any, tmp_path: Path) -> None:
    export(file_format="jsonl", partition_by=None, path=str(tmp_path / "one.jsonl"))
    export(file_format="jsonl")
    parts = files_of(tmp_path / "logs")
    assert b"".join(parts[name] for name in sorted(parts)) == (tmp_path / "one.jsonl").read_bytes()


def test_files_of_another_format_are_replaced_and_others_stay(
    portkey: PortkeyMockServer, export: Any, tmp_path: Path
) -> None:
    export(file_format="jsonl", compression="gzip")
    other = tmp_path / "logs" / "date=2026-07-25" / "20260725T000000Z-20260725T010000Z.parquet"
    other.write_bytes(b"another window")
    (other.parent / "notes.txt").write_text("mine")
    # A day that has no rows any more.
    gone = tmp_path / "logs" / "date=2026-07-27" / f"{STEM}.parquet"
    gone.parent.mkdir()
    gone.write_bytes(b"an earlier export")

    export()

    expected = {f"date={day}/{STEM}.parquet" for day in DATES} | {
        f"date=2026-07-25/{other.name}",
        "date=2026-07-25/notes.txt",
    }
    assert set(files_of(tmp_path / "logs")) == expected


def test_rows_without_a_time_have_a_partition_of_their_own(
    duckdb: Any, portkey: PortkeyMockServer, export: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "_OPEN_FILES", 1)
    monkeypatch.setattr(
        "airflow_provider_portkey.testing.resources.log_exports.to_iso", lambda ms: "unknown" if ms % 7 else iso(ms)
    )
    manifest = export()
    null = partitions.NO_DATE
    assert sum(manifest["dates"].values()) == 60
    assert manifest["dates"][null] > 0
    found = duckdb.sql(
        f"select count(*) from read_parquet('{tmp_path}/logs/*/*.parquet', hive_partitioning = true) where date is null"
    ).fetchall()
    assert found == [(manifest["dates"][null],)]


def iso(milliseconds: float) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC).isoformat()


def test_nothing_is_at_the_path_where_the_counts_differ(
    portkey: PortkeyMockServer, export: Any, tmp_path: Path
) -> None:
    portkey.log_exports.settings(max_rows=10)
    with pytest.raises(PortkeyRowsMismatchError):
        export()
    assert files_of(tmp_path / "logs") == {}


def test_a_failed_write_leaves_whole_files_only_and_the_retry_all_of_them(
    portkey: PortkeyMockServer, export: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = partitions.open_writer

    def fail(path: Any, **arguments: Any) -> Any:
        if "date=2026-07-26" in str(path):
            raise OSError("the disk is full")
        return original(path, **arguments)

    with monkeypatch.context() as broken:
        broken.setattr(partitions, "open_writer", fail)
        with pytest.raises(OSError, match="full"):
            export()
    assert set(files_of(tmp_path / "logs")) == {f"date={day}/{STEM}.parquet" for day in list(DATES)[:2]}
    assert export()["rows"] == 60
    assert set(files_of(tmp_path / "logs")) == {f"date={day}/{STEM}.parquet" for day in DATES}


def test_an_existing_file_of_the_window_is_refused_before_anything_is_sent(
    portkey: PortkeyMockServer, export: Any
) -> None:
    export()
    sent = len(portkey.requests)
    with pytest.raises(PortkeyDestinationExistsError, match="date=2026-07-24"):
        export(overwrite=False)
    assert len(portkey.requests) == sent


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"partition_by": "hour"}, "partition_by='hour' .* 'date' or None"),
        ({"requested_data": ["id", "cost"]}, "requested_data=.* created_at among the fields, for partition_by"),
    ],
)
def test_bad_input_is_an_error_before_anything_is_sent(
    portkey: PortkeyMockServer, export: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=message):
        export(**changes)
    assert portkey.requests == []


def test_partitions_are_written_to_an_object_store(portkey: PortkeyMockServer, export: Any, memory_store: str) -> None:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    for _ in range(2):
        manifest = export(path=f"{memory_store}/logs")
    folder = ObjectStoragePath(f"{memory_store}/logs")
    assert manifest["uri"].endswith("portkey-tests/logs")
    assert sorted(each.name for each in folder.iterdir()) == [f"date={day}" for day in DATES]
