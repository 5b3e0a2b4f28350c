"""Batches on the mock server over HTTP: created once whatever happens to the worker, exported whole, in any size."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_portkey.client.sync import PortkeyClient
from airflow_provider_portkey.exceptions import (
    PortkeyBadRequestError,
    PortkeyBatchInputInvalidError,
    PortkeyBatchRequestsFailedError,
    PortkeyRemoteJobFailedTransientlyError,
    PortkeyServerError,
    PortkeyUnreachableError,
)
from airflow_provider_portkey.hooks.portkey import PortkeyHook
from airflow_provider_portkey.operators.batch import PortkeyCreateBatchOperator
from airflow_provider_portkey.sensors.job import PortkeyBatchSensor
from airflow_provider_portkey.testing import PortkeyMockServer
from airflow_provider_portkey.transfers.batch_output_to_object_storage import PortkeyBatchOutputToObjectStorageOperator

ENDPOINT = "/v1/chat/completions"


@pytest.fixture
def mock_server(monkeypatch: pytest.MonkeyPatch):
    with PortkeyMockServer(job_seconds=0) as mock_server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(mock_server.connection()))
        monkeypatch.setattr("airflow_provider_portkey.tasks.wait.time.sleep", lambda seconds: None)
        monkeypatch.setattr("airflow_provider_portkey.client.downloads.time.sleep", lambda seconds: None)
        yield mock_server


@pytest.fixture
def input_path(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    with path.open("w") as file:
        for number in range(250):
            body = {"model": "m", "messages": [{"role": "user", "content": f"Question {number}?"}]}
            request = {"custom_id": f"q-{number}", "method": "POST", "url": ENDPOINT, "body": body}
            file.write(json.dumps(request) + "\n")
    return path


class FileStore:
    """A task state store that outlives the process."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, key: str) -> Any:
        return json.loads(self._path.read_text()).get(key) if self._path.exists() else None

    def set(self, key: str, value: Any) -> None:
        self._path.write_text(json.dumps({key: value}))


@pytest.fixture
def context(tmp_path: Path) -> dict[str, Any]:
    return {"ti": SimpleNamespace(max_tries=2, try_number=1), "task_state_store": FileStore(tmp_path / "state")}


def create(path: Path, context: dict[str, Any], **changes: Any) -> dict[str, Any]:
    arguments = {"input_path": str(path), "poke_interval": 0, "deferrable": False} | changes
    return PortkeyCreateBatchOperator(task_id="batch", **arguments).execute(context)


def export(batch: dict[str, Any], path: Path, **changes: Any) -> dict[str, Any]:
    arguments = {"batch_id": batch["id"], "path": str(path), "max_failure_ratio": None} | changes
    return PortkeyBatchOutputToObjectStorageOperator(task_id="output", **arguments).execute({})


def sent(mock_server: PortkeyMockServer, method: str, path: str) -> int:
    return sum((request.method, request.path) == (method, path) for request in mock_server.requests)


def assert_once(mock_server: PortkeyMockServer) -> None:
    assert (sent(mock_server, "POST", "/v1/files"), sent(mock_server, "POST", "/v1/batches")) == (1, 1)


@pytest.mark.parametrize("source", ["file", "portkey"])
def test_a_batch_is_created_waited_for_and_exported(mock_server, input_path, context, tmp_path, source):
    mock_server.plan("batches", failing={"q-3": 400, "q-4": 503}, missing=["q-7"], twice=["q-8"])

    batch = create(input_path, context, metadata={"team": "data"})

    assert (batch["status"], batch["metadata"]["team"]) == ("completed", "data")
    uploaded = b"".join(PortkeyHook().iter_file_content(batch["input_file_id"]))
    assert uploaded == input_path.read_bytes()
    output, errors = tmp_path / "out.jsonl", tmp_path / "err.jsonl"
    manifest = export(batch, output, error_path=str(errors), source=source)
    names = ("requests", "succeeded", "failed", "missing", "duplicate", "unexpected", "rows", "error_rows")
    assert [manifest[name] for name in names] == [250, 247, 2, 1, 1, 0, 247, 2]
    assert manifest["usage"]["total_tokens"] == 247 * 25
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert {row["custom_id"] for row in rows} == {f"q-{n}" for n in range(250)} - {"q-3", "q-4", "q-7"}
    with pytest.raises(PortkeyBatchRequestsFailedError, match=r"2 failed, 1 missing"):
        export(batch, output, source=source, max_failure_ratio=0)
    assert len(output.read_text().splitlines()) == 249


