"""Rounds: what is retried, and one table of all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from airflow_provider_portkey.batch.outcome_columns import OUTCOME_COLUMNS
from airflow_provider_portkey.batch.rounds import read_paths
from airflow_provider_portkey.exceptions import (
    PortkeyBatchRequestsFailedError,
    PortkeyInvalidArgumentError,
    PortkeyLineInvalidError,
    PortkeyPathError,
)
from airflow_provider_portkey.export.atomic import file_path
from airflow_provider_portkey.export.writer import open_writer
from airflow_provider_portkey.operators.batch_input import PortkeyBatchInputOperator, PortkeyBatchRetryInputOperator
from airflow_provider_portkey.testing import fake_context
from airflow_provider_portkey.transfers.batch_output_to_object_storage import PortkeyBatchMergeOperator

NAMES = ["a", "b", "c", "d", "e", "f"]


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    """Two files of three requests each."""
    rows = [{"key": name, "n": number} for number, name in enumerate(NAMES)]
    given = {"path": str(tmp_path / "in.jsonl"), "rows": rows, "key_columns": ["key", "n"], "custom_id": "hash"}
    return PortkeyBatchInputOperator(task_id="make", model="m", messages="{{ key }}", max_requests=3, **given).execute(
        {}
    )


def id_of(inputs: list[str], name: str) -> str:
    for path in inputs:
        for line in Path(path.replace(".jsonl", ".keys.jsonl")).read_text().splitlines():
            if (found := json.loads(line))["keys"]["key"] == name:
                return str(found["custom_id"])
    raise KeyError(name)


@pytest.fixture
def table(tmp_path: Path, inputs: list[str]) -> Any:
    """Write a table of outcomes: of each name its status, or its status and the code of its error."""

    def write(name: str, outcomes: dict[str, Any], file_format: str = "parquet", **more: Any) -> str:
        path = tmp_path / f"{name}.{file_format}"
        with open_writer(file_path(str(path), None), columns=OUTCOME_COLUMNS, file_format=file_format) as writer:
            for key, found in outcomes.items():
                status, code = found if isinstance(found, tuple) else (found, None)
                row = {"custom_id": id_of(inputs, key), "status": status, "error_code": code, "text": f"{name} {key}"}
                writer.write({**row, "input_tokens": 2, "cost": 0.25, **more})
        return str(path)

    return write


def retry(tmp_path: Path, inputs: Any, outcomes: Any, **changes: Any) -> tuple[list[str], dict[str, Any]]:
    context: Any = fake_context()
    path = str(tmp_path / "next.jsonl")
    given = {"inputs": inputs, "outcomes": outcomes, "path": path, **changes}
    paths = PortkeyBatchRetryInputOperator(task_id="retry", **given).execute(context)
    return paths, context["ti"].xcoms["manifest"]


def keys(paths: list[str]) -> list[str]:
    lines = [line for path in paths for line in Path(path.replace(".jsonl", ".keys.jsonl")).read_text().splitlines()]
    return [json.loads(line)["keys"]["key"] for line in lines]


def merge(tmp_path: Path, inputs: Any, outcomes: Any, **changes: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    given = {"inputs": inputs, "outcomes": outcomes, "path": str(tmp_path / "final.parquet"), "max_failure_ratio": None}
    manifest = PortkeyBatchMergeOperator(task_id="merge", **(given | changes)).execute({})
    return pyarrow.parquet.read_table(manifest["uri"].removeprefix("file://")).to_pylist(), manifest


@pytest.mark.parametrize("file_format", ["parquet", "csv", "jsonl"])
def test_only_what_failed_is_retried_line_by_line(tmp_path: Path, inputs: Any, table: Any, file_format: str) -> None:
    outcomes = {
        "a": "succeeded",
        "b": ("failed", "429"),
        "c": "missing",
        "d": "invalid",
        "e": "expired",
        "f": "cancelled",
    }
    paths, manifest = retry(tmp_path, inputs, table("one", outcomes, file_format))
    assert keys(paths) == ["b", "c", "d", "e"]
    first = [line for path in inputs for line in Path(path).read_bytes().splitlines()]
    assert [line for path in paths for line in Path(path).read_bytes().splitlines()] == first[1:5]
    expected = {
        "requests": 6,
        "retried": 4,
        "retried_by_status": {"expired": 1, "failed": 1, "invalid": 1, "missing": 1},
    }
    assert expected.items() <= manifest.items()
    assert manifest["retried_by_error_code"] == {"429": 1}
    assert sum(manifest["status_counts"].values()) == 6


def test_codes_choose(tmp_path: Path, inputs: Any, table: Any) -> None:
    outcomes = {"a": ("failed", "429"), "b": ("failed", "filter"), "c": ("failed", "500"), "d": ("invalid", "schema")}
    path = table("one", outcomes)
    assert keys(retry(tmp_path, inputs, path, error_codes=["429"])[0]) == ["a", "d"]
    assert keys(retry(tmp_path, inputs, path, excluded_error_codes="filter, schema")[0]) == ["a", "c"]
    assert keys(retry(tmp_path, inputs, path, retry_statuses=["invalid"])[0]) == ["d"]


def test_requests_without_a_table_are_left_alone(tmp_path: Path, inputs: Any, table: Any) -> None:
    """Their batch may be active: submitted again, they would be paid twice."""
    path = table("one", {"a": "failed", "b": "succeeded"})
    paths, manifest = retry(tmp_path, inputs, [path])
    assert (keys(paths), manifest["status_counts"]["unknown"]) == (["a"], 4)
    assert keys(retry(tmp_path, inputs, [path], retry_statuses=["unknown"])[0]) == ["c", "d", "e", "f"]


def test_nothing_left_is_an_empty_list(tmp_path: Path, inputs: Any, table: Any) -> None:
    paths, manifest = retry(tmp_path, inputs, table("one", dict.fromkeys(NAMES, "succeeded")))
    assert (paths, manifest["retried"], manifest["parts"]) == ([], 0, [])
    assert list(tmp_path.glob("next*")) == []


def test_a_later_round_judges_by_all_rounds(tmp_path: Path, inputs: Any, table: Any) -> None:
    tables = [
        table(
            "one", {"a": "failed", "b": "failed", "c": "succeeded", "d": "missing", "e": "succeeded", "f": "succeeded"}
        ),
        table("two", {"a": "succeeded", "b": ("failed", "x"), "d": "missing", "e": "failed"}),
    ]
    assert keys(retry(tmp_path, inputs, tables)[0]) == ["b", "d"]


def test_the_parts_of_a_retry_keep_the_limits(tmp_path: Path, inputs: Any, table: Any) -> None:
    paths, _ = retry(tmp_path, inputs, table("one", dict.fromkeys(NAMES, "failed")), max_requests=4)
    assert [len(keys([path])) for path in paths] == [4, 2]


def test_the_latest_success_counts_or_else_the_latest_outcome(tmp_path: Path, inputs: Any, table: Any) -> None:
    tables = [
        table("one", {"a": "failed", "b": "failed", "c": "succeeded", "d": "missing"}),
        table("two", {"a": "succeeded", "b": ("invalid", "x"), "c": "failed", "d": "succeeded"}),
        table("three", {"a": "failed", "d": "succeeded"}),
    ]
    rows, manifest = merge(tmp_path, inputs, tables)
    assert [(row["key"], row["n"]) for row in rows] == [(name, number) for number, name in enumerate(NAMES)]
    assert [row["text"] for row in rows] == ["two a", "two b", "one c", "three d", None, None]
    assert [row["status"] for row in rows] == ["succeeded", "invalid", "succeeded", "succeeded", "missing", "missing"]
    counts = {"requests": 6, "succeeded": 3, "invalid": 1, "missing": 2, "unknown": 2, "unexpected": 0}
    assert counts.items() <= manifest.items()
    assert manifest["usage"] == {"input_tokens": 20, "cost": 2.5}  # of all rounds
    assert [one["rows"] for one in manifest["tables"]] == [4, 4, 2]
    (invalid,) = pyarrow.parquet.read_table(tmp_path / "final.invalid.parquet").to_pylist()
    assert invalid == rows[1]


@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
def test_tables_of_every_format_are_merged(tmp_path: Path, inputs: Any, table: Any, file_format: str) -> None:
    rows, _ = merge(tmp_path, inputs, table("one", dict.fromkeys(NAMES, "succeeded"), file_format, total_tokens=3))
    assert {(row["status"], row["total_tokens"], row["cost"], row["error_code"]) for row in rows} == {
        ("succeeded", 3, 0.25, None)
    }


def test_an_outcome_of_no_request_is_unexpected(tmp_path: Path, inputs: Any, table: Any) -> None:
    path = table("one", dict.fromkeys(NAMES, "succeeded"))
    rows, manifest = merge(tmp_path, inputs[:1], path)
    assert (len(rows), manifest["unexpected"]) == (3, 3)


def test_too_many_failures_fail_the_merge_once_the_table_is_there(tmp_path: Path, inputs: Any, table: Any) -> None:
    path = table("one", {"a": "succeeded"})
    with pytest.raises(PortkeyBatchRequestsFailedError, match=r"All rounds: of 6 requests 1 succeeded.*5 missing"):
        merge(tmp_path, inputs, path, max_failure_ratio=0.5)
    assert (tmp_path / "final.parquet").exists()


def test_an_input_that_something_else_made_has_ids_only(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text('{"custom_id": "x"}\n\n{"custom_id": "y"}')
    (tmp_path / "t.jsonl").write_text(
        '{"custom_id": "x", "status": "failed"}\n{"custom_id": "y", "status": "missing"}\n'
    )
    paths, _ = retry(tmp_path, str(path), str(tmp_path / "t.jsonl"))
    assert Path(paths[0]).read_text() == '{"custom_id": "x"}\n{"custom_id": "y"}\n'
    rows, _ = merge(tmp_path, str(path), str(tmp_path / "t.jsonl"))
    assert [row["custom_id"] for row in rows] == ["x", "y"]


class ArgNotSet:
    """What Airflow 3.0 has for a mapped task instance without a result."""


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a", ["a"]),
        ({"uri": "file:///a"}, ["file:///a"]),
        ({"uri": "s3://b/a", "path": "s3://some_conn@b/a"}, ["s3://some_conn@b/a"]),
        (["a", {"uri": "b"}, None, [["c"], {"uri": "d"}]], ["a", "b", "c", "d"]),
        ('["a", {"uri": "b"}]', ["a", "b"]),
        ([], []),
        ([ArgNotSet(), "a"], ["a"]),
        ((one for one in ["a"]), ["a"]),
    ],
)
def test_paths_are_taken_in_every_form(value: Any, expected: list[str]) -> None:
    assert read_paths("outcomes", value) == expected


@pytest.mark.parametrize("value", [None, 7, b"a", [7], [{}], [""], ["a", "a"], "[1"])
def test_what_is_no_path_is_named(value: Any) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=r"^outcomes"):
        read_paths("outcomes", value)


def test_files_that_cannot_be_used(tmp_path: Path, inputs: Any, table: Any) -> None:
    (tmp_path / "t.jsonl").write_text("{}\n")
    with pytest.raises(PortkeyLineInvalidError, match="row 1 has no custom_id or no status"):
        retry(tmp_path, inputs, str(tmp_path / "t.jsonl"))
    with pytest.raises(PortkeyPathError, match="nowhere"):
        merge(tmp_path, inputs, str(tmp_path / "nowhere.parquet"))
    with pytest.raises(PortkeyPathError, match="nowhere"):
        merge(tmp_path, str(tmp_path / "nowhere.jsonl"), table("one", {}))
    with pytest.raises(PortkeyInvalidArgumentError, match=r"^outcomes="):
        retry(tmp_path, inputs, "table.xml")
    failed = table("two", {"a": "failed"})
    other = Path(inputs[0].replace(".jsonl", ".keys.jsonl"))
    other.write_text(Path(inputs[1].replace(".jsonl", ".keys.jsonl")).read_text())
    with pytest.raises(PortkeyLineInvalidError, match="where"):
        retry(tmp_path, inputs, failed)
