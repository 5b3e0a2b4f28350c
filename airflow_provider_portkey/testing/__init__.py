"""Tests of DAGs without a key, a network or Airflow's database: a mock server, a task context and a clock."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.testing.context import AssetStateStore, AssetStateStores, Clock, TaskStateStore
from airflow_provider_portkey.testing.context import fake_context as fake_context

if TYPE_CHECKING:
    from airflow_provider_portkey.testing.faults import Fault
    from airflow_provider_portkey.testing.server import PortkeyMockServer

_SERVER = {"Fault": "faults", "PortkeyMockServer": "server"}

__all__ = ["AssetStateStore", "AssetStateStores", "Clock", "Fault", "PortkeyMockServer", "TaskStateStore"]
__all__ += ["fake_context"]


def __getattr__(name: str) -> Any:
    """Import the web server only on its first use."""
    if name not in _SERVER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_SERVER[name]}"), name)
