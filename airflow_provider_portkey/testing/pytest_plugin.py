"""A fixture for tests of DAGs: ``pytest_plugins = ["airflow_provider_portkey.testing.pytest_plugin"]``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_portkey.testing.stand_in import PortkeyStandIn


@pytest.fixture
def portkey_stand_in() -> Iterator[PortkeyStandIn]:
    """Run a stand-in of its own for each test, with an empty world."""
    with PortkeyStandIn() as stand_in:
        yield stand_in
