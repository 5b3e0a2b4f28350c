"""A local mock server for the provider behind Portkey, for tests that need neither a key nor a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_portkey.testing.faults import Fault
    from airflow_provider_portkey.testing.server import PortkeyMockServer

__all__ = ["Fault", "PortkeyMockServer"]


def __getattr__(name: str) -> Any:
    """Import the web server only when somebody wants it."""
    if name == "Fault":
        from airflow_provider_portkey.testing.faults import Fault

        return Fault
    if name == "PortkeyMockServer":
        from airflow_provider_portkey.testing.server import PortkeyMockServer

        return PortkeyMockServer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
