"""Tests of DAGs without a key, a network or Airflow's database: a mock server, a task context and a clock."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_portkey.testing.clock import Clock
    from airflow_provider_portkey.testing.context import AssetStateStore, AssetStateStores, TaskStateStore, fake_context
    from airflow_provider_portkey.testing.faults import Fault
    from airflow_provider_portkey.testing.server import PortkeyMockServer

__all__ = [
    "AssetStateStore",
    "AssetStateStores",
    "Clock",
    "Fault",
    "PortkeyMockServer",
    "TaskStateStore",
    "fake_context",
]

_MODULES = {"Clock": "clock", "Fault": "faults", "PortkeyMockServer": "server"}


def __getattr__(name: str) -> Any:
    """Import the web server only on its first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'context')}"), name)
