from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_portkey.exceptions import PortkeyBatchRequestsFailedError
from airflow_provider_portkey.export import openlineage
from airflow_provider_portkey.export.openlineage import operator_lineage, report_lineage
from airflow_provider_portkey.jobs import FINE_TUNING_EVENTS
from airflow_provider_portkey.operators.batch_input import PortkeyBatchInputOperator, PortkeyBatchRetryInputOperator
from airflow_provider_portkey.operators.report import PortkeyBatchReportOperator
from airflow_provider_portkey.testing import PortkeyMockServer
from airflow_provider_portkey.transfers.batch_output_to_object_storage import (
    PortkeyBatchMergeOperator,
    PortkeyBatchOutputToObjectStorageOperator,
)
from airflow_provider_portkey.transfers.lists_to_object_storage import (
    PortkeyListToObjectStorageOperator,
    PortkeyResponseItemsToObjectStorageOperator,
    PortkeyThreadRunsToObjectStorageOperator,
)
from airflow_provider_portkey.transfers.logs_to_object_storage import PortkeyLogsToObjectStorageOperator
from airflow_provider_portkey.transfers.steps_to_object_storage import (
    PortkeyRunStepsToObjectStorageOperator,
    PortkeyThreadStepsToObjectStorageOperator,
)

WINDOW = {"window_start": "2026-07-25T00:00:00Z", "window_end": "2026-07-25T01:00:00Z"}


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The URIs that were reported to Airflow's lineage API."""
    found: dict[str, list[str]] = {"add_input_asset": [], "add_output_asset": []}
    monkeypatch.setattr(openlineage, "_report", lambda add, context, uri: found[add].append(uri))
    return found


@pytest.fixture
def mock_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[PortkeyMockServer]:
    with PortkeyMockServer(job_seconds=0) as mock_server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(mock_server.connection()))
        mock_server.add_run(thread_id="thread/1", run_id="run_1", statuses="completed", steps=7)
        mock_server.add_response(response_id="resp_1", input=3, output=2, statuses="completed")
        mock_server.add_batch(batch_id="batch_1", count=3, failing=["request-1"], statuses="completed")
        mock_server.add_fine_tuning_job(job_id="ft_1", events=3, checkpoints=1, statuses="succeeded")
        mock_server.add_logs(5, WINDOW["window_start"], WINDOW["window_end"])
        yield mock_server


@pytest.mark.parametrize(
    ("cls", "arguments", "source", "rows"),
    [
        (
            PortkeyRunStepsToObjectStorageOperator,
            {"thread_id": "thread/1", "run_id": "run_1"},
            "threads/thread%2F1/runs/run_1/steps",
            7,
        ),
        (PortkeyResponseItemsToObjectStorageOperator, {"response_id": "resp_1"}, "responses/resp_1", 2),
        (
            PortkeyListToObjectStorageOperator,
            {"list_spec": FINE_TUNING_EVENTS, "ids": {"fine_tuning_job_id": "ft_1"}},
            "fine_tuning/jobs/ft_1/events",
            3,
        ),
        (PortkeyThreadRunsToObjectStorageOperator, {"thread_id": "thread/1"}, "threads/thread%2F1/runs", 1),
        (PortkeyThreadRunsToObjectStorageOperator, {"thread_ids": ["thread/1"]}, "threads", 1),
        (PortkeyLogsToObjectStorageOperator, WINDOW, "logs", 5),
    ],
)
def test_an_export_reports_what_it_read_and_wrote(
    mock_server: PortkeyMockServer,
    reported: dict[str, list[str]],
    tmp_path: Path,
    cls: type[Any],
    arguments: dict[str, Any],
    source: str,
    rows: int,
) -> None:
    task = cls(task_id="keep", path=str(tmp_path / "rows"), **arguments)
    assert task.get_openlineage_facets_on_complete(None) is None
    task.execute({})

    host = mock_server.url.removeprefix("http://").removesuffix("/v1")
    assert reported == {
        "add_input_asset": [f"portkey://{host}/{source}"],
        "add_output_asset": [f"file://{tmp_path}/rows"],
    }
    found = task.get_openlineage_facets_on_complete(None)
    assert [(one.namespace, one.name) for one in found.inputs] == [(f"portkey://{host}", source)]
    (output,) = found.outputs
    assert (output.namespace, output.name) == ("file", f"{tmp_path}/rows")
    statistics = output.outputFacets["outputStatistics"]
    assert (statistics.rowCount, statistics.size) == (rows, (tmp_path / "rows").stat().st_size)
    assert "id" in {one.name for one in output.facets["schema"].fields}


