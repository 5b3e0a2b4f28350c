"""A stand-in, and pauses that are over at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from airflow_provider_portkey.testing import PortkeyStandIn
from airflow_provider_portkey.triggers import job as trigger_module


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[PortkeyStandIn]:
    with PortkeyStandIn() as stand_in:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(stand_in.connection()))
        yield stand_in


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let every pause be over at once, and keep how long it would have been."""
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(trigger_module, "sleep_to_grid", pause)
    return pauses
