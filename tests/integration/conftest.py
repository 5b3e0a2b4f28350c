"""DAGs on a real metadata database, and a PostgreSQL server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS, AIRFLOW_V_3_1_PLUS


@pytest.fixture(scope="session")
def parse_dags() -> Callable[[Path], dict[str, Any]]:
    """
    Parse a file or a folder as Airflow does, and return the DAGs by their ids.

    Airflow 3.0 runs no task whose assets are not stored; from 3.1 on ``dag.test()`` stores them.
    """
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # before Airflow 3.2
        from airflow.models.dagbag import DagBag
    from airflow.utils.db import initdb

    initdb()

    def parse(path: Path) -> dict[str, Any]:
        bag = DagBag(dag_folder=path)
        assert bag.import_errors == {}
        if AIRFLOW_V_3_0_PLUS and not AIRFLOW_V_3_1_PLUS:
            from airflow.dag_processing.bundles.manager import DagBundlesManager

            DagBundlesManager().sync_bundles_to_db()
            bag.sync_to_db(bundle_name="dags-folder", bundle_version=None)
        return dict(bag.dags)

    return parse


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The address of an empty database ``airflow``: ``user@host:port/name``."""
    from tests import services

    with services.postgresql() as address:
        yield address