def test_a_folder_of_many_threads_is_one_output(
    mock_server: PortkeyMockServer, reported: dict[str, list[str]], tmp_path: Path
) -> None:
    for number in range(3):
        mock_server.add_run(
            thread_id=f"t{number}", run_id=f"r{number}", statuses="completed", steps=2, created_at=1_784_937_700
        )
    task = PortkeyThreadStepsToObjectStorageOperator(
        task_id="keep", thread_ids=["t0", "t1", "t2"], path=str(tmp_path), **WINDOW
    )
    manifest = task.execute({})

    assert manifest["rows"] == 6
    assert reported["add_output_asset"] == [manifest["uri"]]
    assert [one.rpartition("/")[2] for one in reported["add_input_asset"]] == ["threads"]
    (output,) = task.get_openlineage_facets_on_complete(None).outputs
    assert output.outputFacets["outputStatistics"].rowCount == 6


def test_a_batch_that_fails_its_task_has_its_lineage_all_the_same(
    mock_server: PortkeyMockServer, reported: dict[str, list[str]], tmp_path: Path
) -> None:
    requests = [{"custom_id": f"request-{number}"} for number in range(3)]
    (tmp_path / "in").write_text("".join(json.dumps(request) + "\n" for request in requests))
    paths = {name: str(tmp_path / name.removesuffix("_path")) for name in ("path", "error_path", "input_path")}
    paths["input_path"] = str(tmp_path / "in")
    task = PortkeyBatchOutputToObjectStorageOperator(
        task_id="keep", batch_id="batch_1", max_failure_ratio=0, file_format="csv", **paths
    )
    with pytest.raises(PortkeyBatchRequestsFailedError) as failed:
        task.execute({})

    assert reported["add_output_asset"] == [f"file://{tmp_path}/path", f"file://{tmp_path}/error"]
    assert reported["add_input_asset"][1:] == [f"file://{tmp_path}/in"]
    found = task.get_openlineage_facets_on_complete(None)
    assert [one.name for one in found.inputs] == ["batches/batch_1/output", f"{tmp_path}/in"]
    assert [one.outputFacets["outputStatistics"].rowCount for one in found.outputs] == [
        failed.value.manifest["rows"],
        failed.value.manifest["error_rows"],
    ]


def test_tables_in_and_tables_out_are_datasets(
    mock_server: PortkeyMockServer, reported: dict[str, list[str]], tmp_path: Path
) -> None:
    def run(task: Any) -> tuple[Any, list[str], list[tuple[str, int | None]]]:
        """The result of a task, and the inputs and outputs of its lineage, by name and with rows."""
        reported["add_output_asset"].clear()
        result = task.execute({})
        found = task.get_openlineage_facets_on_complete(None)
        inputs = [Path(one.name).name for one in found.inputs]
        outputs = [(one.name, one.outputFacets["outputStatistics"].rowCount) for one in found.outputs]
        assert reported["add_output_asset"] == [f"file://{name}" for name, _ in outputs]
        return result, inputs, [(Path(name).name, rows) for name, rows in outputs]

    rows = tmp_path / "rows.csv"
    rows.write_text("key\n" + "".join(f"request-00000{number}\n" for number in (1, 2, 3)))
    make = {"path": str(tmp_path / "in.jsonl"), "key_columns": ["key"], "model": "m", "messages": "Why?"}
    inputs, read, written = run(PortkeyBatchInputOperator(task_id="t", rows_path=str(rows), max_requests=2, **make))
    assert (read, written) == (["rows.csv"], [("in-00001.jsonl", 2), ("in-00002.jsonl", 1)])
    table = tmp_path / "table.jsonl"
    outcomes = [{"custom_id": f"request-00000{number}", "status": "invalid"} for number in (1, 2)]
    table.write_text("".join(json.dumps(row) + "\n" for row in outcomes))
    rounds = {"inputs": inputs, "outcomes": [str(table)]}
    sources = ["in-00001.jsonl", "in-00002.jsonl", "table.jsonl"]
    assert run(PortkeyBatchRetryInputOperator(task_id="t", path=str(tmp_path / "again.jsonl"), **rounds))[1:] == (
        sources,
        [("again-00001.jsonl", 2)],
    )
    nothing = {"retry_statuses": ["failed"], "path": str(tmp_path / "none.jsonl")}
    assert run(PortkeyBatchRetryInputOperator(task_id="t", **nothing, **rounds)) == ([], sources, [])
    merge = PortkeyBatchMergeOperator(task_id="t", path=str(tmp_path / "all.csv"), max_failure_ratio=None, **rounds)
    assert run(merge)[1:] == (sources, [("all.csv", 3), ("all.invalid.csv", None)])
    page = {"batch_id": "batch_1", "output_path": str(table), "path": str(tmp_path / "page.html")}
    assert run(PortkeyBatchReportOperator(task_id="t", **page))[1:] == (["table.jsonl"], [("page.html", 2)])


