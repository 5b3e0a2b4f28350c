"""The report operators over real HTTP, against the mock server."""

from __future__ import annotations

import hashlib
import json

import pytest

from airflow_provider_portkey.exceptions import (
    PortkeyDestinationExistsError,
    PortkeyInvalidArgumentError,
    PortkeyPathError,
)
from airflow_provider_portkey.operators.report import PortkeyBatchReportOperator, PortkeyRunReportOperator
from airflow_provider_portkey.transfers.batch_output_to_object_storage import PortkeyBatchOutputToObjectStorageOperator


@pytest.fixture
def run(mock_server):
    mock_server.add_run(thread_id="thread_1", run_id="run_1", statuses="completed", steps=7)

    def run(path, **arguments):
        named = {"task_id": "report", "thread_id": "thread_1", "run_id": "run_1", "path": str(path)}
        return PortkeyRunReportOperator(**{**named, **arguments}).execute({})

    return run


def test_a_run_is_written_with_its_manifest(run, tmp_path):
    manifest = run(tmp_path / "run.html")
    page = (tmp_path / "run.html").read_bytes()
    assert (manifest["report"], manifest["format"], manifest["rows"]) == ("run", "html", 7)
    assert (manifest["bytes"], manifest["sha256"]) == (len(page), hashlib.sha256(page).hexdigest())
    assert (manifest["thread_id"], manifest["run_id"], manifest["run_status"]) == ("thread_1", "run_1", "completed")
    assert manifest["usage"]["total_tokens"] == 175
    assert b"Message of step 0 of run_1." in page


def test_the_same_run_has_the_same_bytes(run, tmp_path):
    assert run(tmp_path / "a.html")["sha256"] == run(tmp_path / "b.html")["sha256"]


def test_messages_are_left_out_on_request(run, tmp_path, mock_server):
    run(tmp_path / "run.html", include_messages=False)
    assert b"Message of step" not in (tmp_path / "run.html").read_bytes()
    assert not [request for request in mock_server.requests if request.path.endswith("/messages")]


def test_an_existing_page_stays_before_any_request(run, tmp_path, mock_server):
    (tmp_path / "run.html").write_text("old")
    before = len(mock_server.requests)
    with pytest.raises(PortkeyDestinationExistsError):
        run(tmp_path / "run.html", overwrite=False)
    assert ((tmp_path / "run.html").read_text(), len(mock_server.requests)) == ("old", before)


def test_a_run_that_fails_on_the_way_leaves_no_page(run, tmp_path, mock_server):
    mock_server.fault(status=400, path="*/steps", times=None)
    with pytest.raises(Exception, match="400"):
        run(tmp_path / "run.html")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value"), [("path", "folder/"), ("run_id", ""), ("thread_id", ".."), ("include_messages", "perhaps")]
)
def test_a_wrong_parameter_is_named(run, name, value):
    with pytest.raises(PortkeyInvalidArgumentError, match=f"^{name}="):
        run(**{"path": "/tmp/x.html", name: value})


@pytest.fixture
def batch(mock_server, tmp_path):
    """A batch whose outcomes are exported, and its report."""
    failing = {"request-000002": 500, "request-000003": {"code": "batch_expired", "message": "Too late."}}
    mock_server.add_batch(batch_id="batch_1", count=9, failing=failing, statuses="completed")

    def batch(**arguments):
        kind = arguments.pop("file_format", "jsonl")
        output, errors = tmp_path / f"output.{kind}", tmp_path / f"errors.{kind}"
        files = {"path": str(output), "error_path": str(errors), "file_format": kind, "max_failure_ratio": None}
        PortkeyBatchOutputToObjectStorageOperator(task_id="export", batch_id="batch_1", **files).execute({})
        named = {"batch_id": "batch_1", "output_path": str(output), "error_path": str(errors)}
        path = {"path": str(tmp_path / "batch.html")}
        return PortkeyBatchReportOperator(task_id="report", **{**named, **path, **arguments}).execute({})

    return batch


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_a_batch_is_written_with_its_manifest(batch, tmp_path, file_format):
    manifest = batch(file_format=file_format)
    assert (manifest["report"], manifest["rows"], manifest["batch_status"]) == ("batch", 9, "completed")
    assert manifest["statuses"] == {"succeeded": 7, "failed": 1, "expired": 1}
    assert manifest["usage"] == {"input_tokens": 140, "output_tokens": 35, "total_tokens": 175}
    assert "Too late." in (tmp_path / "batch.html").read_text()


def test_a_table_of_outcomes_is_read(batch, tmp_path):
    rows = [{"custom_id": "r1", "status": "invalid", "error_message": "no age", "cost": 0.5, "input_tokens": 3}]
    (tmp_path / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    manifest = batch(output_path=str(tmp_path / "table.jsonl"), error_path=None)
    assert (manifest["statuses"], manifest["cost"]) == ({"invalid": 1}, 0.5)


def test_outcomes_that_are_not_there_are_an_error_that_names_the_file(batch, tmp_path):
    with pytest.raises(PortkeyPathError, match=r"absent\.jsonl cannot be read"):
        batch(output_path=str(tmp_path / "absent.jsonl"))
