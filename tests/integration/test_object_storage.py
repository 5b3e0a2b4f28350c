"""Exports to an S3 server over HTTP."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta

import pytest
import requests

from airflow_provider_portkey.exceptions import PortkeyDestinationExistsError, PortkeyUnexpectedResponseError
from airflow_provider_portkey.testing import PortkeyMockServer
from airflow_provider_portkey.transfers.steps_to_object_storage import (
    PortkeyRunStepsToObjectStorageOperator,
    PortkeyThreadStepsToObjectStorageOperator,
)


@pytest.fixture
def mock_server(monkeypatch: pytest.MonkeyPatch):
    with PortkeyMockServer() as mock_server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(mock_server.connection()))
        mock_server.add_run(thread_id="thread_1", run_id="run_1", statuses="completed", steps=2_345)
        yield mock_server


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


def test_an_export_is_in_the_bucket(mock_server, s3):
    manifest = export()
    body = s3.get_object(Bucket="exports", Key="day/steps.jsonl.gz")["Body"].read()
    rows = [json.loads(line) for line in gzip.decompress(body).splitlines()]
    assert [row["id"] for row in rows] == [f"step_{number:06}" for number in range(1, 2_346)]
    assert (manifest["uri"], manifest["bytes"]) == ("s3://exports/day/steps.jsonl.gz", len(body))
    assert keys(s3) == ["day/steps.jsonl.gz"]


def test_no_file_is_written_where_the_steps_break_off(mock_server, s3):
    mock_server.fault(status=200, body="<html>Sign in</html>", content_type="text/html", path="*/steps", times=None)
    with pytest.raises(PortkeyUnexpectedResponseError):
        export()
    assert keys(s3) == []


def test_an_earlier_export_is_kept_without_overwrite(mock_server, s3):
    s3.put_object(Bucket="exports", Key="day/steps.jsonl.gz", Body=b"earlier")
    with pytest.raises(PortkeyDestinationExistsError):
        export(overwrite=False)
    assert mock_server.requests == []
    assert s3.get_object(Bucket="exports", Key="day/steps.jsonl.gz")["Body"].read() == b"earlier"


def test_an_earlier_export_is_replaced_with_overwrite(mock_server, s3):
    s3.put_object(Bucket="exports", Key="day/steps.jsonl.gz", Body=b"earlier")
    manifest = export()
    assert s3.head_object(Bucket="exports", Key="day/steps.jsonl.gz")["ContentLength"] == manifest["bytes"]


def test_a_repeated_export_of_windows_writes_the_same_files(mock_server, s3):
    """Runs that have not ended are carried over to the next window by way of the bucket, too."""
    s3.put_object(Bucket="exports", Key="threads.txt", Body=b"thread/1\n\nthread_2\n")
    night = datetime(2026, 11, 1, tzinfo=UTC)

    def export_night(number: int, **arguments) -> dict:
        return PortkeyThreadStepsToObjectStorageOperator(
            task_id="export",
            thread_ids_path="s3://exports/threads.txt",
            window_start=night + timedelta(days=number),
            window_end=night + timedelta(days=number + 1),
            path="s3://exports/steps/",
            object_storage_conn_id="object_store",
            **arguments,
        ).execute({})

    def add(thread_id: str, run_id: str, hour: int, statuses) -> None:
        created_at = int((night + timedelta(hours=hour)).timestamp())
        run = {"thread_id": thread_id, "run_id": run_id, "created_at": created_at, "statuses": statuses}
        mock_server.add_run(**run, steps=3, advance="per_poll")

    add("thread/1", "run_1", 3, "completed")
    add("thread_2", "run_2", 23, ["in_progress", "completed"])
    first = export_night(0)
    # The first request returns the first status, the next one the second.
    run = f"{mock_server.url}/threads/thread_2/runs/run_2"
    requests.get(run, headers={"Authorization": "Bearer x"}, timeout=10)
    second = export_night(1)
    written = {key: s3.get_object(Bucket="exports", Key=key)["Body"].read() for key in keys(s3)}
    export_night(0, file_format="csv", compression="gzip")
    for number in (1, 0):
        export_night(number)

    assert (first["runs"]["skipped"], second["runs"]["carried_over"]) == (1, 1)
    assert {key: s3.get_object(Bucket="exports", Key=key)["Body"].read() for key in keys(s3)} == written
    assert sorted(written) == [
        "steps/_unfinished/window_end=20261102T000000Z.json",
        "steps/_unfinished/window_end=20261103T000000Z.json",
        "steps/window_start=20261101T000000Z/_manifest.json",
        "steps/window_start=20261101T000000Z/thread%2F1.jsonl",
        "steps/window_start=20261102T000000Z/_manifest.json",
        "steps/window_start=20261102T000000Z/thread_2.jsonl",
        "threads.txt",
    ]
