"""The example DAGs out of one machine: PostgreSQL, Celery over Redis, S3; a worker and a triggerer die on the way."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pyarrow
import pyarrow.parquet
import pytest
import s3fs

from airflow_provider_portkey.testing import PortkeyMockServer
from tests import services
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import PORTKEY_KEY, TIMEOUT
from tests.e2e.waiting import succeed

EXAMPLES = Path(__file__).parents[2] / "example_dags"
#: The folder of all exports; the part before ``@`` is the connection.
STORE = "s3://aws_default@exports"
THREAD = "thread_nightly"
TICKETS = [f"T-{number}" for number in range(12)]
#: The examples wait a minute before a retry. This is Airflow's own way to set it for all DAGs of a deployment.
POLICY = """
from datetime import timedelta

def task_policy(task):
    task.retry_delay = timedelta(seconds=1)
"""
#: Longer than the test: what is held ends with its worker.
HELD = 3600.0
CALL = {"id": "call_1", "type": "function", "function": {"name": "in_stock", "arguments": '{"article": "A-1"}'}}


@pytest.fixture(scope="module")
def provider() -> Iterator[PortkeyMockServer]:
    with PortkeyMockServer(run_seconds=0) as provider:
        provider.add_messages(thread_id="thread_demo", texts=["Hello."])
        provider.plan("runs", times=None, statuses=[("requires_action", 0)], steps=4, tool_calls=[CALL])
        provider.plan("batches", times=None, texts=dict.fromkeys(TICKETS, '{"label": "praise"}'))
        provider.add_file_batch(vector_store_id="vs_demo", batch_id="vsfb_demo", statuses="completed")
        provider.add_fine_tuning_job(job_id="ftjob_demo", events=130)
        hours = [datetime.now(UTC) - timedelta(hours=hour) for hour in range(80)]
        provider.add_logs(8_000, hours[-1].isoformat(), hours[0].isoformat())
        provider.add_analytics_requests(
            {"created_at": hour.isoformat(), "metadata": {"team": "data", "_user": "user_1"}} for hour in hours
        )
        for hour in reversed(hours):
            provider.add_run(thread_id=THREAD, created_at=int(hour.timestamp()), statuses="completed", steps=5)
        yield provider


@pytest.fixture(scope="module")
def store() -> Iterator[tuple[s3fs.S3FileSystem, str]]:
    """A client to an S3 server with the bucket ``exports``, and the server's URL."""
    with services.s3_server() as url:
        client = s3fs.S3FileSystem(key="test", secret="test-secret", endpoint_url=url)
        client.mkdir("exports")
        yield client, url


@pytest.fixture(scope="module")
def cluster(provider, store, tmp_path_factory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    dags = shutil.copytree(EXAMPLES, folder / "dags")
    policy = folder / "home" / "config" / "airflow_local_settings.py"
    policy.parent.mkdir(parents=True)
    policy.write_text(POLICY)
    aws = {"conn_type": "aws", "login": "test", "password": "test-secret"}
    aws["extra"] = {"endpoint_url": store[1], "region_name": "us-east-1"}
    # Seconds after which Airflow believes that a process is gone.
    settings = {
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "10",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6",
        "PORTKEY_EXAMPLE_EXPORTS": STORE,
        "PORTKEY_EXAMPLE_THREAD_ID": THREAD,
    }
    connections = {"portkey_default": provider.connection() | {"password": PORTKEY_KEY}, "aws_default": aws}
    with services.postgresql() as postgresql, services.redis() as redis:
        where = {"postgresql": postgresql, "redis": redis, "dags_folder": dags, "connections": connections}
        with Cluster(folder / "home", settings=settings, timeout=TIMEOUT, grace=3.0, **where) as cluster:
            for file in EXAMPLES.glob("*.py"):
                cluster.wait_for_dag(file.stem)
            yield cluster


def polls(provider: PortkeyMockServer, end: str) -> int:
    return sum(request.method == "GET" and request.path.endswith(end) for request in provider.requests)


def submissions(provider: PortkeyMockServer) -> Counter[str]:
    """How often a job of each kind was submitted."""
    posts = [request.path for request in provider.requests if request.method == "POST"]
    return Counter(path.rpartition("/")[2] for path in posts)


def trigger(cluster: Cluster, dag_id: str, **conf: Any) -> tuple[str, str]:
    cluster.api.unpause(dag_id)
    return dag_id, cluster.api.trigger(dag_id, conf)


def rows(store: s3fs.S3FileSystem, path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in store.cat_file(path.replace(STORE, "exports")).splitlines()]


def write_requests(store: s3fs.S3FileSystem, path: str) -> None:
    request = {"method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-5-mini", "messages": []}}
    lines = [json.dumps({"custom_id": ticket, **request}) + "\n" for ticket in TICKETS]
    store.pipe_file(path, "".join(lines).encode())


