from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import logging
import random
import time
from collections import Counter

import pytest
from airflow import __version__ as airflow_version
from airflow.triggers.base import TriggerEvent

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError, PortkeyPollingGaveUpError
from airflow_provider_portkey.polling.run_tracker import ENDED
from airflow_provider_portkey.testing import PortkeyMockServer

LINE = tuple(int(part) for part in airflow_version.split(".")[:2])
if LINE < (3, 0):
    pytest.skip("older versions know no event triggers", allow_module_level=True)

run_event = importlib.import_module("airflow_provider_portkey.triggers.run_event")
PortkeyRunEventTrigger = run_event.PortkeyRunEventTrigger

FROM_3_3 = pytest.mark.skipif(LINE < (3, 3), reason="shared streams and the asset state store came with 3.3")


class World(PortkeyMockServer):
    """A mock server whose clock can be put forward."""

    def __init__(self) -> None:
        self._ahead = 0.0
        super().__init__(clock=lambda: time.time() + self._ahead)

    def later(self, seconds: float) -> None:
        self._ahead += seconds


@pytest.fixture
def mock_server(monkeypatch: pytest.MonkeyPatch):
    with World() as mock_server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(mock_server.connection()))
        yield mock_server


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let every pause be over soon, and keep how long it would have been."""
    asked: list[float] = []

    async def pause(seconds: float) -> None:
        asked.append(round(seconds, 1))
        await asyncio.sleep(0.001)

    monkeypatch.setattr(run_event, "sleep_to_grid", pause)
    monkeypatch.setattr(PortkeyRunEventTrigger, "_not_before", {})
    monkeypatch.setattr("airflow_provider_portkey.state.asset._TAKE_BACK_TIMEOUT", 0.01)
    return asked


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What triggers logged, whatever Airflow does with it."""
    lines: list[str] = []
    log = logging.Logger("trigger")
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    monkeypatch.setattr(PortkeyRunEventTrigger, "log", log)
    return lines


def trigger(**changes) -> PortkeyRunEventTrigger:
    return PortkeyRunEventTrigger(**({"thread_id": "thread_1", "poll_interval": 7.0} | changes))


class Store:
    """The asset state store, with a record of what was written."""

    def __init__(self, value=None) -> None:
        self.value = value
        self.written: list[dict] = []
        self.failing_reads = 0
        self.failing_writes = 0

    async def aget(self, key: str, default=None):
        if self.failing_reads:
            self.failing_reads -= 1
            raise RuntimeError("the store is away")
        return self.value

    async def aset(self, key: str, value) -> None:
        if self.failing_writes:
            self.failing_writes -= 1
            raise RuntimeError("the store is away")
        self.value = json.loads(json.dumps(value))
        self.written.append(self.value)


def kept(at: float = 0, seen: dict | None = None, still_open: tuple[str, ...] = ()) -> dict:
    return {"at": at, "seen": seen or {}, "open": list(still_open)}


def going_on(store: Store | None = None, **changes) -> PortkeyRunEventTrigger:
    """Return a trigger that was started before, long ago, so that it tells every run that has ended by now."""
    one = trigger(**changes)
    one.asset_state_store = store or Store(kept(1))
    return one


async def first(one: PortkeyRunEventTrigger, count: int) -> list[dict]:
    """Return so many events, their payloads in plain data."""
    events: list[TriggerEvent] = []
    stream = one.run()
    async with asyncio.timeout(20), contextlib.aclosing(stream):
        async for event in stream:
            events.append(event)
            if len(events) == count:
                break
    return [event.model_dump()["payload"] for event in events]


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


# Arguments


