from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest
from airflow import __version__ as airflow_version
from airflow.triggers.base import TriggerEvent

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError, PortkeyPollingGaveUpError
from airflow_provider_portkey.testing.context import AssetStateStore, AssetStateStores, TaskStateStore

if int(airflow_version.split(".")[0]) < 3:
    pytest.skip("older versions know no event triggers", allow_module_level=True)


@pytest.fixture
def resumed(watcher, tracker_state):
    """Return a trigger that was started before, long ago, so that it emits every run that has finished by now."""

    def resumed(store: Any = None, **changes: Any) -> Any:
        one = watcher(**changes)
        one.asset_state_store = store or AssetStateStore(default=tracker_state())
        return one

    return resumed


async def first(one: Any, count: int) -> list[dict[str, Any]]:
    """Return the payloads of the first events, as plain data."""
    events: list[TriggerEvent] = []
    stream = one.run()
    async with asyncio.timeout(20), contextlib.aclosing(stream):
        async for event in stream:
            events.append(event)
            if len(events) == count:
                break
    return [event.model_dump()["payload"] for event in events]


# Arguments


def test_is_the_same_trigger_in_every_process(watcher):
    one = watcher(statuses={"failed", "completed"}, metadata={"b": "2", "a": "1"}, assistant_id="asst_1")
    classpath, arguments = one.serialize()
    assert classpath == "airflow_provider_portkey.triggers.run_event.PortkeyRunEventTrigger"
    assert type(one)(**json.loads(json.dumps(arguments))).serialize() == (classpath, arguments)
    other = watcher(statuses=["completed", "failed", "failed"], metadata={"a": "1", "b": "2"}, assistant_id="asst_1")
    assert json.dumps(other.serialize()) == json.dumps(one.serialize())
    assert one.hash(*other.serialize()) == one.hash(*one.serialize())


def test_equal_numbers_make_one_trigger(watcher):
    one, other = watcher(poll_interval=60, lookback=0), watcher(poll_interval=60.0, lookback=0.0)
    assert json.dumps(one.serialize()) == json.dumps(other.serialize())


def test_carries_no_credential(mock_server, watcher):
    shown = json.dumps(watcher().serialize()) + repr(watcher())
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
        ("statuses", [["completed"]]),
        ("statuses", [None]),
        ("metadata", {"a": 1}),
        ("metadata", "a=1"),
        ("assistant_id", ""),
        ("poll_interval", 0),
        ("poll_interval", float("nan")),
        ("poll_interval", True),
        ("max_consecutive_failures", 0),
        ("max_consecutive_failures", None),
        ("max_consecutive_failures", True),
        ("lookback", -1),
        ("lookback", float("inf")),
        ("lookback", "soon"),
    ],
)
def test_a_bad_argument_is_refused_at_once(field, value, watcher):
    with pytest.raises(PortkeyInvalidArgumentError, match=field):
        watcher(**{field: value})


# Events


def test_each_run_that_finishes_makes_an_event_with_its_summary(mock_server, resumed):
    mock_server.add_run(
        thread_id="thread_1",
        run_id="run_1",
        statuses="failed",
        last_error={"code": "server_error", "message": "Oh."},
        fields={"instructions": "long", "tools": [{"type": "code_interpreter"}]},
    )
    (payload,) = asyncio.run(first(resumed(), 1))
    assert (payload["id"], payload["status"], payload["thread_id"]) == ("run_1", "failed", "thread_1")
    assert payload["last_error"]["message"] == "Oh."
    assert not {"instructions", "tools"} & payload.keys()


def test_filters(mock_server, resumed):
    fields = {"assistant_id": "asst_2", "metadata": {"team": "data", "env": "prod"}}
    mock_server.add_run(thread_id="thread_1", run_id="run_1", fields=fields | {"assistant_id": "asst_1"})
    mock_server.add_run(thread_id="thread_1", run_id="run_2", fields=fields | {"metadata": {}})
    mock_server.add_run(thread_id="thread_1", run_id="run_3", fields=fields, statuses="failed")
    mock_server.add_run(thread_id="thread_1", run_id="run_4", fields=fields)
    one = resumed(statuses=["completed"], assistant_id="asst_2", metadata={"team": "data"})
    assert [payload["id"] for payload in asyncio.run(first(one, 1))] == ["run_4"]


