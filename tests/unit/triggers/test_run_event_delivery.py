"""The event trigger in Airflow's own runner: delivery guarantees, and polls that watchers share."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from typing import Any

import pytest
from airflow import __version__ as airflow_version

from airflow_provider_portkey.exceptions import PortkeyPollingGaveUpError
from airflow_provider_portkey.polling.run_tracker import TERMINAL_STATUSES
from airflow_provider_portkey.testing.context import AssetStateStore

if tuple(map(int, airflow_version.split(".")[:2])) < (3, 3):
    pytest.skip("shared streams and the asset state store came with 3.3", allow_module_level=True)


# In Airflow's own runner


class Triggerer:
    """
    Airflow's runner of triggers for one watcher, with the messages that it sends.

    Frames cross the socket in order: the events of a sync, or a value for the store. The process that stores them
    takes one after the other; a kill stops between any two.
    """

    def __init__(self, one: Any, stored: Any, number: int = 1) -> None:
        from airflow.jobs.triggerer_job_runner import TriggerRunner

        self.runner = TriggerRunner()
        self.frames: list[tuple[str, object]] = []
        self.stopping = False
        self._stored = stored
        one.trigger_id = number
        one.asset_state_store = self
        self.runner.triggers[number] = {"task": None, "is_watcher": True, "name": "watcher", "events": 0}
        self.task = asyncio.create_task(self.runner.run_trigger(number, one))

    async def aget(self, key: str, default=None):
        await asyncio.sleep(0)
        return json.loads(json.dumps(self._stored))

    async def aset(self, key: str, value) -> None:
        self.frames.append(("set", json.loads(json.dumps(value))))
        await asyncio.sleep(0)
        if self.stopping:  # it still reads, and sends no more responses
            await asyncio.Event().wait()

    def sync(self) -> None:
        """Send what Airflow sends once a second."""
        if events := self.runner.process_trigger_events([]).model_dump()["events"]:
            # One that stops takes events from the socket and does not store them.
            kind = "dropped" if self.stopping else "events"
            self.frames.append((kind, [event["payload"]["id"] for _, event, *_ in events]))

    async def die(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def test_the_state_is_written_when_the_event_was_sent_and_not_before(mock_server, watcher, tracker_state, until):
    mock_server.add_run(thread_id="thread_1", run_id="run_1")
    mock_server.add_run(thread_id="thread_1", run_id="run_2")

    async def frames() -> list:
        triggerer = Triggerer(watcher(), tracker_state())
        await until(lambda: triggerer.runner.events)
        # Airflow holds the event back; the trigger must hold its state back.
        seen = len(mock_server.requests)
        await until(lambda: len(mock_server.requests) > seen + 3)
        assert triggerer.frames == []
        triggerer.sync()
        await until(lambda: len(triggerer.frames) == 2)
        await triggerer.die()
        return triggerer.frames

    events = [content if kind == "events" else content["pending"] for kind, content in asyncio.run(frames())]
    assert events == [["run_1", "run_2"], []]


def test_an_event_that_a_stopping_triggerer_does_not_store_is_emitted_again(mock_server, watcher, tracker_state, until):
    mock_server.add_run(thread_id="thread_1", run_id="run_1")

    async def frames() -> list:
        triggerer = Triggerer(watcher(), tracker_state())
        await until(lambda: triggerer.runner.events)
        triggerer.stopping = True
        triggerer.sync()
        await asyncio.sleep(0.05)
        await triggerer.die()
        return triggerer.frames

    (kind, dropped), *states = asyncio.run(frames())
    assert (kind, dropped) == ("dropped", ["run_1"])
    assert [state["pending"] for _, state in states] == [[], ["run_1"]]


def test_many_events_are_emitted_in_groups(mock_server, watcher, tracker_state, until):
    mock_server.add_runs(thread_id="thread_1", count=25)

    async def frames() -> list:
        triggerer = Triggerer(watcher(), tracker_state())
        for together in (10, 10, 5):
            await until(lambda together=together: len(triggerer.runner.events) == together)
            sent = len(triggerer.frames)
            triggerer.sync()
            await until(lambda sent=sent: len(triggerer.frames) == sent + 2)
        await triggerer.die()
        return triggerer.frames

    sent = asyncio.run(frames())
    assert [len(content) for kind, content in sent if kind == "events"] == [10, 10, 5]
    assert [len(content["pending"]) for kind, content in sent if kind == "set"] == [15, 5, 0]


def test_a_stored_event_is_plain_data(mock_server, watcher, tracker_state, until):
    from airflow.jobs.triggerer_job_runner import messages
    from airflow.sdk.execution_time.comms import _RequestFrame

    mock_server.add_run(thread_id="thread_1", run_id="run_1")

    async def crossed() -> object:
        triggerer = Triggerer(watcher(), tracker_state())
        await until(lambda: triggerer.runner.events)
        message = triggerer.runner.process_trigger_events([])
        frame = _RequestFrame(id=1, body=message.model_dump()).as_bytes()
        sane = triggerer.runner.sanitize_trigger_events(message)
        await triggerer.die()
        assert sane.events == message.events
        import msgspec

        return messages.TriggerStateChanges.model_validate(msgspec.msgpack.decode(frame[4:])[1]).events

    ((_, event, *_),) = asyncio.run(crossed())
    assert type(event.payload) is dict
    assert (event.payload["id"], event.payload["status"]) == ("run_1", "completed")


@pytest.mark.parametrize("seed", range(12))
def test_forty_restarts_emit_each_run_once(mock_server, seed, watcher, until):
    chance = random.Random(seed)
    emitted: Counter[str] = Counter()
    torn: list[str] = []
    added: list[str] = []
    mock_server.add_run(thread_id="thread_1", run_id="run_before")

    state: Any = None

    def store(frames: list) -> None:
        nonlocal state
        known: list[str] = []
        pending: list[str] = []
        for kind, content in frames:
            if kind == "events":
                emitted.update(content)
                pending += content
            elif kind == "set":
                state, known, pending = content, known + pending, []
        # Stored without the state that belongs to it, or with a state that was taken back.
        torn.extend(pending + [run_id for run_id in known if run_id in state["pending"]])

    async def live() -> None:
        first_start = Triggerer(watcher(), state)
        await until(lambda: first_start.frames)
        await first_start.die()
        store(first_start.frames)
        for restart in range(41):
            triggerer = Triggerer(watcher(), state)
            for _ in range(chance.randint(0, 3)):
                added.append(f"run_{len(added)}")
                end = chance.choice([0.0, 0.01, 0.05])
                statuses = [("queued", 0.0), (chance.choice(sorted(TERMINAL_STATUSES)), end)]
                mock_server.add_run(thread_id="thread_1", run_id=added[-1], statuses=statuses)
            for _ in range(chance.randint(0, 12)):
                await asyncio.sleep(chance.choice([0, 0, 0.002, 0.01]))
                if chance.random() < 0.5:
                    triggerer.sync()
                    if chance.random() < 0.2:
                        break
            if restart == 40:
                async with asyncio.timeout(20):
                    while not triggerer.frames or set(added) - emitted.keys() - sent_by(triggerer):
                        triggerer.sync()
                        await asyncio.sleep(0.005)
            if graceful := restart < 40 and chance.random() < 0.5:
                triggerer.stopping = True
                for _ in range(chance.randint(0, 5)):
                    triggerer.sync()
                    await asyncio.sleep(chance.choice([0, 0.01]))
            # A kill stores the frames in flight up to any point, and none after it.
            sent = len(triggerer.frames)
            await triggerer.die()
            cut = len(triggerer.frames) if graceful else sent if restart == 40 else chance.randint(0, sent)
            frames = triggerer.frames
            store(frames[:cut])

    def sent_by(triggerer: Triggerer) -> set[str]:
        return {run_id for kind, content in triggerer.frames if kind == "events" for run_id in content}

    asyncio.run(live())
    assert set(emitted) == set(added)
    twice = emitted - Counter(added)
    # Only a kill between events and their state repeats events, and only those.
    assert twice <= Counter(torn)


# Shared polling


def test_watchers_of_a_thread_share_one_poll(mock_server, watcher, tracker_state, until):
    from airflow.triggers.shared_stream import SharedStreamManager

    mock_server.add_run(thread_id="thread_1", run_id="run_0")
    statuses = ["completed", "failed", "expired"]
    watchers = [watcher(), *(watcher(statuses=[status]) for status in statuses), watcher(assistant_id="asst_none")]
    got: dict[int, list[str]] = {number: [] for number in range(len(watchers))}

    async def watch(manager: SharedStreamManager, number: int) -> None:
        one, key = watchers[number], watchers[number].shared_stream_key()
        try:
            async for event in one.filter_shared_stream(manager.subscribe(trigger_id=number, trigger=one, key=key)):
                got[number].append(event.payload["id"])
        finally:
            await manager.unsubscribe(number, key)

    async def live() -> int:
        manager = SharedStreamManager()
        tasks = [asyncio.create_task(watch(manager, number)) for number in got]
        await until(lambda: len(mock_server.requests) > 5)
        for number in range(6):
            status = statuses[number % 3]
            timeline = [("queued", 0), (status, 0.1)]
            mock_server.add_run(thread_id="thread_1", run_id=f"run_{status}_{number}", statuses=timeline)
        await until(lambda: len(got[0]) == 6)
        # A late watcher with an earlier state misses no run and repeats none.
        late = len(watchers)
        watchers.append(watcher(statuses=["failed"], poll_interval=7))
        watchers[-1].asset_state_store = AssetStateStore(default=tracker_state())
        got[late] = []
        tasks.append(asyncio.create_task(watch(manager, late)))
        await until(lambda: len(got[late]) == 2)
        assert len(manager._groups) == 1
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return len(got)

    watcher_class = type(watchers[0])
    opened = watcher_class.open_shared_stream
    streams = []

    def counted(kwargs):
        streams.append(kwargs)
        return opened(kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watcher_class, "open_shared_stream", staticmethod(counted))
        assert asyncio.run(live()) == 6
    assert len(streams) == 1
    assert got[1] == ["run_completed_0", "run_completed_3"]
    assert got[2] == got[5] == ["run_failed_1", "run_failed_4"]
    assert got[4] == []
    assert {request.path for request in mock_server.requests} == {"/v1/threads/thread_1/runs"}


def test_a_hundred_watchers_make_the_requests_of_one(mock_server, watcher, until):
    from airflow.triggers.shared_stream import SharedStreamManager

    mock_server.add_run(thread_id="thread_1", run_id="run_0", statuses=[("queued", 0), ("completed", 0.3)])
    watchers = [watcher(metadata={"n": str(number)}) for number in range(100)]
    snapshots: list[object] = []

    async def live() -> None:
        manager = SharedStreamManager()

        async def watch(number: int) -> None:
            stream = manager.subscribe(
                trigger_id=number, trigger=watchers[number], key=watchers[number].shared_stream_key()
            )

            async def counted():
                async for snapshot in stream:
                    snapshots.append(snapshot)
                    yield snapshot

            async for _ in watchers[number].filter_shared_stream(counted()):
                pass

        tasks = [asyncio.create_task(watch(number)) for number in range(100)]
        await until(lambda: len(mock_server.requests) >= 20 and len(snapshots) >= 1900)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await manager.stop_all()

    asyncio.run(live())
    assert len(mock_server.requests) <= len({id(snapshot) for snapshot in snapshots}) + 5


def test_each_watcher_gives_up_at_its_own_limit(mock_server, watcher):
    from airflow.triggers.shared_stream import SharedStreamManager

    mock_server.add_run(thread_id="thread_1", run_id="run_0")
    mock_server.fault(status=500, times=None)

    async def live() -> list[str]:
        manager = SharedStreamManager()
        watchers = [watcher(max_consecutive_failures=count) for count in (2, 5)]
        streams = [
            one.filter_shared_stream(manager.subscribe(trigger_id=number, trigger=one, key=one.shared_stream_key()))
            for number, one in enumerate(watchers)
        ]
        errors = await asyncio.gather(*(anext(stream) for stream in streams), return_exceptions=True)
        await manager.stop_all()
        assert all(isinstance(error, PortkeyPollingGaveUpError) for error in errors)
        return [str(error) for error in errors]

    two, five = asyncio.run(live())
    assert "2 consecutive polls" in two
    assert "5 consecutive polls" in five
