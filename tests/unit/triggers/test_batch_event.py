"""Events for finished batches, which are watched as runs are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import pytest

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.testing import PortkeyMockServer

try:
    from airflow_provider_portkey.triggers.run_event import PortkeyBatchEventTrigger, PortkeyRunEventTrigger
except Exception:
    pytest.skip("Airflow 3.0 and newer", allow_module_level=True)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[PortkeyMockServer]:
    real_sleep = asyncio.sleep

    async def at_once(seconds: float) -> None:
        await real_sleep(0.02)

    monkeypatch.setattr("airflow_provider_portkey.polling.drivers.sleep_to_grid", at_once)
    with PortkeyMockServer() as server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(server.connection()))
        yield server


def events(trigger: Any, count: int) -> list[dict[str, Any]]:
    """The payloads of the first events."""

    async def collect() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async with asyncio.timeout(20), aclosing(trigger.run()) as stream:
            async for event in stream:
                found.append(event.payload)
                if len(found) == count:
                    break
        return found

    return asyncio.run(collect())


def add(server: PortkeyMockServer, batch_id: str, end: str = "completed", **more: Any) -> None:
    server.add_batch(batch_id=batch_id, statuses=[("in_progress", 0), (end, 0.7)], **more)


def test_each_batch_that_finishes_has_one_event(server: PortkeyMockServer) -> None:
    server.add_batch(batch_id="batch_old", statuses="completed")
    for number, end in enumerate(("completed", "failed", "expired", "cancelled")):
        add(server, f"batch_{number}", end)

    found = events(PortkeyBatchEventTrigger(), 4)

    assert sorted((each["id"], each["status"]) for each in found) == [
        ("batch_0", "completed"),
        ("batch_1", "failed"),
        ("batch_2", "expired"),
        ("batch_3", "cancelled"),
    ]
    assert all("request_counts" in each for each in found)


@pytest.mark.parametrize(
    "wanted",
    [{"endpoint": "/v1/embeddings"}, {"metadata": {"airflow_dag_id": "reports"}}, {"statuses": ["failed"]}],
)
def test_batches_are_chosen_by_endpoint_metadata_and_status(server: PortkeyMockServer, wanted: dict[str, Any]) -> None:
    for number in range(3):
        add(server, f"batch_{number}")
    add(
        server,
        "batch_wanted",
        "failed",
        endpoint="/v1/embeddings",
        metadata={"airflow_dag_id": "reports", "team": "data"},
    )

    (found,) = events(PortkeyBatchEventTrigger(**wanted), 1)

    assert found["id"] == "batch_wanted"


def test_a_request_says_which_trigger_made_it(server: PortkeyMockServer) -> None:
    add(server, "batch_0")
    events(PortkeyBatchEventTrigger(), 1)

    for request in server.requests:
        sent = json.loads(request.headers["x-portkey-metadata"])
        assert sent == {"airflow_trigger": "PortkeyBatchEventTrigger", "airflow_request": "poll"}


def test_the_arguments_make_the_same_trigger_again() -> None:
    one = PortkeyBatchEventTrigger(statuses=["failed", "completed"], endpoint="/v1/embeddings", metadata={"b": "1"})
    classpath, kwargs = one.serialize()
    assert classpath == "airflow_provider_portkey.triggers.run_event.PortkeyBatchEventTrigger"
    again = PortkeyBatchEventTrigger(**json.loads(json.dumps(kwargs)))
    assert again.serialize() == one.serialize()
    assert again.shared_stream_key() == one.shared_stream_key()


def test_watchers_of_batches_share_their_polls_whatever_they_choose() -> None:
    keys = {
        PortkeyBatchEventTrigger(**chosen).shared_stream_key()
        for chosen in ({}, {"endpoint": "/v1/embeddings"}, {"metadata": {"a": "b"}}, {"poll_interval": 60})
    }
    assert len(keys) == 1
    assert PortkeyRunEventTrigger(thread_id="thread_1").shared_stream_key() not in keys
    assert PortkeyBatchEventTrigger(poll_interval=30).shared_stream_key() not in keys


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"statuses": ["in_progress"]}, "statuses"),
        ({"statuses": []}, "statuses"),
        ({"statuses": "failed"}, "statuses"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"poll_interval": 0}, "poll_interval"),
        ({"lookback": -1}, "lookback"),
    ],
)
def test_wrong_arguments_are_named(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=f"^{field}="):
        PortkeyBatchEventTrigger(**wrong)
