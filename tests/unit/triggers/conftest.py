"""Arguments that every trigger takes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

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
def next_event() -> Callable[[Any], Any]:
    """Run a trigger, and return the payload of its only event as plain data."""

    async def next_event(trigger: Any) -> dict[str, Any]:
        (event,) = [event async for event in trigger.run()]
        return json.loads(json.dumps(event.payload))

    return next_event
