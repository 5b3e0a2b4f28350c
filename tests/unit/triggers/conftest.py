"""Arguments, stores and log lines of triggers."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from airflow.triggers.base import BaseTrigger

from airflow_provider_portkey.polling.wait_state import WaitState


@pytest.fixture
def wait_state() -> Callable[..., dict[str, Any]]:
    """Return a wait of a minute, polled every 7 s, as a trigger takes the wait."""

    def wait_state(**changes: Any) -> dict[str, Any]:
        now = time.time()
        values = {"started_at": now, "deadline": now + 60, "poll_interval": 7.0} | changes
        return WaitState(**values).to_dict()

    return wait_state


@pytest.fixture
def next_event() -> Callable[[Any], Awaitable[dict[str, Any]]]:
    """Run a trigger, and return the payload of its only event as plain data."""

    async def next_event(trigger: Any) -> dict[str, Any]:
        (event,) = [event async for event in trigger.run()]
        return json.loads(json.dumps(event.payload))

    return next_event


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], Awaitable[None]]:
    """Wait for a condition."""

    async def until(condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.002)

    return until


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The log lines of triggers, whatever Airflow does with them."""
    lines: list[str] = []
    log = logging.Logger("trigger")
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    monkeypatch.setattr(BaseTrigger, "log", log, raising=False)
    return lines


class AssetStateStore:
    """
    Airflow's asset state store with one value, and everything that was written to it.

    :param value: The stored value.
    """

    def __init__(self, value: Any = None) -> None:
        self.value = value
        self.written: list[dict[str, Any]] = []
        self.failing_reads = 0
        self.failing_writes = 0

    async def aget(self, key: str, default: Any = None) -> Any:
        if self.failing_reads:
            self.failing_reads -= 1
            raise RuntimeError("the store is away")
        return self.value

    async def aset(self, key: str, value: Any) -> None:
        if self.failing_writes:
            self.failing_writes -= 1
            raise RuntimeError("the store is away")
        self.value = json.loads(json.dumps(value))
        self.written.append(self.value)


@pytest.fixture
def make_store() -> Callable[..., AssetStateStore]:
    """Return an asset state store, with the state of a tracker where ``at`` is given."""

    def make_store(
        value: Any = None, *, at: float | None = None, seen: dict[str, float] | None = None, pending: Sequence[str] = ()
    ) -> AssetStateStore:
        return AssetStateStore(value if at is None else {"at": at, "seen": seen or {}, "pending": list(pending)})

    return make_store


@pytest.fixture
def watcher(monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> Callable[..., Any]:
    """Return an event trigger on ``thread_1``, polling every 7 s; no pause is slept."""
    from airflow_provider_portkey.triggers.run_event import PortkeyRunEventTrigger

    monkeypatch.setattr(PortkeyRunEventTrigger, "_not_before", {})
    monkeypatch.setattr("airflow_provider_portkey.state.asset._TAKE_BACK_TIMEOUT", 0.01)
    return lambda **changes: PortkeyRunEventTrigger(**({"thread_id": "thread_1", "poll_interval": 7.0} | changes))