def test_is_the_same_trigger_in_every_process():
    one = trigger(statuses={"failed", "completed"}, metadata={"b": "2", "a": "1"}, assistant_id="asst_1")
    classpath, arguments = one.serialize()
    assert classpath == "airflow_provider_portkey.triggers.run_event.PortkeyRunEventTrigger"
    assert PortkeyRunEventTrigger(**json.loads(json.dumps(arguments))).serialize() == (classpath, arguments)
    other = trigger(statuses=["completed", "failed", "failed"], metadata={"a": "1", "b": "2"}, assistant_id="asst_1")
    assert json.dumps(other.serialize()) == json.dumps(one.serialize())
    assert PortkeyRunEventTrigger.hash(*other.serialize()) == PortkeyRunEventTrigger.hash(*one.serialize())


def test_carries_no_credential(mock_server):
    shown = json.dumps(trigger().serialize()) + repr(trigger())
    assert mock_server.connection()["password"] not in shown


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("thread_id", ""),
        ("thread_id", ".."),
        ("statuses", "completed"),
        ("statuses", []),
        ("statuses", ["completed", "queued"]),
        ("statuses", 7),
        ("metadata", {"a": 1}),
        ("metadata", "a=1"),
        ("assistant_id", ""),
        ("poll_interval", 0),
        ("poll_interval", float("nan")),
        ("poll_interval", True),
        ("max_consecutive_failures", 0),
        ("max_consecutive_failures", None),
        ("lookback", -1),
    ],
)
def test_a_bad_argument_is_refused_at_once(field, value):
    with pytest.raises(PortkeyInvalidArgumentError, match=field):
        trigger(**{field: value})


# Events


def test_each_run_that_ends_makes_an_event_with_its_summary(mock_server):
    mock_server.add_run(
        thread_id="thread_1",
        run_id="run_1",
        statuses="failed",
        last_error={"code": "server_error", "message": "Oh."},
        fields={"instructions": "long", "tools": [{"type": "code_interpreter"}]},
    )
    (payload,) = asyncio.run(first(going_on(), 1))
    assert (payload["id"], payload["status"], payload["thread_id"]) == ("run_1", "failed", "thread_1")
    assert payload["last_error"]["message"] == "Oh."
    assert not {"instructions", "tools"} & payload.keys()


def test_filters(mock_server):
    fields = {"assistant_id": "asst_2", "metadata": {"team": "data", "env": "prod"}}
    mock_server.add_run(thread_id="thread_1", run_id="run_1", fields=fields | {"assistant_id": "asst_1"})
    mock_server.add_run(thread_id="thread_1", run_id="run_2", fields=fields | {"metadata": {}})
    mock_server.add_run(thread_id="thread_1", run_id="run_3", fields=fields, statuses="failed")
    mock_server.add_run(thread_id="thread_1", run_id="run_4", fields=fields)
    one = going_on(statuses=["completed"], assistant_id="asst_2", metadata={"team": "data"})
    assert [payload["id"] for payload in asyncio.run(first(one, 1))] == ["run_4"]


def test_the_very_first_start_tells_what_ends_from_then_on(mock_server):
    mock_server.add_run(thread_id="thread_1", run_id="run_before")
    mock_server.add_run(thread_id="thread_1", run_id="run_1", statuses=[("queued", 0), ("completed", 30)])

    async def events() -> list[dict]:
        watching = asyncio.create_task(first(trigger(), 2))
        await until(lambda: len(mock_server.requests) > 1)
        mock_server.add_run(thread_id="thread_1", run_id="run_2", statuses="cancelled")
        mock_server.later(30)
        return await watching

    assert [payload["id"] for payload in asyncio.run(events())] == ["run_1", "run_2"]


def test_the_pause_between_looks_is_the_interval(mock_server, pauses):
    mock_server.add_run(thread_id="thread_1", run_id="run_1", statuses=[("queued", 0), ("completed", 30)])

    async def look() -> None:
        watching = asyncio.create_task(first(trigger(), 1))
        await until(lambda: len(mock_server.requests) > 3)
        mock_server.later(30)
        await watching

    asyncio.run(look())
    assert set(pauses[1:]) == {7.0}
    assert {request.query for request in mock_server.requests} == {"limit=20&order=desc"}


# Failures


