"""Exports to an S3 server over HTTP."""

from __future__ import annotations

import gc
import gzip
import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest
import requests

from airflow_provider_portkey.exceptions import (
    PortkeyDestinationExistsError,
    PortkeyPathError,
    PortkeyUnexpectedResponseError,
)
from airflow_provider_portkey.operators.batch import PortkeyBatchCheckOperator, PortkeyCreateBatchOperator
from airflow_provider_portkey.operators.batch_input import PortkeyBatchInputOperator, PortkeyBatchRetryInputOperator
from airflow_provider_portkey.operators.report import PortkeyRunReportOperator
from airflow_provider_portkey.testing import PortkeyMockServer, fake_context
from airflow_provider_portkey.transfers.batch_output_to_object_storage import (
    PortkeyBatchMergeOperator,
    PortkeyBatchOutputToObjectStorageOperator,
)
from airflow_provider_portkey.transfers.logs_to_object_storage import PortkeyLogsToObjectStorageOperator
from airflow_provider_portkey.transfers.steps_to_object_storage import (
    PortkeyRunStepsToObjectStorageOperator,
    PortkeyThreadStepsToObjectStorageOperator,
)
from tests.services import keys


@pytest.fixture
def mock_server(monkeypatch: pytest.MonkeyPatch):
    with PortkeyMockServer() as mock_server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(mock_server.connection()))
        mock_server.add_run(thread_id="thread_1", run_id="run_1", statuses="completed", steps=2_345)
        yield mock_server


def export(**changes) -> dict:
    arguments = {"thread_id": "thread_1", "run_id": "run_1", "path": "s3://exports/day/steps.jsonl.gz"}
    arguments |= {"object_storage_conn_id": "object_store", "compression": "gzip"}
    return PortkeyRunStepsToObjectStorageOperator(task_id="export", **(arguments | changes)).execute({})


def test_an_export_is_in_the_bucket(mock_server, s3):
    manifest = export()
    body = s3.get_object(Bucket="exports", Key="day/steps.jsonl.gz")["Body"].read()
    rows = [json.loads(line) for line in gzip.decompress(body).splitlines()]
    assert [row["id"] for row in rows] == [f"step_{number:06}" for number in range(1, 2_346)]
    assert (manifest["uri"], manifest["bytes"]) == ("s3://exports/day/steps.jsonl.gz", len(body))
    assert keys(s3) == ["day/steps.jsonl.gz"]


@pytest.mark.parametrize(
    "place",
    [
        {"path": "s3://exports/run.html", "object_storage_conn_id": "object_store"},
        {"path": "s3://object_store@exports/run.html"},
    ],
    ids=["argument", "address"],
)
def test_the_tab_reads_a_report_from_the_bucket_with_the_tasks_connection(mock_server, s3, place):
    server = pytest.importorskip("airflow_provider_portkey.report.server", reason="Airflow 3.1 has the tab")
    report = PortkeyRunReportOperator(task_id="report", thread_id="thread_1", run_id="run_1", **place)
    manifest = json.loads(json.dumps(report.execute({})))
    page = s3.get_object(Bucket="exports", Key="run.html")["Body"].read()
    assert server.read_report(manifest) == page
    s3.put_object(Bucket="exports", Key="run.html", Body=page.replace(b"run_1", b"run_2"))
    assert server.read_report(manifest) is None
    s3.delete_object(Bucket="exports", Key="run.html")
    assert server.read_report(manifest) is None


def test_no_file_is_written_where_the_steps_break_off(mock_server, s3):
    mock_server.fault(status=200, body="<html>Sign in</html>", content_type="text/html", path="*/steps", times=None)
    with pytest.raises(PortkeyUnexpectedResponseError):
        export()
    assert keys(s3) == []


def test_an_earlier_export_is_kept_without_overwrite(mock_server, s3):
    s3.put_object(Bucket="exports", Key="day/steps.jsonl.gz", Body=b"earlier")
    with pytest.raises(PortkeyDestinationExistsError):
        export(overwrite=False)
    assert mock_server.requests == []
    assert s3.get_object(Bucket="exports", Key="day/steps.jsonl.gz")["Body"].read() == b"earlier"


def test_an_earlier_export_is_replaced_with_overwrite(mock_server, s3):
    s3.put_object(Bucket="exports", Key="day/steps.jsonl.gz", Body=b"earlier")
    manifest = export()
    assert s3.head_object(Bucket="exports", Key="day/steps.jsonl.gz")["ContentLength"] == manifest["bytes"]


@pytest.fixture
def no_local_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file may be written on this machine."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a copy on this machine")

    monkeypatch.setattr("airflow_provider_portkey.export.object_store.part_file", refuse)