def ended_dag_run(cluster: Cluster, dag_id: str) -> str:
    """Wait for the DAG run that Airflow has made by itself."""
    found = lambda: cluster.api.get(f"/dags/{dag_id}/dagRuns")["dag_runs"]  # noqa: E731
    (dag_run,) = cluster.wait_for(found, f"DAG run of {dag_id}")
    succeed(cluster, dag_id, dag_run["dag_run_id"])
    return dag_run["dag_run_id"]


def test_a_worker_and_a_triggerer_die(cluster, provider, store):
    s3, _ = store
    provider.add_run(thread_id="thread_1", run_id="run_killed", statuses="completed", steps=450)
    provider.add_run(thread_id="thread_1", run_id="run_waited", statuses="in_progress", steps=150)
    pages = [provider.fault(delay=0.01, path="*/runs/run_killed/steps", times=2)]
    pages += [provider.fault(delay=HELD, path="*/runs/run_killed/steps")]
    # The first poll of each: after the submission, before the deferral.
    held = [provider.fault(delay=HELD, method="GET", path=f"/v1/{kind}/*") for kind in ("batches", "responses")]
    write_requests(s3, "exports/requests.jsonl")
    cluster.api.unpause("portkey_on_run_end")
    killed = [
        trigger(cluster, "portkey_gate_and_export", thread_id="thread_1", run_id="run_killed", path=f"{STORE}/k.jsonl"),
        trigger(
            cluster,
            "portkey_batch",
            **{f"{name}_path": f"{STORE}/{name}.jsonl" for name in ("output", "error")},
            input_path=f"{STORE}/requests.jsonl",
        ),
        trigger(cluster, "portkey_response", path=f"{STORE}/response.jsonl"),
    ]
    waited = trigger(
        cluster, "portkey_gate_and_export", thread_id="thread_1", run_id="run_waited", path=f"{STORE}/w.jsonl"
    )
    cluster.wait_for(lambda: all(each.struck for each in [*pages, *held]), "work of the first worker")
    cluster.wait_for(lambda: polls(provider, "/runs/run_waited") >= 3, "poll by the first triggerer")
    cluster.wait_for(lambda: polls(provider, f"/{THREAD}/runs"), "poll for an event")
    before = submissions(provider)
    cluster.start_part("worker-2")
    cluster.start_part("triggerer-2")
    cluster.wait_for_part("worker-2")
    cluster.wait_for_part("triggerer-2")

    cluster.kill("worker-1")
    cluster.kill("triggerer-1")
    # While nobody looks.
    provider.set_run_statuses(thread_id="thread_1", run_id="run_waited", statuses="completed")
    (ended,) = provider.add_runs(thread_id=THREAD, count=1, statuses="completed")
    assert not s3.exists("exports/k.jsonl")

    for dag_id, dag_run_id in [*killed, waited]:
        succeed(cluster, dag_id, dag_run_id)
    tries = {
        (dag_id, name): task["try_number"]
        for dag_id, dag_run_id in [*killed]
        for name, task in cluster.api.task_instances(dag_id, dag_run_id).items()
    }
    again = {key for key, number in tries.items() if number == 2}
    assert again == {
        ("portkey_gate_and_export", "export_steps"),
        ("portkey_batch", "create"),
        ("portkey_response", "create_response"),
    }
    assert {task["try_number"] for task in cluster.api.task_instances(*waited).values()} == {1}
    assert submissions(provider) == before == {"files": 1, "batches": 1, "responses": 1}
    for name, expected in (("k", 450), ("w", 150)):
        assert len({row["id"] for row in rows(s3, f"exports/{name}.jsonl")}) == expected
    assert [row["custom_id"] for row in rows(s3, "exports/output.jsonl")] == TICKETS
    assert rows(s3, "exports/response.jsonl")
    dag_run_id = ended_dag_run(cluster, "portkey_on_run_end")
    assert cluster.api.xcom("portkey_on_run_end", dag_run_id, "handle") == [f"{ended['id']} completed"]