def test_the_very_first_start_emits_the_runs_that_finish_from_then_on(mock_server, server_clock, watcher, until):
    mock_server.add_run(thread_id="thread_1", run_id="run_before")
    mock_server.add_run(thread_id="thread_1", run_id="run_1", statuses=[("queued", 0), ("completed", 30)])

    async def events() -> list[dict]:
        watching = asyncio.create_task(first(watcher(), 2))
        await until(lambda: len(mock_server.requests) > 1)
        mock_server.add_run(thread_id="thread_1", run_id="run_2", statuses="cancelled")
        server_clock.advance(30)
        return await watching

    assert [payload["id"] for payload in asyncio.run(events())] == ["run_1", "run_2"]


def test_the_pause_between_polls_is_the_interval(mock_server, pauses, server_clock, watcher, until):
    mock_server.add_run(thread_id="thread_1", run_id="run_1", statuses=[("queued", 0), ("completed", 30)])

    async def poll() -> None:
        watching = asyncio.create_task(first(watcher(), 1))
        await until(lambda: len(mock_server.requests) > 3)
        server_clock.advance(30)
        await watching

    asyncio.run(poll())
    assert set(pauses[1:]) == {7.0}
    assert {request.query for request in mock_server.requests} == {"limit=20&order=desc"}


# Failures


def failing(one: Any) -> PortkeyPollingGaveUpError:
    """Return the error with which a trigger gives up."""
    with pytest.raises(PortkeyPollingGaveUpError) as raised:
        asyncio.run(first(one, 1))
    return raised.value


def test_continues_after_failures_with_pauses_and_gives_up_at_the_limit(mock_server, pauses, watcher):
    mock_server.add_run(thread_id="thread_1", run_id="run_1", statuses="queued")
    mock_server.fault(status=500, times=2)
    mock_server.fault(status=200, body="<html>", content_type="text/html", times=1)
    error = failing(watcher(max_consecutive_failures=3))
    assert "'thread_1'" in str(error)
    assert "3 consecutive polls failed" in str(error)
    assert "html" in str(error)
    assert len(mock_server.requests) == 3
    assert pauses[1:] == [7.0, 7.0]


def test_a_success_resets_the_count(mock_server, watcher):
    mock_server.add_run(thread_id="thread_1", run_id="run_1", statuses="queued")
    for _ in range(4):
        mock_server.fault(status=500, times=2)
        mock_server.fault(merge={}, times=1)
    mock_server.fault(status=500, times=3)
    failing(watcher(max_consecutive_failures=3))
    assert len(mock_server.requests) == 15


def test_honours_retry_after_and_polls_within_a_minute_where_the_interval_is_long(mock_server, pauses, resumed):
    mock_server.add_run(thread_id="thread_1", run_id="run_1")
    mock_server.fault(status=429, headers={"Retry-After": "31"})
    mock_server.fault(status=500)
    asyncio.run(first(resumed(), 1))
    assert pauses[1:] == [31.0, 7.0]
    pauses.clear()
    mock_server.fault(status=500)
    asyncio.run(first(resumed(poll_interval=900), 1))
    assert pauses[1:] == [60.0]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_raised_at_once(mock_server, status, watcher):
    mock_server.add_run(thread_id="thread_1", run_id="run_1")
    mock_server.fault(status=status, times=None)
    assert "a poll was refused" in str(failing(watcher()))
    assert len(mock_server.requests) == 1


def test_a_connection_that_cannot_be_used_is_raised_at_once(monkeypatch, watcher):
    monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps({"conn_type": "portkey", "host": "ftp://x"}))
    with pytest.raises(PortkeyPollingGaveUpError, match="refused"):
        asyncio.run(first(watcher(), 1))


