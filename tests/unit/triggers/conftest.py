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


@pytest.fixture
def tracker_state() -> Callable[..., dict[str, Any]]:
    """Return the state of a tracker as an asset state store holds it."""

    def tracker_state(
        at: float = 1, seen: dict[str, float] | None = None, pending: Sequence[str] = ()
    ) -> dict[str, Any]:
        return {"at": at, "seen": seen or {}, "pending": list(pending)}

    return tracker_state


@pytest.fixture
def watcher(monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> Callable[..., Any]:
    """Return an event trigger on ``thread_1``, polling every 7 s; no pause is slept."""
    from airflow_provider_portkey.triggers.run_event import PortkeyRunEventTrigger

    monkeypatch.setattr(PortkeyRunEventTrigger, "_not_before", {})
    monkeypatch.setattr("airflow_provider_portkey.state.asset._TAKE_BACK_TIMEOUT", 0.01)
    return lambda **changes: PortkeyRunEventTrigger(**({"thread_id": "thread_1", "poll_interval": 7.0} | changes))
