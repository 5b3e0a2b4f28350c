"""Fixtures for tests of DAGs: ``pytest_plugins = ["airflow_provider_portkey.testing.pytest_plugin"]``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_portkey.testing.context import fake_context
from airflow_provider_portkey.testing.server import PortkeyMockServer


@pytest.fixture
def portkey_mock_server() -> Iterator[PortkeyMockServer]:
    """Yield a new, empty mock server for each test."""
    with PortkeyMockServer() as mock_server:
        yield mock_server


@pytest.fixture
def portkey_task_context() -> dict[str, Any]:
    """Return a new task context for each test; see :func:`.fake_context`."""
    return fake_context()