def write(*chunks: bytes, overwrite: bool = True):
    """Write an object, with a pause after each chunk; at last yield what was written."""
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_portkey.export.atomic import atomic_write

    with atomic_write(
        ObjectStoragePath("s3://exports/big.bin", conn_id="object_store"), overwrite=overwrite
    ) as written:
        for chunk in chunks:
            written.stream.write(chunk)
            yield
    yield written


MEBIBYTE = bytes(range(256)) * 4096


@pytest.mark.parametrize("mebibytes", [0, 1, 16, 17, 40])
def test_an_object_is_invisible_until_it_is_whole_and_takes_no_disk(s3, no_local_copy, mebibytes):
    steps = [(written, keys(s3)) for written in write(*[MEBIBYTE] * mebibytes)]
    written, _ = steps[-1]
    assert [seen for _, seen in steps] == [[]] * mebibytes + [["big.bin"]]
    body = s3.get_object(Bucket="exports", Key="big.bin")["Body"].read()
    assert body == MEBIBYTE * mebibytes
    assert (written.bytes, written.sha256) == (len(body), hashlib.sha256(body).hexdigest())
    assert s3.list_multipart_uploads(Bucket="exports").get("Uploads", []) == []


@pytest.mark.parametrize("mebibytes", [1, 40])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, GeneratorExit])
def test_an_error_on_the_way_leaves_neither_an_object_nor_an_upload(s3, no_local_copy, mebibytes, error):
    s3.put_object(Bucket="exports", Key="big.bin", Body=b"earlier")
    writing = write(*[MEBIBYTE] * mebibytes, b"more")
    for _ in range(mebibytes):
        next(writing)
    if error is GeneratorExit:
        writing.close()
    else:
        with pytest.raises(error):
            writing.throw(error)
    del writing
    gc.collect()
    assert s3.get_object(Bucket="exports", Key="big.bin")["Body"].read() == b"earlier"
    assert s3.list_multipart_uploads(Bucket="exports").get("Uploads", []) == []


@pytest.mark.parametrize("mebibytes", [1, 40])
def test_an_object_that_appears_meanwhile_and_must_stay_is_kept(s3, no_local_copy, mebibytes):
    writing = write(*[MEBIBYTE] * mebibytes, overwrite=False)
    next(writing)
    s3.put_object(Bucket="exports", Key="big.bin", Body=b"of another process")
    with pytest.raises(PortkeyDestinationExistsError):
        list(writing)
    assert s3.get_object(Bucket="exports", Key="big.bin")["Body"].read() == b"of another process"
    assert s3.list_multipart_uploads(Bucket="exports").get("Uploads", []) == []


def test_a_bucket_that_is_not_there_is_named(mock_server, s3):
    with pytest.raises(PortkeyPathError, match=r"s3://.*nowhere/steps.jsonl cannot be written: .*does not exist"):
        export(path="s3://nowhere/steps.jsonl")


def test_a_repeated_export_of_windows_writes_the_same_files(mock_server, s3):
    """Runs that have not ended are carried over to the next window by way of the bucket, too."""
    s3.put_object(Bucket="exports", Key="threads.txt", Body=b"thread/1\n\nthread_2\n")
    night = datetime(2026, 11, 1, tzinfo=UTC)

    def export_night(number: int, **arguments) -> dict:
        return PortkeyThreadStepsToObjectStorageOperator(
            task_id="export",
            thread_ids_path="s3://exports/threads.txt",
            window_start=night + timedelta(days=number),
            window_end=night + timedelta(days=number + 1),
            path="s3://exports/steps/",
            object_storage_conn_id="object_store",
            **arguments,
        ).execute({})

    def add(thread_id: str, run_id: str, hour: int, statuses) -> None:
        created_at = int((night + timedelta(hours=hour)).timestamp())
        run = {"thread_id": thread_id, "run_id": run_id, "created_at": created_at, "statuses": statuses}
        mock_server.add_run(**run, steps=3, advance="per_poll")

    add("thread/1", "run_1", 3, "completed")
    add("thread_2", "run_2", 23, ["in_progress", "completed"])
    first = export_night(0)
    # The first request returns the first status, the next one the second.
    run = f"{mock_server.url}/threads/thread_2/runs/run_2"
    requests.get(run, headers={"Authorization": "Bearer x"}, timeout=10)
    second = export_night(1)
    written = {key: s3.get_object(Bucket="exports", Key=key)["Body"].read() for key in keys(s3)}
    export_night(0, file_format="csv", compression="gzip")
    for number in (1, 0):
        export_night(number)

    assert (first["runs"]["skipped"], second["runs"]["carried_over"]) == (1, 1)
    assert {key: s3.get_object(Bucket="exports", Key=key)["Body"].read() for key in keys(s3)} == written
    assert sorted(written) == [
        "steps/_unfinished/window_end=20261102T000000Z.json",
        "steps/_unfinished/window_end=20261103T000000Z.json",
        "steps/window_start=20261101T000000Z/_manifest.json",
        "steps/window_start=20261101T000000Z/thread%2F1.jsonl",
        "steps/window_start=20261102T000000Z/_manifest.json",
        "steps/window_start=20261102T000000Z/thread_2.jsonl",
        "threads.txt",
    ]


