"""Every kind of job through Portkey's own gateway."""

from __future__ import annotations

import asyncio
import json

import pytest

from airflow_provider_portkey.client.aio import open_client
from airflow_provider_portkey.hooks.portkey import PortkeyHook
from airflow_provider_portkey.jobs.batch import BATCH
from airflow_provider_portkey.jobs.fine_tuning import FINE_TUNING
from airflow_provider_portkey.jobs.response import RESPONSE
from airflow_provider_portkey.jobs.run import RUN
from airflow_provider_portkey.jobs.spec import JobSpec
from airflow_provider_portkey.operators.batch import PortkeyCreateBatchOperator
from airflow_provider_portkey.operators.job import PortkeyCreateResponseOperator, PortkeyResponseItemsOperator
from airflow_provider_portkey.sensors.job import PortkeyCustomJobSensor, PortkeyFineTuningJobSensor
from airflow_provider_portkey.transfers.batch_output_to_object_storage import PortkeyBatchOutputToObjectStorageOperator

FILE_BATCH = JobSpec(
    kind="file batch",
    path="/vector_stores/{vector_store_id}/file_batches/{batch_id}",
    active_statuses=["in_progress"],
    success_statuses=["completed"],
    failure_statuses=["failed", "cancelled"],
    cancel_path="/vector_stores/{vector_store_id}/file_batches/{batch_id}/cancel",
)


@pytest.fixture(autouse=True)
def _connection(connection, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(connection))


def test_a_response(provider):
    provider.plan("responses", statuses=["queued", "completed"], advance="per_poll")
    operator = PortkeyCreateResponseOperator(task_id="create", model="gpt-5-mini", input="Why?", poke_interval=0.1)
    created = operator.execute({})
    items = PortkeyResponseItemsOperator(task_id="items", response_id=created["id"]).execute({})
    assert items[-1]["type"] == "message"
    given = list(PortkeyHook().iter_response_input_items(created["id"]))
    assert given[0]["content"][0]["text"] == "Why?"


def test_a_response_is_cancelled(provider):
    provider.add_response(response_id="resp_gateway", statuses="in_progress")
    assert PortkeyHook().cancel_response("resp_gateway")["status"] == "cancelled"


def test_a_batch(provider, tmp_path):
    line = {"method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-5-mini", "messages": []}}
    source = tmp_path / "requests.jsonl"
    source.write_text("".join(json.dumps({"custom_id": f"request-{number}", **line}) + "\n" for number in range(200)))
    provider.plan("batches", statuses=["validating", "in_progress", "completed"], advance="per_poll")
    created = PortkeyCreateBatchOperator(task_id="create", input_path=str(source), poke_interval=0.1).execute({})
    manifest = PortkeyBatchOutputToObjectStorageOperator(
        task_id="output", batch_id=created["id"], path=str(tmp_path / "output.jsonl")
    ).execute({})
    assert (manifest["requests"], manifest["succeeded"], manifest["missing"]) == (200, 200, 0)


def test_a_fine_tuning_job(provider):
    provider.add_fine_tuning_job(
        job_id="ftjob_gateway", statuses=["running", "succeeded"], advance="per_poll", events=130
    )
    done = PortkeyFineTuningJobSensor(task_id="wait", fine_tuning_job_id="ftjob_gateway", poke_interval=0.1).execute({})
    assert done["status"] == "succeeded"
    assert len(list(PortkeyHook().iter_fine_tuning_events("ftjob_gateway"))) == 130
    assert len(list(PortkeyHook().iter_fine_tuning_checkpoints("ftjob_gateway"))) == 2


def test_a_job_of_a_custom_kind(provider):
    ids = {"vector_store_id": "vs_gateway", "batch_id": "vsfb_gateway"}
    provider.add_file_batch(**ids, statuses=["in_progress", "completed"], advance="per_poll")
    done = PortkeyCustomJobSensor(task_id="wait", job_spec=FILE_BATCH, ids=ids, poke_interval=0.1).execute({})
    assert done["status"] == "completed"


def cancelled_on_the_worker(job, ids):
    return PortkeyHook().cancel_job(job, ids)


def cancelled_on_the_triggerer(job, ids):
    async def cancel():
        async with open_client(PortkeyHook().settings) as client:
            return await client.post(job.cancel_path, ids, job.cancel_body)

    return asyncio.run(cancel())


@pytest.mark.parametrize("cancel", [cancelled_on_the_worker, cancelled_on_the_triggerer])
@pytest.mark.parametrize("kind", ["run", "response", "batch", "fine-tuning job", "file batch"])
def test_a_job_of_each_kind_is_cancelled(provider, kind, cancel):
    own = f"{kind}_{cancel.__name__}".replace(" ", "_")
    if kind == "run":
        job, ids = RUN, {"thread_id": "thread_cancel", "run_id": own}
        provider.add_run(**ids, statuses="in_progress")
    elif kind == "response":
        job, ids = RESPONSE, {"response_id": own}
        provider.add_response(**ids, statuses="in_progress")
    elif kind == "batch":
        job, ids = BATCH, {"batch_id": own}
        provider.add_batch(**ids, statuses="in_progress")
    elif kind == "fine-tuning job":
        job, ids = FINE_TUNING, {"fine_tuning_job_id": own}
        provider.add_fine_tuning_job(job_id=own, statuses="running")
    else:
        job, ids = FILE_BATCH, {"vector_store_id": "vs_cancel", "batch_id": own}
        provider.add_file_batch(**ids, statuses="in_progress")
    assert cancel(job, ids)["status"] in ("cancelling", "cancelled")
    (request,) = [one for one in provider.requests if one.path.endswith(f"/{own}/cancel")]
    assert request.method == "POST"
