"""Responses, fine-tuning jobs and a custom kind of job on the mock server over HTTP."""

from __future__ import annotations

import csv
import json
from itertools import pairwise

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_portkey.exceptions import PortkeyRemoteJobFailedTransientlyError, PortkeyXComTooLargeError
from airflow_provider_portkey.jobs import FINE_TUNING_CHECKPOINTS, FINE_TUNING_EVENTS, JobSpec
from airflow_provider_portkey.operators.job import PortkeyCreateResponseOperator, PortkeyResponseItemsOperator
from airflow_provider_portkey.sensors.job import (
    PortkeyCustomJobSensor,
    PortkeyFineTuningJobSensor,
    PortkeyResponseSensor,
)
from airflow_provider_portkey.testing import PortkeyMockServer
from airflow_provider_portkey.transfers.lists_to_object_storage import (
    PortkeyListToObjectStorageOperator,
    PortkeyResponseItemsToObjectStorageOperator,
)


@pytest.fixture
def mock_server(monkeypatch: pytest.MonkeyPatch):
    with PortkeyMockServer(job_seconds=0) as mock_server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(mock_server.connection()))
        monkeypatch.setattr("airflow_provider_portkey.tasks.wait.time.sleep", lambda seconds: None)
        yield mock_server


def posts(mock_server, path: str) -> list[dict]:
    found = [request for request in mock_server.requests if (request.method, request.path) == ("POST", path)]
    return [json.loads(request.body) for request in found]


def test_a_response_is_created_waited_for_and_read(mock_server):
    created = PortkeyCreateResponseOperator(
        task_id="create", model="gpt-5-mini", input="Why?", instructions="Be short.", poke_interval=0
    ).execute({})
    assert created["status"] == "completed"
    assert not {"output", "instructions", "tools"} & created.keys()
    (body,) = posts(mock_server, "/v1/responses")
    assert body == {"model": "gpt-5-mini", "input": "Why?", "instructions": "Be short.", "background": True}
    items = PortkeyResponseItemsOperator(task_id="items", response_id=created["id"]).execute({})
    assert items[-1]["type"] == "message"
    with pytest.raises(PortkeyXComTooLargeError, match="PortkeyResponseItemsToObjectStorageOperator"):
        PortkeyResponseItemsOperator(task_id="items", response_id=created["id"], max_bytes=50).execute({})


def test_a_failed_response_fails_with_its_error(mock_server):
    error = {"code": "server_error", "message": "The model stumbled."}
    mock_server.add_response(response_id="resp_bad", statuses=["queued", "failed"], advance="per_poll", error=error)
    with pytest.raises(PortkeyRemoteJobFailedTransientlyError, match=r"server_error: The model stumbled\."):
        PortkeyResponseSensor(task_id="wait", response_id="resp_bad", poke_interval=0).execute({})


def test_a_response_defers_with_everything_that_its_trigger_needs(mock_server):
    mock_server.add_response(response_id="resp_slow", statuses="in_progress")
    with pytest.raises(TaskDeferred) as deferred:
        PortkeyResponseSensor(task_id="wait", response_id="resp_slow", deferrable=True).execute({})
    json.dumps(deferred.value.trigger.serialize())


def test_the_items_of_a_response_are_exported_input_first(mock_server, tmp_path):
    mock_server.add_response(response_id="resp_1", input=250, output=3)
    path = tmp_path / "items.jsonl"
    operator = PortkeyResponseItemsToObjectStorageOperator(
        task_id="keep", response_id="resp_1", path=str(path), include_input=True
    )
    manifest = operator.execute({})
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["direction"] for row in rows] == ["input"] * 250 + ["output"] * 3
    inputs = [row["id"] for row in rows[:250]]
    assert all(before < after for before, after in pairwise(inputs))
    assert (manifest["rows"], manifest["pages"]) == (253, 3)
    assert (manifest["response_id"], manifest["response_status"]) == ("resp_1", "completed")
    first = path.read_bytes()
    operator.execute({})
    assert path.read_bytes() == first


def test_only_the_output_is_exported_by_default(mock_server, tmp_path):
    mock_server.add_response(response_id="resp_1", input=5, output=2)
    path = tmp_path / "items.csv"
    PortkeyResponseItemsToObjectStorageOperator(
        task_id="keep", response_id="resp_1", path=str(path), file_format="csv"
    ).execute({})
    rows = list(csv.DictReader(path.open(newline="")))
    assert len(rows) == 2
    assert json.loads(rows[-1]["content"])[0]["type"] == "output_text"


def test_a_fine_tuning_job_with_its_events_and_checkpoints(mock_server, tmp_path):
    statuses = ["validating_files", "queued", "running", "succeeded"]
    mock_server.add_fine_tuning_job(job_id="ftjob_1", statuses=statuses, advance="per_poll", events=230, checkpoints=4)
    done = PortkeyFineTuningJobSensor(task_id="wait", fine_tuning_job_id="ftjob_1", poke_interval=0).execute({})
    assert done["status"] == "succeeded"
    for list_spec, rows in ((FINE_TUNING_EVENTS, 230), (FINE_TUNING_CHECKPOINTS, 4)):
        path = tmp_path / list_spec.kind
        ids = {"fine_tuning_job_id": "ftjob_1"}
        manifest = PortkeyListToObjectStorageOperator(
            task_id="keep", list_spec=list_spec, ids=ids, path=str(path)
        ).execute({})
        found = [json.loads(line)["id"] for line in path.read_text().splitlines()]
        assert len(found) == len(set(found)) == manifest["rows"] == rows
        assert (manifest["list"], manifest["ids"]) == (list_spec.kind, ids)


FILE_BATCH = JobSpec(
    kind="file batch",
    path="/vector_stores/{vector_store_id}/file_batches/{batch_id}",
    active_statuses=["in_progress"],
    success_statuses=["completed"],
    failure_statuses=["failed", "cancelled"],
    progress_field="file_counts",
    cancel_path="/vector_stores/{vector_store_id}/file_batches/{batch_id}/cancel",
)
IDS = {"vector_store_id": "vs_1", "batch_id": "vsfb_1"}


def test_a_job_of_a_custom_kind_logs_its_progress(mock_server, caplog, capsys):
    mock_server.add_file_batch(**IDS, files=3, statuses=["in_progress", "in_progress", "completed"], advance="per_poll")
    with caplog.at_level("INFO"):
        done = PortkeyCustomJobSensor(task_id="wait", job_spec=FILE_BATCH, ids=IDS, poke_interval=0).execute({})
    assert done["status"] == "completed"
    assert "file batch 'vsfb_1' (vector_store_id 'vs_1')" in (shown := caplog.text + capsys.readouterr().out)
    assert "completed 3" in shown


def test_a_job_of_a_custom_kind_is_cancelled_on_a_kill(mock_server):
    mock_server.add_file_batch(**IDS, statuses="in_progress")
    PortkeyCustomJobSensor(task_id="wait", job_spec=FILE_BATCH, ids=IDS, cancel_on_kill=True).on_kill()
    assert mock_server.requests[-1].path == "/v1/vector_stores/vs_1/file_batches/vsfb_1/cancel"
