"""A mock server, and pauses that are over at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from airflow_provider_portkey.testing import PortkeyMockServer
from airflow_provider_portkey.triggers import job as trigger_module


@pytest.fixture
def mock_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[PortkeyMockServer]:
    with PortkeyMockServer() as mock_server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(mock_server.connection()))
        yield mock_server


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let every pause be over at once, and keep how long it would have been."""
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(trigger_module, "sleep_to_grid", pause)
    return pauses