def failing(mock_server: PortkeyMockServer, one: PortkeyRunEventTrigger) -> PortkeyPollingGaveUpError:
    with pytest.raises(PortkeyPollingGaveUpError) as raised:
        asyncio.run(first(one, 1))
    return raised.value


def test_goes_on_after_failures_paced_and_gives_up_loudly_at_the_count(mock_server, pauses):
    mock_server.add_run(thread_id="thread_1", run_id="run_1", statuses="queued")
    mock_server.fault(status=500, times=2)
    mock_server.fault(status=200, body="<html>", content_type="text/html", times=1)
    error = failing(mock_server, trigger(max_consecutive_failures=3))
    assert "'thread_1'" in str(error)
    assert "3 looks in a row failed" in str(error)
    assert "html" in str(error)
    assert len(mock_server.requests) == 3
    assert pauses[1:] == [7.0, 7.0]


def test_a_success_resets_the_count(mock_server):
    mock_server.add_run(thread_id="thread_1", run_id="run_1", statuses="queued")
    for _ in range(4):
        mock_server.fault(status=500, times=2)
        mock_server.fault(merge={}, times=1)
    mock_server.fault(status=500, times=3)
    failing(mock_server, trigger(max_consecutive_failures=3))
    assert len(mock_server.requests) == 15


def test_honours_retry_after_and_looks_again_soon_where_the_interval_is_long(mock_server, pauses):
    mock_server.add_run(thread_id="thread_1", run_id="run_1")
    mock_server.fault(status=429, headers={"Retry-After": "31"})
    mock_server.fault(status=500)
    asyncio.run(first(going_on(), 1))
    assert pauses[1:] == [31.0, 7.0]
    pauses.clear()
    mock_server.fault(status=500)
    asyncio.run(first(going_on(poll_interval=900), 1))
    assert pauses[1:] == [60.0]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_told_at_once(mock_server, status):
    mock_server.add_run(thread_id="thread_1", run_id="run_1")
    mock_server.fault(status=status, times=None)
    assert "a look was refused" in str(failing(mock_server, trigger()))
    assert len(mock_server.requests) == 1


def test_a_connection_that_cannot_be_used_is_told_at_once(monkeypatch, pauses):
    monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps({"conn_type": "portkey", "host": "ftp://x"}))
    with pytest.raises(PortkeyPollingGaveUpError, match="refused"):
        asyncio.run(first(trigger(), 1))


def test_a_trigger_that_gave_up_and_is_started_anew_keeps_the_pace(mock_server, pauses):
    mock_server.add_run(thread_id="thread_1", run_id="run_1", statuses="queued")
    mock_server.fault(status=403, times=None)
    for _ in range(5):
        failing(mock_server, trigger())
    assert len(mock_server.requests) == 5
    first_looks = [pause for pause in pauses if pause != 0]
    # Nothing really passes here, so the pause before each first look is what is left of the one before.
    assert first_looks[1:] == [pytest.approx(7.0, abs=0.9)] * 4 or all(pause >= 6 for pause in first_looks[1:])
    pauses.clear()
    failing(mock_server, trigger(thread_id="thread_2"))
    assert pauses[0] <= 0


def test_a_run_that_is_gone_is_no_failure(mock_server, logged):
    mock_server.add_run(thread_id="thread_1", run_id="run_1")
    one = going_on(Store(kept(at=1, still_open=("run_gone",))))
    assert [payload["id"] for payload in asyncio.run(first(one, 1))] == ["run_1"]
    assert "run_gone" in "".join(logged)


# The state


def test_goes_on_from_the_store_and_catches_up_by_itself(mock_server):
    for number in range(150):
        mock_server.add_run(thread_id="thread_1", run_id=f"run_{number:03}", created_at=1_700_000_000 + 60 * number)
    one = trigger()
    store = one.asset_state_store = Store(kept(1_700_000_540, {"run_009": 1_700_000_540}, ("run_003",)))
    payloads = asyncio.run(first(one, 141))
    assert [payload["id"] for payload in payloads] == ["run_003", *(f"run_{number:03}" for number in range(10, 150))]
    assert store.value["at"] == 1_700_000_000 + 60 * 149