@pytest.mark.parametrize(
    ("uri", "namespace", "name"),
    [
        ("s3://bucket/a/rows.csv", "s3://bucket", "a/rows.csv"),
        ("s3a://bucket/rows", "s3://bucket", "rows"),
        ("gcs://bucket/rows", "gs://bucket", "rows"),
        ("file:///data/a b?c#d/rows", "file", "/data/a b?c#d/rows"),
        ("portkey://host:8787/logs", "portkey://host:8787", "logs"),
    ],
)
def test_datasets_are_named_as_openlineage_names_them(uri: str, namespace: str, name: str) -> None:
    manifest = {"uri": uri, "rows": 1, "bytes": 2, "format": "jsonl"}
    (output,) = operator_lineage([], manifest, {}).outputs

    assert (output.namespace, output.name) == (namespace, name)


@pytest.mark.parametrize(
    ("file_format", "types"),
    [
        ("jsonl", {"id": "string", "at": "int64", "details": "json", "cost": None, "ok": "boolean"}),
        (
            "csv",
            {
                "id": "string",
                "at": "int64",
                "details": "string",
                "cost": None,
                "ok": "boolean",
                "other_fields": "string",
            },
        ),
    ],
)
def test_the_schema_is_that_of_the_file(file_format: str, types: dict[str, str | None]) -> None:
    manifest = {"uri": "s3://bucket/rows", "rows": 1, "bytes": 2, "format": file_format}
    columns = {"id": "text", "at": "integer", "details": "json", "cost": "", "ok": "boolean"}
    (output,) = operator_lineage([], manifest, columns).outputs

    assert {one.name: one.type for one in output.facets["schema"].fields} == types


def test_without_airflows_provider_there_is_nothing_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "airflow.providers.openlineage.extractors", None)

    assert operator_lineage([], {"uri": "s3://b/r", "rows": 1, "bytes": 1, "format": "csv"}, {}) is None


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Airflow's own collector, which it only makes where something reads it."""
    from airflow.providers.common.compat.lineage import hook as compat

    try:
        from airflow.sdk.lineage import HookLineageCollector
    except ImportError:  # before Airflow 3.2
        from airflow.lineage.hook import HookLineageCollector
    one = HookLineageCollector()
    name = "airflow.providers.common.compat.sdk.get_hook_lineage_collector"
    monkeypatch.setattr(name, lambda: one, raising=False)
    return compat.get_hook_lineage_collector()


def uris(collector: Any) -> tuple[list[str], list[str]]:
    found = collector.collected_assets
    return [one.asset.uri for one in found.inputs], [one.asset.uri for one in found.outputs]


def test_what_was_read_and_written_reaches_airflow(collector: Any) -> None:
    report_lineage(
        object(), inputs=["portkey://host/batches/b"], outputs=["file:///data/rows.jsonl", "s3://bucket/errors"]
    )

    assert uris(collector) == (["portkey://host/batches/b"], ["file:///data/rows.jsonl", "s3://bucket/errors"])


def test_lineage_that_cannot_be_reported_fails_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def add_output_asset(**_: Any) -> None:
        raise ValueError("no such asset")

    monkeypatch.setattr(
        "airflow.providers.common.compat.lineage.hook.get_hook_lineage_collector",
        lambda: SimpleNamespace(add_output_asset=add_output_asset),
    )
    with caplog.at_level(logging.WARNING):
        report_lineage(object(), outputs=["file:///data/rows"])

    assert "file:///data/rows is missing from the lineage: no such asset" in caplog.text