def test_logs_in_partitions(mock_server, s3):
    mock_server.log_exports.settings(end_included=False)
    mock_server.add_logs(48, "2026-07-24T00:00:00Z", "2026-07-26T00:00:00Z")
    for _ in range(2):
        manifest = PortkeyLogsToObjectStorageOperator(
            task_id="logs",
            path="s3://exports/logs",
            object_storage_conn_id="object_store",
            window_start="2026-07-24T00:00:00Z",
            window_end="2026-07-26T00:00:00Z",
            file_format="parquet",
            partition_by="date",
            poke_interval=0.05,
        ).execute(fake_context())
        assert (manifest["uri"], manifest["rows"], manifest["files"]) == ("s3://exports/logs", 48, 2)
        name = "20260724T000000Z-20260726T000000Z.parquet"
        assert keys(s3) == [f"logs/date=2026-07-24/{name}", f"logs/date=2026-07-25/{name}"]


def test_the_gate_reads_the_file_of_a_manifest(s3):
    rows = [{"custom_id": "a", "status": "succeeded"}, {"custom_id": "b", "status": "failed"}]
    body = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())
    s3.put_object(Bucket="exports", Key="table.jsonl.gz", Body=body)
    figures = PortkeyBatchCheckOperator(
        task_id="check",
        manifest={"uri": "s3://exports/table.jsonl.gz", "format": "jsonl"},
        object_storage_conn_id="object_store",
        min_success_ratio=0.5,
    ).execute(fake_context())
    assert figures["status_counts"] == {"failed": 1, "succeeded": 1}


@pytest.mark.parametrize("file_format", ["parquet", "csv", "jsonl"])
def test_a_table_goes_through_batches_and_back(mock_server, s3, file_format):
    """Rows, requests, outcomes and the merged table are all in the bucket; a second round has what failed."""
    rows = "".join(f"{number},note {number}\n" for number in range(7))
    s3.put_object(Bucket="exports", Key="rows.csv.gz", Body=gzip.compress(f"id,note\n{rows}".encode()))
    at = {"object_storage_conn_id": "object_store"}
    first = PortkeyBatchInputOperator(
        task_id="make",
        rows_path="s3://exports/rows.csv.gz",
        path="s3://exports/requests.jsonl",
        key_columns=["id"],
        model="m",
        messages="{{ note }}",
        max_requests=4,
        **at,
    ).execute(fake_context())
    assert first == [f"s3://object_store@exports/requests-0000{part}.jsonl" for part in (1, 2)]
    mock_server.plan("batches", failing=["2"], seconds=0)
    mock_server.plan("batches", times=None, seconds=0)
    tables, paths = [], first
    for number in (1, 2):
        for part, path in enumerate(paths):
            batch = PortkeyCreateBatchOperator(task_id="create", input_path=path, wait_for_completion=False, **at)
            tables.append(
                PortkeyBatchOutputToObjectStorageOperator(
                    task_id="table",
                    batch_id=batch.execute(fake_context())["id"],
                    input_path=path,
                    path=f"s3://exports/outcomes-{number}-{part}.{file_format}",
                    layout="table",
                    file_format=file_format,
                    max_failure_ratio=None,
                    **at,
                ).execute(fake_context())
            )
        retry = {"inputs": first, "outcomes": tables, "path": f"s3://exports/retry-{number}.jsonl", **at}
        paths = PortkeyBatchRetryInputOperator(task_id="retry", **retry).execute(fake_context())
        assert len(paths) == 2 - number
    merged = {"inputs": first, "outcomes": tables, "path": "s3://exports/final.jsonl", "file_format": "jsonl", **at}
    manifest = PortkeyBatchMergeOperator(task_id="merge", **merged).execute(fake_context())
    assert (manifest["requests"], manifest["succeeded"]) == (7, 7)
    lines = s3.get_object(Bucket="exports", Key="final.jsonl")["Body"].read().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [str(number) for number in range(7)]
    assert "requests-00001.keys.jsonl" in keys(s3)
