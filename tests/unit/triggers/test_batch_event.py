"""Events for finished batches, which are watched as runs are."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.polling.run_tracker import ALL_BATCHES, runs_of
from airflow_provider_portkey.testing import PortkeyMockServer
from airflow_provider_portkey.testing.context import AssetStateStore

try:
    from airflow.triggers.shared_stream import SharedStreamManager
except ImportError:  # before Airflow 3.3
    SharedStreamManager = None  # type: ignore[assignment, misc]
try:
    from airflow_provider_portkey.triggers.run_event import PortkeyBatchEventTrigger, PortkeyRunEventTrigger
except Exception:
    pytest.skip("Airflow 3.0 and newer", allow_module_level=True)


@pytest.fixture
def events(
    mock_server: PortkeyMockServer, server_clock: Any, pauses: list[float]
) -> Callable[[Any, int], list[dict[str, Any]]]:
    """Return the payloads of a trigger's first events; the batches finish after its second poll."""

    def events(trigger: Any, count: int) -> list[dict[str, Any]]:
        async def finish() -> None:
            while len(mock_server.requests) < 2:
                await asyncio.sleep(0.002)
            server_clock.advance(100)

        async def collect() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = []
            finishing = asyncio.create_task(finish())
            async with asyncio.timeout(20), aclosing(trigger.run()) as stream:
                async for event in stream:
                    found.append(event.payload)
                    if len(found) == count:
                        break
            await finishing
            return found

        return asyncio.run(collect())

    return events


def add(server: PortkeyMockServer, batch_id: str, end: str = "completed", **more: Any) -> None:
    server.add_batch(batch_id=batch_id, statuses=[("in_progress", 0), (end, 100)], **more)


def test_each_batch_that_finishes_has_one_event(mock_server: PortkeyMockServer, events: Any) -> None:
    mock_server.add_batch(batch_id="batch_old", statuses="completed")
    for number, end in enumerate(("completed", "failed", "expired", "cancelled")):
        add(mock_server, f"batch_{number}", end)

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
def test_batches_are_chosen_by_endpoint_metadata_and_status(
    mock_server: PortkeyMockServer, events: Any, wanted: dict[str, Any]
) -> None:
    for number in range(3):
        add(mock_server, f"batch_{number}")
    add(
        mock_server,
        "batch_wanted",
        "failed",
        endpoint="/v1/embeddings",
        metadata={"airflow_dag_id": "reports", "team": "data"},
    )

    (found,) = events(PortkeyBatchEventTrigger(**wanted), 1)

    assert found["id"] == "batch_wanted"


HOURS = 3600


@pytest.fixture
def old_batches(mock_server: PortkeyMockServer, pauses: list[float]) -> list[str]:
    """Batches that began twenty hours ago and finish soon, below newer ones that have finished."""
    now = time.time()
    active = [f"batch_{number:03d}" for number in range(150)]
    for number, batch_id in enumerate(active):
        created = int(now - 20 * HOURS + number)
        timeline = [("in_progress", 0), ("completed", 100)]
        mock_server.add_batch(batch_id=batch_id, created_at=created, statuses=timeline, metadata={"n": str(number % 3)})
    for number in range(60):
        created = int(now - HOURS + number)
        mock_server.add_batch(batch_id=f"batch_new_{number}", created_at=created, statuses="completed")
    return active


class Watchers:
    """Four watchers as one triggerer has them, with their asset state stores; the first opens the shared stream."""

    def __init__(self) -> None:
        self.stores = [AssetStateStore() for _ in range(4)]
        self.emitted: Counter[str] = Counter()
        self.polls = 0

    async def live(self, condition: Callable[[], Any]) -> None:
        """Start a triggerer, and stop it when the condition holds and five polls were taken."""
        chosen = [{"lookback": 0, "statuses": ["failed"]}, *({"metadata": {"n": str(n)}} for n in range(3))]
        self.polls, manager = 0, SharedStreamManager()
        tasks = [
            asyncio.create_task(self._follow(PortkeyBatchEventTrigger(**arguments), store, manager))
            for arguments, store in zip(chosen, self.stores, strict=True)
        ]
        async with asyncio.timeout(20):
            while not (condition() and self.polls >= 5):
                await asyncio.sleep(0.002)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await manager.stop_all()

    async def _follow(self, trigger: Any, store: AssetStateStore, manager: SharedStreamManager) -> None:
        trigger.asset_state_store = store
        shared = manager.subscribe(trigger_id=id(trigger), trigger=trigger, key=trigger.shared_stream_key())

        async def counted() -> AsyncIterator[Any]:
            async for snapshot in shared:
                self.polls += store is self.stores[0]
                yield snapshot

        async for event in trigger.filter_shared_stream(counted()):
            self.emitted[event.payload["id"]] += 1


@pytest.mark.skipif(SharedStreamManager is None, reason="shared streams came with Airflow 3.3")
def test_batches_of_many_hours_have_one_event_each_also_after_restarts(
    mock_server: PortkeyMockServer, server_clock: Any, old_batches: list[str]
) -> None:
    watchers = Watchers()

    def requests_of_a_poll(condition: Callable[[], Any]) -> float:
        before = len(mock_server.requests)
        asyncio.run(watchers.live(condition))
        return (len(mock_server.requests) - before) / watchers.polls

    # The very first start, and a restart while the batches are active: three pages show them all.
    assert requests_of_a_poll(lambda: all(store.values for store in watchers.stores)) < 4
    assert requests_of_a_poll(lambda: True) < 4
    assert not watchers.emitted
    server_clock.advance(100)
    assert requests_of_a_poll(lambda: len(watchers.emitted) == len(old_batches)) < 4
    assert requests_of_a_poll(lambda: True) < 2
    assert watchers.emitted == Counter(old_batches)


def test_a_request_says_which_trigger_made_it(mock_server: PortkeyMockServer, events: Any) -> None:
    add(mock_server, "batch_0")
    events(PortkeyBatchEventTrigger(), 1)

    for request in mock_server.requests:
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
        *(({"endpoint": wrong}, "endpoint") for wrong in (7, True, "", "/v1/embedings", "v1/embeddings", ["/v1/x"])),
        ({"endpoint": "{{ params.endpoint }}"}, "endpoint"),
        ({"metadata": {"team": "{{ var.value.team }}"}}, "metadata"),
        ({"metadata": {"": "reports"}}, "metadata"),
        *(({"portkey_conn_id": wrong}, "portkey_conn_id") for wrong in ("", " ", None, True, 1.5, "{{ conn }}")),
    ],
)
def test_wrong_arguments_are_named(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=rf"^{field}=.* is not valid: expected .+\."):
        PortkeyBatchEventTrigger(**wrong)


def test_no_metadata_is_the_same_trigger_as_an_empty_filter() -> None:
    assert PortkeyBatchEventTrigger(metadata={}).serialize() == PortkeyBatchEventTrigger().serialize()


def test_the_usual_lookback_is_that_of_the_shared_polls() -> None:
    assert PortkeyBatchEventTrigger().lookback == ALL_BATCHES.lookback
    assert PortkeyRunEventTrigger(thread_id="thread_1").lookback == runs_of("thread_1").lookback
