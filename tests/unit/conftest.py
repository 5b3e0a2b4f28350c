"""A mock server on a clock of the test's own, and waits that are not slept."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator

import pytest

from airflow_provider_portkey.polling import coalescing, drivers
from airflow_provider_portkey.testing import PortkeyMockServer


class OffsetClock:
    """The time of the machine, which a test can put forward."""

    def __init__(self) -> None:
        self._offset = 0.0

    def time(self) -> float:
        return time.time() + self._offset

    def advance(self, seconds: float) -> None:
        self._offset += seconds


@pytest.fixture
def clock() -> OffsetClock:
    """The clock of the mock server; a module with another clock overrides this fixture."""
    return OffsetClock()


@pytest.fixture
def mock_server(monkeypatch: pytest.MonkeyPatch, clock: OffsetClock) -> Iterator[PortkeyMockServer]:
    """A mock server; ``portkey_default`` is the connection to it."""
    with PortkeyMockServer(clock=clock.time) as mock_server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(mock_server.connection()))
        yield mock_server


@pytest.fixture
def replace_sleep(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], None]:
    """Put a coroutine function in the place of the sleep between two polls."""

    def replace(sleep: object) -> None:
        for module in (coalescing, drivers):
            monkeypatch.setattr(module, "sleep_to_grid", sleep)

    return replace


@pytest.fixture
def pauses(replace_sleep: Callable[[object], None]) -> list[float]:
    """The seconds between polls, to a tenth; none of them is slept."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(round(seconds, 1))
        await asyncio.sleep(0.001)

    replace_sleep(sleep)
    return pauses