def test_a_trigger_that_gave_up_and_is_started_again_keeps_the_pause(mock_server, pauses, watcher):
    mock_server.add_run(thread_id="thread_1", run_id="run_1", statuses="queued")
    mock_server.fault(status=403, times=None)
    for _ in range(5):
        failing(watcher())
    assert len(mock_server.requests) == 5
    first_polls = [pause for pause in pauses if pause != 0]
    # Nothing really passes here, so the pause before each first poll is the rest of the one before.
    assert first_polls[1:] == [pytest.approx(7.0, abs=0.9)] * 4 or all(pause >= 6 for pause in first_polls[1:])
    pauses.clear()
    failing(watcher(thread_id="thread_2"))
    assert pauses[0] <= 0


def test_a_run_that_is_gone_is_no_failure(mock_server, logged, resumed, tracker_state):
    mock_server.add_run(thread_id="thread_1", run_id="run_1")
    one = resumed(AssetStateStore(default=tracker_state(1, pending=("run_gone",))))
    assert [payload["id"] for payload in asyncio.run(first(one, 1))] == ["run_1"]
    assert "run_gone" in "".join(logged)


# The state


def test_continues_from_the_store_and_catches_up_by_itself(mock_server, watcher, tracker_state):
    for number in range(150):
        mock_server.add_run(thread_id="thread_1", run_id=f"run_{number:03}", created_at=1_700_000_000 + 60 * number)
    one = watcher()
    store = one.asset_state_store = AssetStateStore(
        default=tracker_state(1_700_000_540, seen={"run_009": 1_700_000_540}, pending=("run_003",))
    )
    payloads = asyncio.run(first(one, 141))
    assert [payload["id"] for payload in payloads] == ["run_003", *(f"run_{number:03}" for number in range(10, 150))]
    assert store.writes[-1][1]["at"] == 1_700_000_000 + 60 * 149


def test_a_new_watcher_writes_its_state_before_any_run_finishes(mock_server, watcher, until):
    mock_server.add_run(thread_id="thread_1", run_id="run_1", statuses="queued")
    one = watcher()
    store = one.asset_state_store = AssetStateStore()

    async def begin() -> None:
        task = asyncio.create_task(first(one, 1))
        await until(lambda: store.writes)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(begin())
    ((_, state),) = store.writes
    assert state["pending"] == ["run_1"]


@pytest.mark.parametrize("nonsense", ["text", {"at": "x"}, {"at": 5}, 7])
def test_nonsense_in_the_store_is_a_warning_and_a_new_start(mock_server, nonsense, logged, resumed, until):
    mock_server.add_run(thread_id="thread_1", run_id="run_before")
    store = AssetStateStore(default=nonsense)

    async def events() -> list[dict]:
        watching = asyncio.create_task(first(resumed(store), 1))
        await until(lambda: store.writes)
        mock_server.add_run(thread_id="thread_1", run_id="run_1")
        return await watching

    assert [payload["id"] for payload in asyncio.run(events())] == ["run_1"]
    assert "Beginning anew" in "".join(logged)


def test_a_store_that_cannot_be_read_emits_nothing_until_it_can(mock_server, watcher, tracker_state):
    mock_server.add_run(thread_id="thread_1", run_id="run_1", created_at=1_700_000_060)
    one = watcher(max_consecutive_failures=4)
    store = one.asset_state_store = AssetStateStore(default=tracker_state(1_700_000_000))
    store.failing_reads = 3
    assert [payload["id"] for payload in asyncio.run(first(one, 1))] == ["run_1"]
    store.failing_reads = 4
    assert "fail this read" in str(failing(one))


