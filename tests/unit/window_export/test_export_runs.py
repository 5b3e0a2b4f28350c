"""The runs of a window beside their steps."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.dataset
import pyarrow.parquet
import pytest

from airflow_provider_portkey import exceptions
from airflow_provider_portkey.jobs import RUNS
from airflow_provider_portkey.jobs.list_spec import OTHER_FIELDS
from airflow_provider_portkey.testing import AssetStateStore, PortkeyMockServer

LATE = [("in_progress", 0), ("completed", 86_400)]
#: Every field of Portkey's reference of the list of runs, and two that nobody declared.
WHOLE = {
    "required_action": {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": [{"id": "call_1"}]}},
    "last_error": {"code": "server_error", "message": "Broken."},
    "expires_at": 1_763_726_400,
    "started_at": 1_763_726_401,
    "cancelled_at": 1_763_726_402,
    "failed_at": 1_763_726_403,
    "completed_at": 1_763_726_404,
    "incomplete_details": {"reason": "max_completion_tokens"},
    "model": "gpt-4o",
    "instructions": 'Be brief. \u00e9\U0001f600\n"quoted"',
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    "metadata": {"team": "data"},
    "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7, "cost": 0.25},
    "temperature": 0.7,
    "top_p": 1,
    "max_prompt_tokens": 257,
    "max_completion_tokens": 258,
    "truncation_strategy": {"type": "last_messages", "last_messages": 2},
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "parallel_tool_calls": False,
    "response_format": "auto",
    "new_text": "unknown",
    "new_object": {"deep": [1, None]},
}


def run_rows(nights: Any, path: Path, night: int = 0) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = nights.rows(nights.folder(path, night, kind="runs"))
    return rows


def test_runs_are_written_whole_beside_their_steps(tmp_path: Path, nights: Any, add: Any) -> None:
    add("older", night=-1)
    add("first", hour=12)
    add("second", hour=13, statuses="failed", steps=1)
    add("third", hour=14, steps=0)
    add("other", thread_id="thread/2")

    manifest = nights.export(tmp_path, thread_ids=["thread_1", "thread/2"], include_runs=True)

    lines = (nights.folder(tmp_path, kind="runs") / "thread_1.jsonl").read_text().splitlines()
    rows = list(map(json.loads, lines))
    listed = {run["id"]: run for run in nights.operator(tmp_path).hook.iter_runs("thread_1")}
    assert rows == [listed["first"], listed["second"], listed["third"]]
    assert {"instructions", "tools", "usage", "last_error"} <= rows[0].keys()
    assert {step["run_id"] for step in nights.rows(tmp_path / "steps")} == {"first", "second", "other"}
    files = {path.name: path.read_bytes() for path in nights.folder(tmp_path, kind="runs").glob("*.jsonl")}
    digest = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items()))
    assert {name: value for name, value in manifest.items() if name.startswith("runs_")} == {
        "runs_uri": f"file://{nights.folder(tmp_path, kind='runs')}",
        "runs_path": str(nights.folder(tmp_path, kind="runs")),
        "runs_files": 2,
        "runs_rows": 4,
        "runs_bytes": sum(map(len, files.values())),
        "runs_sha256": hashlib.sha256(digest.encode()).hexdigest(),
        "runs_non_finite_values": 0,
    }
    assert manifest["uri"] == f"file://{nights.folder(tmp_path, kind='steps')}"
    assert (manifest["files"], manifest["rows"]) == (2, 5)
    assert manifest["status_counts"] == {"completed": 3, "failed": 1}
    tokens = Counter[str]()
    for row in (*rows, *nights.rows(tmp_path / "runs")[:1]):
        tokens.update(row["usage"] or {})
    assert manifest["usage"] == {name: tokens[name] for name in manifest["usage"]}


def test_runs_cost_no_request_more(mock_server: PortkeyMockServer, tmp_path: Path, nights: Any, add: Any) -> None:
    for number in range(3):
        add(f"run_{number}", hour=number)
    nights.export(tmp_path / "steps")
    without = len(mock_server.requests)

    nights.export(tmp_path / "both", include_runs=True)

    assert len(mock_server.requests) == 2 * without


@pytest.mark.parametrize("file_format", ["jsonl", "json", "csv", "parquet"])
@pytest.mark.parametrize("run", [WHOLE, dict.fromkeys(WHOLE)], ids=["every field", "every field null"])
def test_every_field_arrives_in_every_format(
    tmp_path: Path, file_format: str, run: dict[str, Any], nights: Any, add: Any
) -> None:
    add("run_1", fields=run, steps=0)
    (sent,) = nights.operator(tmp_path).hook.iter_runs("thread_1")
    assert run.items() <= sent.items()

    nights.export(tmp_path, include_runs=True, file_format=file_format)

    (file,) = nights.folder(tmp_path, kind="runs").glob(f"thread_1.{file_format}")
    if file_format in ("json", "jsonl"):
        content = file.read_text()
        assert (json.loads(content) if file_format == "json" else [json.loads(content)]) == [sent]
        return
    if file_format == "parquet":
        (row,) = pyarrow.parquet.read_table(file).to_pylist()
    else:
        with file.open(newline="") as stream:
            (row,) = [{name: value or None for name, value in each.items()} for each in csv.DictReader(stream)]
    others = json.loads(row.pop(OTHER_FIELDS) or "{}")
    assert row.keys() == RUNS.columns.keys()
    for name, value in sent.items():
        if name not in RUNS.columns:
            assert others[name] == value
        elif (
            value is None or RUNS.columns[name] == "text" or (RUNS.columns[name] != "json" and file_format == "parquet")
        ):
            assert row[name] == value
        else:
            assert json.loads(row[name]) == value


def test_a_run_that_is_carried_over_is_in_the_window_that_exports_it_as_it_is_then(
    clock: Any, tmp_path: Path, context: dict[str, Any], nights: Any, add: Any
) -> None:
    add("done")
    add("late", hour=23.9, statuses=[("in_progress", 0), ("completed", 80_000)])
    first = nights.export(tmp_path, context=context, include_runs=True)
    clock.now += 86_400
    second = nights.export(tmp_path, night=1, context=context, include_runs=True)

    assert [(row["id"], row["status"]) for row in run_rows(nights, tmp_path)] == [("done", "completed")]
    assert [(row["id"], row["status"]) for row in run_rows(nights, tmp_path, 1)] == [("late", "completed")]
    assert run_rows(nights, tmp_path, 1)[0]["completed_at"]
    assert (first["status_counts"], second["status_counts"]) == ({"completed": 1}, {"completed": 1})
    before = nights.files(tmp_path)
    for night in (1, 0):
        nights.export(tmp_path, night=night, context=context, include_runs=True)
    assert nights.files(tmp_path) == before


def test_a_run_that_is_included_unfinished_is_written_as_it_is(tmp_path: Path, nights: Any, add: Any) -> None:
    add("late", statuses="in_progress")

    manifest = nights.export(tmp_path, include_runs=True, on_unfinished="include")

    assert [row["status"] for row in run_rows(nights, tmp_path)] == ["in_progress"]
    assert manifest["status_counts"] == {"in_progress": 1}


@pytest.mark.parametrize(("file_format", "compression"), [("jsonl", "gzip"), ("csv", None), ("parquet", "zstd")])
def test_each_format_gives_the_same_bytes_again_and_nothing_of_another_stays(
    tmp_path: Path, file_format: str, compression: str | None, nights: Any, add: Any
) -> None:
    add("run_1")
    arguments = {"file_format": file_format, "compression": compression, "include_runs": True}
    nights.export(tmp_path, include_runs=True)
    nights.export(tmp_path, **arguments)
    first = nights.files(tmp_path)

    nights.export(tmp_path, **arguments)

    assert nights.files(tmp_path) == first
    assert len(first) == 4
    manifests = {content for name, content in first.items() if name.endswith("_manifest.json")}
    assert len(manifests) == 1


def test_readers_of_partitions_read_steps_and_runs_apart_and_join_them(tmp_path: Path, nights: Any, add: Any) -> None:
    add("run_1", steps=3)
    add("run_2", night=-1, steps=4, thread_id="_hidden")
    for night in (-1, 0):
        nights.export(
            tmp_path, night=night, thread_ids=["thread_1", "_hidden"], file_format="parquet", include_runs=True
        )

    def read(kind: str) -> Any:
        return pyarrow.dataset.dataset(tmp_path / kind, format="parquet", partitioning="hive").to_table()

    runs, steps = read("runs"), read("steps")
    assert (runs.num_rows, steps.num_rows) == (2, 7)
    joined = steps.select(["run_id"]).join(
        runs.select(["id", "status", "window_start"]).rename_columns(["run_id", "run_status", "window"]), "run_id"
    )
    assert Counter(joined.column("run_status").to_pylist()) == {"completed": 7}
    assert Counter(joined.column("window").to_pylist()) == {"20251121T000000Z": 3, "20251120T000000Z": 4}


def test_a_thread_that_fails_leaves_neither_file_and_keeps_both_earlier_ones(
    mock_server: PortkeyMockServer, tmp_path: Path, nights: Any, add: Any
) -> None:
    for number in (1, 2):
        add(f"run_{number}", thread_id=f"thread_{number}")
        add(f"more_{number}", thread_id=f"thread_{number}", hour=13)
    threads = ["thread_1", "thread_2"]
    mock_server.fault(status=404, path="*/runs/more_2/steps")
    with pytest.raises(exceptions.PortkeyThreadsFailedError):
        nights.export(tmp_path, thread_ids=threads, include_runs=True)
    assert {Path(name).name for name in nights.files(tmp_path)} == {"thread_1.jsonl"}

    nights.export(tmp_path, thread_ids=threads, include_runs=True)
    before = nights.files(tmp_path)
    mock_server.fault(status=404, path="*/runs/more_2/steps")
    with pytest.raises(exceptions.PortkeyThreadsFailedError):
        nights.export(tmp_path, thread_ids=threads, include_runs=True)
    assert nights.files(tmp_path) == before


@pytest.mark.parametrize("first", [True, False])
def test_one_window_has_one_layout(tmp_path: Path, first: bool, nights: Any, add: Any) -> None:
    add("run_1")
    nights.export(tmp_path, include_runs=first)
    before = nights.files(tmp_path)

    with pytest.raises(exceptions.PortkeyExportConflictError, match=f"include_runs={first}"):
        nights.export(tmp_path, include_runs=not first)

    assert nights.files(tmp_path) == before


def test_a_later_window_may_have_the_other_layout_and_takes_what_is_carried_over(
    clock: Any, tmp_path: Path, context: dict[str, Any], nights: Any, add: Any
) -> None:
    add("late", hour=23.9, statuses=LATE)
    nights.export(tmp_path, context=context)
    clock.now += 86_400

    assert nights.export(tmp_path, night=1, context=context, include_runs=True)["runs"]["carried_over"] == 1
    assert [row["id"] for row in run_rows(nights, tmp_path, 1)] == ["late"]


def test_an_object_store_gets_both(memory_store: str, nights: Any, add: Any) -> None:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    add("run_1")
    manifest = nights.export(f"{memory_store}/exports", include_runs=True, context={"a": AssetStateStore()})

    for uri, rows in ((manifest["uri"], 2), (manifest["runs_uri"], 1)):
        assert len((ObjectStoragePath(uri) / "thread_1.jsonl").read_bytes().splitlines()) == rows
        assert (ObjectStoragePath(uri) / "_manifest.json").exists()


def test_whether_runs_are_written_may_be_a_template(tmp_path: Path, nights: Any, add: Any) -> None:
    add("run_1")
    task = nights.operator(tmp_path, include_runs="{{ params.runs }}")
    task.include_runs = "True"

    assert task.execute({})["runs_rows"] == 1
