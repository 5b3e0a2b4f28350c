from __future__ import annotations

import csv
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_portkey.exceptions import PortkeyDestinationExistsError
from airflow_provider_portkey.export.writer import open_writer

COLUMNS = {"id": "text", "details": "json"}
ROWS = [{"id": "a", "details": {"n": 1}}, {"id": "b", "new": None}]


def write(path: Path, rows: list[dict[str, Any]], **options: Any) -> Any:
    with open_writer(ObjectStoragePath(str(path)), columns=COLUMNS, **options) as writer:
        for row in rows:
            writer.write(row)
    return writer


def test_rows_are_at_the_path_after_the_block_with_their_number_size_and_hash(tmp_path: Path) -> None:
    writer = write(tmp_path / "new" / "rows.jsonl.gz", ROWS, compression="gzip")

    content = (tmp_path / "new" / "rows.jsonl.gz").read_bytes()
    assert [json.loads(line) for line in gzip.decompress(content).splitlines()] == ROWS
    assert writer.summary() == {
        "uri": f"file://{tmp_path}/new/rows.jsonl.gz",
        "path": f"{tmp_path}/new/rows.jsonl.gz",
        "file_format": "jsonl",
        "compression": "gzip",
        "rows": 2,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "non_finite_values": 0,
    }


@pytest.mark.parametrize(
    ("file_format", "content"), [("jsonl", b""), ("json", b"[]\n"), ("csv", b"id,details,other_fields\n")]
)
def test_a_file_without_rows_is_written(tmp_path: Path, file_format: str, content: bytes) -> None:
    writer = write(tmp_path / "rows", [], file_format=file_format)

    assert (tmp_path / "rows").read_bytes() == content
    assert (writer.rows, writer.bytes, writer.sha256) == (0, len(content), hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("file_format", ["jsonl", "json", "csv", "parquet"])
def test_a_file_without_rows_can_be_skipped(tmp_path: Path, file_format: str) -> None:
    writer = write(tmp_path / "new" / "rows", [], file_format=file_format, skip_empty=True)

    assert list(tmp_path.iterdir()) == []
    assert (writer.rows, writer.bytes, writer.sha256) == (0, 0, None)


@pytest.mark.parametrize("file_format", ["jsonl", "csv", "parquet"])
def test_skipping_empty_files_changes_no_other_file(tmp_path: Path, file_format: str) -> None:
    first = write(tmp_path / "one", ROWS, file_format=file_format)
    second = write(tmp_path / "two", ROWS, file_format=file_format, skip_empty=True)

    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert first.sha256 == second.sha256


@pytest.mark.parametrize("skip_empty", [False, True])
def test_an_error_leaves_the_earlier_file_and_nothing_else(tmp_path: Path, skip_empty: bool) -> None:
    (tmp_path / "rows").write_text("earlier")

    with (
        pytest.raises(RuntimeError),
        open_writer(ObjectStoragePath(str(tmp_path / "rows")), columns=COLUMNS, skip_empty=skip_empty) as writer,
    ):
        writer.write(ROWS[0])
        raise RuntimeError

    assert [path.name for path in tmp_path.iterdir()] == ["rows"]
    assert (tmp_path / "rows").read_text() == "earlier"


def test_a_file_that_is_created_meanwhile_stays_without_overwrite(tmp_path: Path) -> None:
    with (
        pytest.raises(PortkeyDestinationExistsError),
        open_writer(ObjectStoragePath(str(tmp_path / "rows")), columns=COLUMNS, overwrite=False) as writer,
    ):
        writer.write(ROWS[0])
        (tmp_path / "rows").write_text("of another process")

    assert (tmp_path / "rows").read_text() == "of another process"


LINE = b'{"details" : {"n":1.0},  "id": "a"}'


def write_lines(path: Path, file_format: str) -> Any:
    with open_writer(ObjectStoragePath(str(path)), columns=COLUMNS, file_format=file_format) as writer:
        for _ in range(2):
            writer.write_line(LINE, json.loads(LINE))
    return writer


def test_a_received_line_is_written_unchanged_in_jsonl(tmp_path: Path) -> None:
    writer = write_lines(tmp_path / "rows", "jsonl")

    assert (tmp_path / "rows").read_bytes() == LINE + b"\n" + LINE + b"\n"
    assert writer.rows == 2


def test_a_received_line_is_encoded_in_other_formats(tmp_path: Path) -> None:
    for file_format in ("json", "csv", "parquet"):
        assert write_lines(tmp_path / file_format, file_format).rows == 2

    expected = [{"id": "a", "details": '{"n":1.0}', "other_fields": None}] * 2
    assert json.loads((tmp_path / "json").read_bytes()) == [json.loads(LINE)] * 2
    assert pyarrow.parquet.read_table(tmp_path / "parquet").to_pylist() == expected
    rows = list(csv.DictReader((tmp_path / "csv").open(newline="")))
    assert rows == [{**row, "other_fields": ""} for row in expected]


@pytest.mark.parametrize("file_format", ["jsonl", "json", "csv", "parquet"])
def test_the_summary_counts_numbers_that_json_does_not_have(tmp_path: Path, file_format: str) -> None:
    writer = write(tmp_path / "rows", [{"id": "a", "details": [float("nan")]}, *ROWS], file_format=file_format)

    assert writer.summary()["non_finite_values"] == 1


@pytest.mark.parametrize(("csv_formulas", "cell"), [("keep", "=1"), ("escape", "'=1")])
def test_formulas_are_escaped_where_that_is_wanted(tmp_path: Path, csv_formulas: str, cell: str) -> None:
    write(tmp_path / "rows", [{"id": "=1"}], file_format="csv", csv_formulas=csv_formulas)

    assert (tmp_path / "rows").read_text().splitlines()[1] == f"{cell},,"