def test_a_store_that_cannot_be_written_is_a_warning_and_written_later(
    mock_server, logged, resumed, tracker_state, until
):
    mock_server.add_run(thread_id="thread_1", run_id="run_1")
    store = AssetStateStore(default=tracker_state())
    store.failing_writes = 2

    async def twice() -> list[dict]:
        watching = asyncio.create_task(first(resumed(store), 2))
        await until(lambda: store.writes)
        assert store.writes[-1][1]["pending"] == []
        mock_server.add_run(thread_id="thread_1", run_id="run_2")
        return await watching

    assert [payload["id"] for payload in asyncio.run(twice())] == ["run_1", "run_2"]
    assert sum("did not save" in line for line in logged) == 2


class BlockingStore(TaskStateStore):
    """The store of 3.3.0 and 3.3.1: its methods must not be called on the event loop."""

    def get(self, key: str, default: Any = None) -> Any:
        self._off_the_loop()
        return super().get(key, default)

    def set(self, key: str, value: Any, **options: Any) -> None:
        self._off_the_loop()
        super().set(key, value, **options)

    def _off_the_loop(self) -> None:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()


@pytest.fixture
def keys(resumed, tracker_state, until):
    """Return the keys under which a trigger stores its state."""

    async def keys(**changes: Any) -> list[str]:
        store = BlockingStore(default=tracker_state())
        watching = asyncio.create_task(first(resumed(store, **changes), 9))
        await until(lambda: store.values)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        return list(store.values)

    return keys


def test_a_store_that_blocks_is_called_off_the_loop(mock_server, keys):
    mock_server.add_run(thread_id="thread_1", run_id="run_1")
    (key,) = asyncio.run(keys())
    assert key.startswith("portkey_run_events_")


def test_the_watched_runs_make_the_key_and_not_the_interval(mock_server, keys):
    mock_server.add_run(thread_id="thread_1", run_id="run_1")
    same = [asyncio.run(keys(**how)) for how in ({}, {"poll_interval": 3}, {"max_consecutive_failures": 2})]
    assert same[0] == same[1] == same[2]
    assert asyncio.run(keys(statuses=["completed"])) != same[0]


def test_of_several_assets_each_has_the_state_and_the_newest_counts(mock_server, watcher, tracker_state):
    mock_server.add_run(thread_id="thread_1", run_id="run_1", created_at=1_700_000_060)
    mock_server.add_run(thread_id="thread_1", run_id="run_2", created_at=1_700_000_120)
    stores = {
        "b": AssetStateStore(default=tracker_state(1_700_000_060, seen={"run_1": 1_700_000_060})),
        "a": AssetStateStore(default=tracker_state(5)),
        "c": AssetStateStore(),
    }
    one = watcher()
    one.asset_state_store = AssetStateStores(**stores)
    assert [payload["id"] for payload in asyncio.run(first(one, 1))] == ["run_2"]
    # A caller that stops pulling has not come back for more, so nothing was written.
    assert not any(store.writes for store in stores.values())
    mock_server.add_run(thread_id="thread_1", run_id="run_3", created_at=1_700_000_180)
    assert len(asyncio.run(first(one, 2))) == 2
    assert len({json.dumps(store.values) for store in stores.values()}) == 1


def test_snapshots_that_accumulated_are_not_each_completed_by_a_request(mock_server, resumed, tracker_state):
    mock_server.add_run(thread_id="thread_1", run_id="run_stuck", statuses="queued", created_at=1_700_000_000)
    for number in range(30):
        mock_server.add_run(thread_id="thread_1", run_id=f"run_{number}", created_at=1_700_001_000 + number)

    async def poll() -> int:
        one = resumed(AssetStateStore(default=tracker_state(1_700_002_000, pending=("run_stuck",))))
        stream = one.open_shared_stream(one.serialize()[1])
        snapshot = await anext(stream)
        await stream.aclose()
        seen = len(mock_server.requests)

        async def accumulated():
            for _ in range(50):
                yield snapshot

        assert [event async for event in one.filter_shared_stream(accumulated())] == []
        return len(mock_server.requests) - seen

    assert asyncio.run(poll()) == 1
