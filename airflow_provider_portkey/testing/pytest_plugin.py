"""A fixture for tests of DAGs: ``pytest_plugins = ["airflow_provider_portkey.testing.pytest_plugin"]``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_portkey.testing.server import PortkeyMockServer


@pytest.fixture
def portkey_mock_server() -> Iterator[PortkeyMockServer]:
    """Run a mock server of its own for each test, with an empty world."""
    with PortkeyMockServer() as mock_server:
        yield mock_server