@pytest.mark.parametrize("status", ["expired", "cancelled"])
def test_a_batch_that_did_not_complete_is_exported_with_the_outcomes_that_it_has(mock_server, tmp_path, status):
    steps = ["in_progress", "cancelling", "cancelled"] if status == "cancelled" else ["in_progress", "expired"]
    batch = mock_server.add_batch(count=100, statuses=steps, advance="per_poll", partial=0.4)
    hook = PortkeyHook()
    while batch["status"] != status:
        batch = hook.get_batch(batch["id"])
    manifest = export(batch, tmp_path / "out.jsonl")
    done = batch["request_counts"]["completed"]
    assert done == 40 or status == "cancelled"
    assert (manifest["batch_status"], manifest["requests"], manifest["succeeded"]) == (status, 100, done)
    assert manifest["failed"] + manifest["missing"] == 100 - done


def test_bad_lines_never_reach_the_provider(mock_server, input_path, context):
    with input_path.open("a") as file:
        file.write("not JSON\n")
    with pytest.raises(PortkeyBatchInputInvalidError, match=r"1 of 251 lines.*Line 251 is no JSON"):
        create(input_path, context)
    assert mock_server.requests == []


def test_the_error_of_a_failed_batch_has_its_reason(mock_server, input_path, context):
    error = {"code": "token_limit_exceeded", "message": "Too many tokens are enqueued.", "line": None}
    mock_server.plan("batches", statuses=["validating", "failed"], advance="per_poll", errors=[error])
    with pytest.raises(PortkeyRemoteJobFailedTransientlyError, match=r"token_limit_exceeded: Too many tokens"):
        create(input_path, context)


def test_downloads_that_are_cut_are_resumed(mock_server, input_path, context, tmp_path):
    batch = create(input_path, context)
    whole = export(batch, tmp_path / "whole.jsonl")
    for after in (10, 1_000, 30_001):
        mock_server.fault(cut_after=after, path="*/content")
    assert export(batch, tmp_path / "cut.jsonl")["sha256"] == whole["sha256"]
    assert any("range" in request.headers for request in mock_server.requests)


def test_the_response_to_a_submission_is_lost_and_the_batch_found(mock_server, input_path, context):
    mock_server.fault(cut_after=5, method="POST", path="/v1/batches")
    with pytest.raises(PortkeyUnreachableError):
        create(input_path, context)
    assert create(input_path, context)["id"] == "batch_000001"
    assert_once(mock_server)


def test_a_submission_without_effect_is_repeated_after_a_search(mock_server, input_path, context):
    mock_server.fault(status=500, method="POST", path="/v1/batches")
    with pytest.raises(PortkeyServerError):
        create(input_path, context)
    assert create(input_path, context)["id"] == "batch_000001"
    assert sent(mock_server, "GET", "/v1/batches") == 3
    assert sent(mock_server, "POST", "/v1/files") == 1


def test_the_wait_continues_without_the_worker(mock_server, input_path, context):
    mock_server.plan("batches", statuses=["validating", "in_progress", "completed"], advance="per_poll")
    with pytest.raises(TaskDeferred) as deferred:
        create(input_path, context, deferrable=True)
    assert deferred.value.trigger.serialize()[1]["ids"] == {"batch_id": "batch_000001"}
    assert create(input_path, context)["status"] == "completed"
    assert_once(mock_server)


def run_until_killed(monkeypatch: pytest.MonkeyPatch, stage: str, path: Path, context: dict[str, Any]) -> None:
    """Run the task in a process of its own, which ends as if by SIGKILL at one stage."""
    when, name = stage.split()
    owner = PortkeyClient if name == "get" else PortkeyHook
    original = getattr(owner, name)

    def killed(*args: Any, **kwargs: Any) -> None:
        if when == "after":
            original(*args, **kwargs)
        os._exit(137)

    if child := os.fork():
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 137, f"it was never {stage}"
        return
    try:
        monkeypatch.setattr(owner, name, killed)
        create(path, context)
    finally:
        os._exit(1)


STAGES = [
    "before upload_batch_file",
    "after upload_batch_file",
    "before create_batch",
    "after create_batch",
    "before get",
    "after get",
]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("stages", [*[[stage] for stage in STAGES], STAGES], ids=", ".join)
def test_a_worker_that_is_killed_leaves_one_upload_and_one_batch(mock_server, input_path, context, monkeypatch, stages):
    mock_server.plan("batches", statuses=["validating", "in_progress", "in_progress", "completed"], advance="per_poll")
    for stage in stages:
        run_until_killed(monkeypatch, stage, input_path, context)
    assert create(input_path, context)["status"] == "completed"
    assert_once(mock_server)