def test_a_new_watcher_writes_where_it_begins_before_anything_ends(mock_server):
    mock_server.add_run(thread_id="thread_1", run_id="run_1", statuses="queued")
    one = trigger()
    store = one.asset_state_store = Store()

    async def begin() -> None:
        task = asyncio.create_task(first(one, 1))
        await until(lambda: store.value)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(begin())
    assert store.value["open"] == ["run_1"]
    assert len(store.written) == 1


@pytest.mark.parametrize("rubbish", ["text", {"at": "x"}, {"at": 5}, 7])
def test_rubbish_in_the_store_is_a_warning_and_a_new_beginning(mock_server, rubbish, logged):
    mock_server.add_run(thread_id="thread_1", run_id="run_before")
    store = Store(rubbish)

    async def events() -> list[dict]:
        watching = asyncio.create_task(first(going_on(store), 1))
        await until(lambda: store.written)
        mock_server.add_run(thread_id="thread_1", run_id="run_1")
        return await watching

    assert [payload["id"] for payload in asyncio.run(events())] == ["run_1"]
    assert "Beginning anew" in "".join(logged)


def test_a_store_that_cannot_be_read_tells_nothing_until_it_can(mock_server):
    mock_server.add_run(thread_id="thread_1", run_id="run_1", created_at=1_700_000_060)
    one = trigger(max_consecutive_failures=4)
    store = one.asset_state_store = Store(kept(at=1_700_000_000))
    store.failing_reads = 3
    assert [payload["id"] for payload in asyncio.run(first(one, 1))] == ["run_1"]
    store.failing_reads = 4
    assert "the store is away" in str(failing(mock_server, one))


def test_a_store_that_cannot_be_written_is_a_warning_and_written_later(mock_server, logged):
    mock_server.add_run(thread_id="thread_1", run_id="run_1")
    store = Store(kept(1))
    store.failing_writes = 2

    async def twice() -> list[dict]:
        watching = asyncio.create_task(first(going_on(store), 2))
        await until(lambda: store.written)
        assert store.value["open"] == []
        mock_server.add_run(thread_id="thread_1", run_id="run_2")
        return await watching

    assert [payload["id"] for payload in asyncio.run(twice())] == ["run_1", "run_2"]
    assert sum("did not save" in line for line in logged) == 2


