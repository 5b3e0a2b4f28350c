"""Exports to an S3 server over HTTP."""

from __future__ import annotations

import gzip
import json

import pytest

from airflow_provider_portkey.exceptions import PortkeyDestinationExists, PortkeyUnexpectedAnswer
from airflow_provider_portkey.testing import PortkeyStandIn
from airflow_provider_portkey.transfers.steps_to_object_storage import PortkeyRunStepsToObjectStorageOperator


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch):
    with PortkeyStandIn() as stand_in:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(stand_in.connection()))
        stand_in.add_run(thread_id="thread_1", run_id="run_1", statuses="completed", steps=2_345)
        yield stand_in


@pytest.fixture(scope="module")
def s3_server():
    """An S3 server on loopback. One for all tests: Airflow keeps the file system of a connection id."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, s3_server: str):
    """A client to it; there is the empty bucket ``exports``, and the connection ``object_store``."""
    import boto3

    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
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
    monkeypatch.setenv("AIRFLOW_CONN_OBJECT_STORE", json.dumps(connection | {"extra": extra}))
    yield client
    for key in keys(client):
        client.delete_object(Bucket="exports", Key=key)
    client.delete_bucket(Bucket="exports")


def export(**changes) -> dict:
    arguments = {"thread_id": "thread_1", "run_id": "run_1", "path": "s3://exports/day/steps.jsonl.gz"}
    arguments |= {"object_storage_conn_id": "object_store", "compression": "gzip"}
    return PortkeyRunStepsToObjectStorageOperator(task_id="export", **(arguments | changes)).execute({})


def keys(s3) -> list[str]:
    return [entry["Key"] for entry in s3.list_objects_v2(Bucket="exports").get("Contents", ())]


def test_lands_in_the_bucket(stand_in, s3):
    manifest = export()
    body = s3.get_object(Bucket="exports", Key="day/steps.jsonl.gz")["Body"].read()
    rows = [json.loads(line) for line in gzip.decompress(body).splitlines()]
    assert [row["id"] for row in rows] == [f"step_{number:06}" for number in range(1, 2_346)]
    assert (manifest["uri"], manifest["bytes"]) == ("s3://exports/day/steps.jsonl.gz", len(body))
    assert keys(s3) == ["day/steps.jsonl.gz"]


def test_nothing_lands_where_the_steps_break_off(stand_in, s3):
    stand_in.fault(status=200, body="<html>Sign in</html>", content_type="text/html", path="*/steps", times=None)
    with pytest.raises(PortkeyUnexpectedAnswer):
        export()
    assert keys(s3) == []


def test_an_earlier_export_stays_where_it_must(stand_in, s3):
    s3.put_object(Bucket="exports", Key="day/steps.jsonl.gz", Body=b"earlier")
    with pytest.raises(PortkeyDestinationExists):
        export(overwrite=False)
    assert stand_in.requests == []
    assert s3.get_object(Bucket="exports", Key="day/steps.jsonl.gz")["Body"].read() == b"earlier"


def test_is_replaced_where_it_may(stand_in, s3):
    s3.put_object(Bucket="exports", Key="day/steps.jsonl.gz", Body=b"earlier")
    manifest = export()
    assert s3.head_object(Bucket="exports", Key="day/steps.jsonl.gz")["ContentLength"] == manifest["bytes"]