LARGE = """
import json, sys
from airflow_provider_portkey.operators.batch import PortkeyCreateBatchOperator
from airflow_provider_portkey.transfers.batch_output_to_object_storage import PortkeyBatchOutputToObjectStorageOperator

def peak():
    status = open("/proc/self/status").read()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024

def run(name):
    create = PortkeyCreateBatchOperator(task_id="c", input_path=f"{folder}/{name}.jsonl", poke_interval=0.1)
    batch = create.execute({})
    return PortkeyBatchOutputToObjectStorageOperator(
        task_id="o",
        batch_id=batch["id"],
        path=f"{folder}/{name}.out.jsonl",
        error_path=f"{folder}/{name}.err.jsonl",
        max_failure_ratio=None,
    ).execute({})

folder = sys.argv[1]
run("small")
before = peak()
manifest = run("large")
print(json.dumps({"megabytes": peak() - before, "manifest": manifest}))
"""


@pytest.mark.slow
def test_two_hundred_thousand_requests_in_bounded_memory(mock_server, tmp_path):
    for name, count in (("small", 100), ("large", 200_000)):
        with (tmp_path / f"{name}.jsonl").open("w") as file:
            for number in range(count):
                body = {"model": "m", "messages": [{"role": "user", "content": "x" * 200}]}
                line = {"custom_id": f"q-{number}", "method": "POST", "url": ENDPOINT, "body": body}
                file.write(json.dumps(line) + "\n")
    failing = [f"q-{number}" for number in range(0, 200_000, 1_000)]
    mock_server.plan("batches", times=2, failing=failing, missing=["q-17"], twice=["q-18"])

    command = [sys.executable, "-c", LARGE, str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout.splitlines()[-1])
    names = ("requests", "succeeded", "failed", "missing", "duplicate", "unexpected", "rows", "error_rows")
    assert [measured["manifest"][name] for name in names] == [200_000, 199_799, 200, 1, 1, 0, 199_799, 200]
    assert measured["megabytes"] < 80, measured  # the files have 150


@pytest.mark.slow
def test_the_example_dag(mock_server, input_path, tmp_path, parse_dags):
    (dag,) = parse_dags(Path(__file__).parents[2] / "example_dags" / "portkey_batch.py").values()
    mock_server.plan("batches", failing=["q-3"])
    conf = {
        "input_path": str(input_path),
        "output_path": f"{tmp_path}/out.jsonl",
        "error_path": f"{tmp_path}/err.jsonl",
    }
    dag_run = dag.test(run_conf=conf)
    states = {task.task_id: task.state for task in dag_run.get_task_instances()}
    assert set(states.values()) == {"success"}, states
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 249
    assert len((tmp_path / "err.jsonl").read_text().splitlines()) == 1
    assert_once(mock_server)


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_batch_with_an_encoded_id_is_waited_for_exported_and_cancelled(mock_server, tmp_path, deferrable, caplog):
    batch_id = "arn%3Aaws%3Abedrock%3Aeu-west-1%3A111111111111%3Amodel-invocation-job%2F9x8y7z"
    statuses = ["submitted", "scheduled", "completed"]
    mock_server.add_batch(batch_id=batch_id, statuses=statuses, advance="per_poll", failing=["request-000002"])
    sensor = PortkeyBatchSensor(task_id="wait", batch_id=batch_id, poke_interval=0, deferrable=deferrable)
    if deferrable:
        with pytest.raises(TaskDeferred) as deferred:
            sensor.execute({})
        event = asyncio.run(anext(deferred.value.trigger.run())).payload
        batch = sensor.execute_complete({}, json.loads(json.dumps(event)))
    else:
        batch = sensor.execute({})
    assert (batch["id"], batch["status"]) == (batch_id, "completed")
    assert "does not know" not in caplog.text

    manifest = export(batch, tmp_path / "out.jsonl", max_failure_ratio=None)
    assert [manifest[name] for name in ("requests", "succeeded", "failed", "missing")] == [3, 2, 1, 0]
    with pytest.raises(PortkeyBadRequestError, match="completed"):
        PortkeyHook().cancel_batch(batch_id)
    assert not [request for request in mock_server.requests if "%25" in request.path]