class BlockingStore:
    """What 3.3.0 and 3.3.1 have: methods that must not be called on the event loop."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}

    def get(self, key: str, default=None):
        self._off_the_loop()
        return self.values.get(key, kept(1))

    def set(self, key: str, value) -> None:
        self._off_the_loop()
        self.values[key] = value

    def _off_the_loop(self) -> None:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()


async def keys(**changes) -> list[str]:
    """Return the keys under which a trigger keeps its state."""
    store = BlockingStore()
    watching = asyncio.create_task(first(going_on(store, **changes), 9))
    await until(lambda: store.values)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    return list(store.values)


def test_a_store_that_blocks_is_called_off_the_loop(mock_server):
    mock_server.add_run(thread_id="thread_1", run_id="run_1")
    (key,) = asyncio.run(keys())
    assert key.startswith("portkey_run_events_")


def test_what_is_watched_makes_the_key_and_not_how(mock_server):
    mock_server.add_run(thread_id="thread_1", run_id="run_1")
    same = [asyncio.run(keys(**how)) for how in ({}, {"poll_interval": 3}, {"max_consecutive_failures": 2})]
    assert same[0] == same[1] == same[2]
    assert asyncio.run(keys(statuses=["completed"])) != same[0]


class Store33(Store):
    """What a trigger that is watched for several assets gets: one accessor for each, none of its own."""

    def __init__(self, **by_name: Store) -> None:
        super().__init__()
        self._by_name = by_name

    async def aget(self, key: str, default=None):
        raise ValueError("Task has 2 concrete inlets and outlets")

    aset = aget


def test_of_several_assets_each_keeps_the_state_and_the_newest_counts(mock_server):
    mock_server.add_run(thread_id="thread_1", run_id="run_1", created_at=1_700_000_060)
    mock_server.add_run(thread_id="thread_1", run_id="run_2", created_at=1_700_000_120)
    stores = {"b": Store(kept(1_700_000_060, {"run_1": 1_700_000_060})), "a": Store(kept(5)), "c": Store()}
    one = trigger()
    one.asset_state_store = Store33(**stores)
    assert [payload["id"] for payload in asyncio.run(first(one, 1))] == ["run_2"]
    # Whoever stops pulling has not come back for more, so nothing was written for it.
    assert not any(store.written for store in stores.values())
    mock_server.add_run(thread_id="thread_1", run_id="run_3", created_at=1_700_000_180)
    assert len(asyncio.run(first(one, 2))) == 2
    assert len({json.dumps(store.value) for store in stores.values()}) == 1


def test_looks_that_piled_up_are_not_each_completed_by_a_request(mock_server):
    mock_server.add_run(thread_id="thread_1", run_id="run_stuck", statuses="queued", created_at=1_700_000_000)
    for number in range(30):
        mock_server.add_run(thread_id="thread_1", run_id=f"run_{number}", created_at=1_700_001_000 + number)

    async def live() -> int:
        one = going_on(Store(kept(1_700_002_000, {}, ("run_stuck",))))
        stream = one.open_shared_stream(one.serialize()[1])
        look = await anext(stream)
        await stream.aclose()
        seen = len(mock_server.requests)

        async def piled_up():
            for _ in range(50):
                yield look

        assert [event async for event in one.filter_shared_stream(piled_up())] == []
        return len(mock_server.requests) - seen

    assert asyncio.run(live()) == 1


# In Airflow's own runner


class Triggerer:
    """
    Airflow's runner of triggers for one watcher, with what it sends and what happens to that.

    Frames are what crosses the socket, in order: the events of a sync, or a value for the store. The process that
    stores them takes one after the other; dying is to stop between any two.
    """

    def __init__(self, one: PortkeyRunEventTrigger, store: Store, number: int = 1) -> None:
        from airflow.jobs.triggerer_job_runner import TriggerRunner

        self.runner = TriggerRunner()
        self.frames: list[tuple[str, object]] = []
        self.stopping = False
        self._stored = store.value
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
        if self.stopping:  # it reads on, and nobody hears its answers
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


@FROM_3_3
def test_the_state_is_written_when_the_event_has_left_and_not_before(mock_server):
    mock_server.add_run(thread_id="thread_1", run_id="run_1")
    mock_server.add_run(thread_id="thread_1", run_id="run_2")

    async def frames() -> list:
        triggerer = Triggerer(trigger(), Store(kept(1)))
        await until(lambda: triggerer.runner.events)
        # Airflow holds the event back; the trigger must hold its state back.
        seen = len(mock_server.requests)
        await until(lambda: len(mock_server.requests) > seen + 3)
        assert triggerer.frames == []
        triggerer.sync()
        await until(lambda: len(triggerer.frames) == 2)
        await triggerer.die()
        return triggerer.frames

    events = [content if kind == "events" else content["open"] for kind, content in asyncio.run(frames())]
    assert events == [["run_1", "run_2"], []]


@FROM_3_3
def test_an_event_that_a_stopping_triggerer_takes_and_does_not_store_is_told_again(mock_server):
    mock_server.add_run(thread_id="thread_1", run_id="run_1")

    async def frames() -> list:
        triggerer = Triggerer(trigger(), Store(kept(1)))
        await until(lambda: triggerer.runner.events)
        triggerer.stopping = True
        triggerer.sync()
        await asyncio.sleep(0.05)
        await triggerer.die()
        return triggerer.frames

    (kind, dropped), *states = asyncio.run(frames())
    assert (kind, dropped) == ("dropped", ["run_1"])
    assert [state["open"] for _, state in states] == [[], ["run_1"]]


@FROM_3_3
def test_many_events_are_handed_over_in_lots(mock_server):
    mock_server.add_runs(thread_id="thread_1", count=25)

    async def frames() -> list:
        triggerer = Triggerer(trigger(), Store(kept(1)))
        for together in (10, 10, 5):
            await until(lambda together=together: len(triggerer.runner.events) == together)
            sent = len(triggerer.frames)
            triggerer.sync()
            await until(lambda request_sent=sent: len(triggerer.frames) == sent + 2)
        await triggerer.die()
        return triggerer.frames

    told = asyncio.run(frames())
    assert [len(content) for kind, content in told if kind == "events"] == [10, 10, 5]
    assert [len(content["open"]) for kind, content in told if kind == "set"] == [15, 5, 0]


@FROM_3_3
def test_what_arrives_is_plain(mock_server):
    from airflow.jobs.triggerer_job_runner import messages
    from airflow.sdk.execution_time.comms import _RequestFrame

    mock_server.add_run(thread_id="thread_1", run_id="run_1")

    async def crossed() -> object:
        triggerer = Triggerer(trigger(), Store(kept(1)))
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


@FROM_3_3
@pytest.mark.parametrize("seed", range(12))
def test_forty_restarts_tell_each_run_once(mock_server, seed):
    chance = random.Random(seed)
    told: Counter[str] = Counter()
    torn: list[str] = []
    added: list[str] = []
    mock_server.add_run(thread_id="thread_1", run_id="run_before")

    def stored(frames: list, store: Store) -> None:
        known: list[str] = []
        pending: list[str] = []
        for kind, content in frames:
            if kind == "events":
                told.update(content)
                pending += content
            elif kind == "set":
                store.value, known, pending = content, known + pending, []
        # Stored, and the state that goes with it is not, or was taken back.
        torn.extend(pending + [run_id for run_id in known if run_id in store.value["open"]])

    async def live() -> None:
        store = Store()
        beginning = Triggerer(trigger(), store)
        await until(lambda: beginning.frames)
        await beginning.die()
        stored(beginning.frames, store)
        for restart in range(41):
            triggerer = Triggerer(trigger(), store)
            for _ in range(chance.randint(0, 3)):
                added.append(f"run_{len(added)}")
                end = chance.choice([0.0, 0.01, 0.05])
                statuses = [("queued", 0.0), (chance.choice(sorted(ENDED)), end)]
                mock_server.add_run(thread_id="thread_1", run_id=added[-1], statuses=statuses)
            for _ in range(chance.randint(0, 12)):
                await asyncio.sleep(chance.choice([0, 0, 0.002, 0.01]))
                if chance.random() < 0.5:
                    triggerer.sync()
                    if chance.random() < 0.2:
                        break
            if restart == 40:
                async with asyncio.timeout(20):
                    while not triggerer.frames or set(added) - told.keys() - told_in(triggerer):
                        triggerer.sync()
                        await asyncio.sleep(0.005)
            if graceful := restart < 40 and chance.random() < 0.5:
                triggerer.stopping = True
                for _ in range(chance.randint(0, 5)):
                    triggerer.sync()
                    await asyncio.sleep(chance.choice([0, 0.01]))
            # Killed at any moment, what was on its way is stored up to any point; what follows is not.
            sent = len(triggerer.frames)
            await triggerer.die()
            cut = len(triggerer.frames) if graceful else sent if restart == 40 else chance.randint(0, sent)
            frames = triggerer.frames
            stored(frames[:cut], store)

    def told_in(triggerer: Triggerer) -> set[str]:
        return {run_id for kind, content in triggerer.frames if kind == "events" for run_id in content}

    asyncio.run(live())
    assert set(told) == set(added)
    twice = told - Counter(added)
    # Only a death between events and the state that goes with them repeats any, and none but those.
    assert twice <= Counter(torn)


# Shared looks


@FROM_3_3
def test_watchers_of_a_thread_share_one_look(mock_server):
    from airflow.triggers.shared_stream import SharedStreamManager

    mock_server.add_run(thread_id="thread_1", run_id="run_0")
    ends = ["completed", "failed", "expired"]
    watchers = [trigger(), *(trigger(statuses=[end]) for end in ends), trigger(assistant_id="asst_none")]
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
            statuses = [("queued", 0), (ends[number % 3], 0.1)]
            mock_server.add_run(thread_id="thread_1", run_id=f"run_{ends[number % 3]}_{number}", statuses=statuses)
        await until(lambda: len(got[0]) == 6)
        # One that comes late, with a state from before, misses nothing and repeats nothing.
        late = len(watchers)
        watchers.append(trigger(statuses=["failed"], poll_interval=7))
        watchers[-1].asset_state_store = Store(kept(1, {}, ()))
        got[late] = []
        tasks.append(asyncio.create_task(watch(manager, late)))
        await until(lambda: len(got[late]) == 2)
        assert len(manager._groups) == 1
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return len(got)

    opened = run_event.PortkeyRunEventTrigger.open_shared_stream
    streams = []

    def counted(kwargs):
        streams.append(kwargs)
        return opened(kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PortkeyRunEventTrigger, "open_shared_stream", staticmethod(counted))
        assert asyncio.run(live()) == 6
    assert len(streams) == 1
    assert got[1] == ["run_completed_0", "run_completed_3"]
    assert got[2] == got[5] == ["run_failed_1", "run_failed_4"]
    assert got[4] == []
    assert {request.path for request in mock_server.requests} == {"/v1/threads/thread_1/runs"}


@FROM_3_3
def test_a_hundred_watchers_make_the_requests_of_one(mock_server):
    from airflow.triggers.shared_stream import SharedStreamManager

    mock_server.add_run(thread_id="thread_1", run_id="run_0", statuses=[("queued", 0), ("completed", 0.3)])
    watchers = [trigger(metadata={"n": str(number)}) for number in range(100)]
    looks: list[object] = []

    async def live() -> None:
        manager = SharedStreamManager()

        async def watch(number: int) -> None:
            stream = manager.subscribe(
                trigger_id=number, trigger=watchers[number], key=watchers[number].shared_stream_key()
            )

            async def counted():
                async for look in stream:
                    looks.append(look)
                    yield look

            async for _ in watchers[number].filter_shared_stream(counted()):
                pass

        tasks = [asyncio.create_task(watch(number)) for number in range(100)]
        await until(lambda: len(mock_server.requests) >= 20 and len(looks) >= 1900)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await manager.stop_all()

    asyncio.run(live())
    assert len(mock_server.requests) <= len({id(look) for look in looks}) + 5


@FROM_3_3
def test_each_watcher_gives_up_at_its_own_count(mock_server):
    from airflow.triggers.shared_stream import SharedStreamManager

    mock_server.add_run(thread_id="thread_1", run_id="run_0")
    mock_server.fault(status=500, times=None)

    async def live() -> list[str]:
        manager = SharedStreamManager()
        watchers = [trigger(max_consecutive_failures=count) for count in (2, 5)]
        streams = [
            one.filter_shared_stream(manager.subscribe(trigger_id=number, trigger=one, key=one.shared_stream_key()))
            for number, one in enumerate(watchers)
        ]
        ends = await asyncio.gather(*(anext(stream) for stream in streams), return_exceptions=True)
        await manager.stop_all()
        assert all(isinstance(end, PortkeyPollingGaveUpError) for end in ends)
        return [str(end) for end in ends]

    two, five = asyncio.run(live())
    assert "2 looks in a row" in two
    assert "5 looks in a row" in five
