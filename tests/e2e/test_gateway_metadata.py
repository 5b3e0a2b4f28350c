"""What says which task made a request, and what a batch cost, as they arrive behind Portkey's own gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from airflow_provider_portkey.client.aio import open_client
from airflow_provider_portkey.hooks.portkey import PortkeyHook
from airflow_provider_portkey.operators.batch import PortkeyCreateBatchOperator
from airflow_provider_portkey.testing import PortkeyMockServer, fake_context
from airflow_provider_portkey.transfers.batch_output_to_object_storage import PortkeyBatchOutputToObjectStorageOperator

IDS = {"dag_id": "r\u00e9ports", "task_id": "t" * 200, "run_id": "manual__1", "map_index": 3}


@pytest.fixture
def own_provider() -> Iterator[PortkeyMockServer]:
    """A provider that no watcher of an Airflow polls."""
    with PortkeyMockServer() as provider:
        yield provider


@pytest.fixture(autouse=True)
def _connection(connection, own_provider, monkeypatch):
    # The gateway forwards none of its own headers by default.
    forward = {"x-portkey-forward-headers": "x-portkey-metadata"}
    extra = {**connection["extra"], "custom_host": own_provider.url, "headers": forward, "metadata": {"team": "data"}}
    monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps({**connection, "extra": extra}))


def test_each_request_says_which_task_made_it(own_provider, tmp_path):
    line = {"method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": []}}
    (tmp_path / "in.jsonl").write_text(json.dumps({"custom_id": "a", **line}) + "\n")
    own_provider.plan("batches", statuses=["in_progress", "completed"], advance="per_poll", cost=0.00025)
    task = PortkeyCreateBatchOperator(task_id="create", input_path=str(tmp_path / "in.jsonl"), poke_interval=0.1)
    batch = task.execute(fake_context(**IDS))
    output = PortkeyBatchOutputToObjectStorageOperator(
        task_id="output", batch_id=batch["id"], path=str(tmp_path / "out.jsonl")
    ).execute(fake_context(**IDS))

    assert len(own_provider.requests) >= 4
    for request in own_provider.requests:
        found = json.loads(request.headers["x-portkey-metadata"])
        assert (found["team"], found["airflow_dag_id"], found["airflow_map_index"]) == ("data", "r\u00e9ports", "3")
        assert len(found["airflow_task_id"]) == 128
        assert found["airflow_request"] == ("poll" if request.method == "GET" else "submit")
    assert batch["metadata"]["airflow_run_id"] == "manual__1"
    assert output["cost"] == 0.00025


def test_a_poll_of_the_triggerer_says_which_task_waits(own_provider):
    own_provider.add_response(response_id="resp_metadata", statuses="completed")

    async def poll():
        async with open_client(PortkeyHook().settings, task_metadata={"airflow_task_id": "wait"}) as client:
            await client.get("/responses/{response_id}", {"response_id": "resp_metadata"})

    asyncio.run(poll())
    (sent,) = [request for request in own_provider.requests if request.path.endswith("/resp_metadata")]
    assert json.loads(sent.headers["x-portkey-metadata"]) == {
        "team": "data",
        "airflow_task_id": "wait",
        "airflow_request": "poll",
    }
