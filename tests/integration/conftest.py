"""DAGs on a real metadata database, a PostgreSQL server, and a bucket of an S3 server."""

from __future__ import annotations

import json
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


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """An S3 server on loopback. One for all tests: Airflow keeps the file system of a connection id."""
    pytest.importorskip("moto", reason="moto needs newer packages than the oldest that are allowed")
    from tests import services

    with services.s3_server() as url:
        yield url


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, s3_server: str) -> Iterator[Any]:
    """
    A client to it; there is the empty bucket ``exports``.

    Only the connections ``object_store`` and ``aws_default`` give access: without one nothing listens.
    """
    import boto3

    from tests.services import keys

    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    client = boto3.client(
        "s3",
        endpoint_url=s3_server,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test-secret",
    )
    client.create_bucket(Bucket="exports")
    connection = {"conn_type": "aws", "login": "test", "password": "test-secret"}
    extra = {"endpoint_url": s3_server, "region_name": "us-east-1"}
    for conn_id in ("OBJECT_STORE", "AWS_DEFAULT"):
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id}", json.dumps(connection | {"extra": extra}))
    yield client
    for key in keys(client):
        client.delete_object(Bucket="exports", Key=key)
    client.delete_bucket(Bucket="exports")
