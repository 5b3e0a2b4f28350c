"""DAGs on a real metadata database, and a PostgreSQL server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def parse_dags() -> Callable[[Path], dict[str, Any]]:
    """Parse a file or a folder as Airflow does, and return the DAGs by their ids."""
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # before Airflow 3.1
        from airflow.models.dagbag import DagBag
    from airflow.utils.db import initdb

    initdb()

    def parse(path: Path) -> dict[str, Any]:
        bag = DagBag(dag_folder=path)
        assert bag.import_errors == {}
        return dict(bag.dags)

    return parse


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The address of an empty database ``airflow``: ``user@host:port/name``."""
    from tests import services

    with services.postgresql() as address:
        yield address
