"""The example DAGs out of one machine: PostgreSQL, Celery over Redis, S3; a worker and a triggerer die on the way."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

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
#: The example that waits for a person: test_human_approval.py.
WITH_A_PERSON = "portkey_human_approval"
#: The folder of all exports; the part before ``@`` is the connection.
STORE = "s3://aws_default@exports"
THREAD = "thread_nightly"
SCHEDULED = ("portkey_log_export", "portkey_nightly_cost", "portkey_nightly_export", "portkey_scheduled_export")
TICKETS_PATH = f"{STORE}/tickets.parquet"
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
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "10",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6",
        "PORTKEY_EXAMPLE_EXPORTS": STORE,
        "PORTKEY_EXAMPLE_THREAD_ID": THREAD,
    }
    portkey = provider.connection() | {"password": PORTKEY_KEY}
    portkey["extra"]["read_timeout"] = HELD  # a busy machine takes its time to start the second worker
    connections = {"portkey_default": portkey, "aws_default": aws}
    with services.postgresql() as postgresql, services.redis() as redis:
        where = {"postgresql": postgresql, "redis": redis, "dags_folder": dags, "connections": connections}
        with Cluster(folder / "home", settings=settings, timeout=TIMEOUT, grace=3.0, **where) as cluster:
            for file in EXAMPLES.glob("*.py"):
                cluster.wait_for_dag(file.stem)
            yield cluster


def trigger(cluster: Cluster, dag_id: str, **conf: Any) -> tuple[str, str]:
    cluster.api.unpause(dag_id)
    return dag_id, cluster.api.trigger(dag_id, conf)


def polls(provider: PortkeyMockServer, end: str) -> int:
    return sum(request.method == "GET" and request.path.endswith(end) for request in provider.requests)


def submissions(provider: PortkeyMockServer) -> list[str]:
    """What was submitted, in the order of arrival."""
    return [path for request in provider.requests if request.method == "POST" and (path := request.path)]


def rows(store: s3fs.S3FileSystem, path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in store.cat_file(path).splitlines()]


@dataclass(frozen=True)
class Story:
    """The DAG runs by the ids of their DAGs."""

    dag_runs: dict[str, str]
    #: The DAG run whose wait was on the triggerer that was killed.
    waited: str
    #: The run that ended while there was no triggerer.
    ended_run: str


@pytest.fixture(scope="module")
def story(cluster, provider, store) -> Story:
    s3, _ = store
    provider.add_run(thread_id="thread_1", run_id="run_killed", statuses="completed", steps=450)
    provider.add_run(thread_id="thread_1", run_id="run_waited", statuses="in_progress", steps=150)
    provider.add_run(thread_id="thread_1", run_id="run_short", statuses="completed", steps=5)
    request = {"method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-5-mini", "messages": []}}
    lines = [json.dumps({"custom_id": ticket, **request}) for ticket in TICKETS]
    s3.pipe_file("exports/requests.jsonl", "\n".join(lines).encode())
    scores = [{"custom_id": ticket, "status": "succeeded", "parsed": '{"score": 0.9}'} for ticket in TICKETS]
    s3.pipe_file("exports/scores.jsonl", "\n".join(map(json.dumps, scores)).encode())
    with s3.open("exports/tickets.parquet", "wb") as file:
        pyarrow.parquet.write_table(pyarrow.table({"ticket": TICKETS, "note": TICKETS}), file)

    for dag_id in ("portkey_on_run_end", "portkey_on_batch_end"):
        cluster.api.start_watchers(dag_id)
    cluster.wait_for(lambda: polls(provider, f"/{THREAD}/runs"), "poll for runs that have ended")
    cluster.wait_for(lambda: polls(provider, "/v1/batches"), "poll for batches that have ended")
    # Each is in the middle of its work when its worker dies: a file is half written, a batch is created but its task
    # does not know, a list is requested.
    held = [
        provider.fault(delay=0.01, path="*/runs/run_killed/steps", times=2),
        provider.fault(delay=HELD, path="*/runs/run_killed/steps"),
        provider.fault(response_delay=HELD, method="POST", path="/v1/batches"),
        provider.fault(delay=HELD, method="GET", path="/v1/responses/*/input_items"),
    ]
    paths = {f"{name}_path": f"{STORE}/{name}.jsonl" for name in ("output", "error")}
    run = {"thread_id": "thread_1", "run_id": "run_killed"}
    dag_runs = [
        trigger(cluster, "portkey_gate_and_export", **run, path=f"{STORE}/steps.jsonl"),
        trigger(cluster, "portkey_batch", **paths, input_path=f"{STORE}/requests.jsonl"),
        trigger(cluster, "portkey_response", path=f"{STORE}/response.jsonl"),
    ]
    _, waited = trigger(
        cluster, "portkey_gate_and_export", **run | {"run_id": "run_waited"}, path=f"{STORE}/waited.jsonl"
    )
    cluster.wait_for(lambda: all(each.struck == each.times for each in held), "work of the first worker")
    cluster.wait_for(lambda: polls(provider, "/runs/run_waited") >= 3, "poll by the first triggerer")
    for name in ("worker-2", "triggerer-2"):
        cluster.start_part(name)
    for name in ("worker-2", "triggerer-2"):
        cluster.wait_for_part(name)

    cluster.kill("worker-1")
    cluster.kill("triggerer-1")
    assert not s3.exists("exports/steps.jsonl")
    provider.set_run_statuses(thread_id="thread_1", run_id="run_waited", statuses="completed")
    (ended,) = provider.add_runs(thread_id=THREAD, count=1, statuses="completed")
    dag_runs += [
        trigger(cluster, "portkey_any_job"),
        trigger(cluster, "portkey_batch_gate", table=f"{STORE}/scores.jsonl"),
        trigger(cluster, "portkey_batch_report", input_path=f"{STORE}/requests.jsonl", folder=f"{STORE}/report"),
        trigger(cluster, "portkey_batch_rounds", rows_path=TICKETS_PATH, folder=f"{STORE}/rounds"),
        trigger(cluster, "portkey_batch_table", rows_path=TICKETS_PATH, folder=f"{STORE}/table"),
        trigger(cluster, "portkey_create_any_job"),
        trigger(cluster, "portkey_create_run", path=f"{STORE}/created.jsonl"),
        trigger(cluster, "portkey_export_lists", thread_id=THREAD, folder=f"{STORE}/lists"),
        trigger(cluster, "portkey_many_runs", thread_id=THREAD, runs=3),
        trigger(cluster, "portkey_run_report", **run, path=f"{STORE}/run.html"),
        trigger(cluster, "portkey_steps_to_xcom", thread_id="thread_1", run_id="run_short"),
    ]
    for dag_id in SCHEDULED:
        cluster.api.unpause(dag_id)
    for dag_id in (*SCHEDULED, "portkey_on_run_end", "portkey_on_batch_end"):
        made = cluster.wait_for(lambda dag_id=dag_id: dag_runs_of(cluster, dag_id), f"DAG run of {dag_id}")
        dag_runs.append((dag_id, made[0]))
    return Story(dict(dag_runs), waited, ended["id"])


def dag_runs_of(cluster: Cluster, dag_id: str) -> list[str]:
    found = cluster.api.get(f"/dags/{dag_id}/dagRuns", order_by="run_after")["dag_runs"]
    return [each["dag_run_id"] for each in found]


def test_what_the_worker_did_is_done_once_by_the_other(cluster, provider, store, story):
    tries = {}
    for dag_id in ("portkey_gate_and_export", "portkey_batch", "portkey_response"):
        succeed(cluster, dag_id, story.dag_runs[dag_id])
        for task_id, task in cluster.api.task_instances(dag_id, story.dag_runs[dag_id]).items():
            tries[task_id] = task["try_number"]
    assert tries == {
        **{"wait_for_run": 1, "export_steps": 2},
        **{"create": 2, "export": 1},
        **{"create_response": 1, "get_items": 1, "export_items": 2},
    }
    s3, _ = store
    assert len({row["id"] for row in rows(s3, "exports/steps.jsonl")}) == 450
    assert sorted(row["custom_id"] for row in rows(s3, "exports/output.jsonl")) == sorted(TICKETS)
    assert rows(s3, "exports/response.jsonl")


def test_a_wait_continues_on_the_other_triggerer(cluster, provider, store, story):
    succeed(cluster, "portkey_gate_and_export", story.waited)
    tasks = cluster.api.task_instances("portkey_gate_and_export", story.waited)
    assert {task["try_number"] for task in tasks.values()} == {1}
    assert len({row["id"] for row in rows(store[0], "exports/waited.jsonl")}) == 150


def test_events_of_the_time_without_a_triggerer_come_once(cluster, provider, story):
    batch = cluster.api.xcom("portkey_batch", story.dag_runs["portkey_batch"], "create")["id"]
    for dag_id, ended in (("portkey_on_run_end", story.ended_run), ("portkey_on_batch_end", batch)):
        seen: list[str] = []
        for dag_run_id in dag_runs_of(cluster, dag_id):
            succeed(cluster, dag_id, dag_run_id)
            seen += cluster.api.xcom(dag_id, dag_run_id, "handle")
        assert seen.count(f"{ended} completed") == 1
        assert len(set(seen)) == len(seen)


def test_every_other_example_succeeds(cluster, story):
    assert story.dag_runs.keys() == {file.stem for file in EXAMPLES.glob("*.py")} - {WITH_A_PERSON}
    for dag_id, dag_run_id in story.dag_runs.items():
        succeed(cluster, dag_id, dag_run_id)


def test_every_file_is_whole(cluster, store, story):
    test_every_other_example_succeeds(cluster, story)
    manifests = {
        found["uri"]: found
        for dag_id, dag_run_id in story.dag_runs.items()
        for task_id in cluster.api.task_instances(dag_id, dag_run_id)
        if isinstance(found := cluster.api.try_xcom(dag_id, dag_run_id, task_id), dict) and "sha256" in found
    }
    s3, _ = store
    (window,) = [uri for uri in manifests if "/window_start=" in uri]
    nights = s3.glob(f"{window}/**/[!_]*.jsonl")
    assert sum(len(rows(s3, path)) for path in nights) == manifests.pop(window)["rows"] == 24 * 5
    assert len(manifests) >= 12
    read = {uri: sha256(s3.cat_file(uri)).hexdigest() for uri in manifests}
    assert read == {uri: manifest["sha256"] for uri, manifest in manifests.items()}


def test_nothing_was_submitted_twice(cluster, provider, story):
    test_every_other_example_succeeds(cluster, story)
    assert Counter(path.rpartition("/")[2] for path in submissions(provider)) == {
        # One each of portkey_batch, portkey_batch_report, portkey_batch_table and portkey_batch_rounds.
        "files": 4,
        "batches": 4,
        "responses": 1,
        "runs": 1,
        "submit_tool_outputs": 1,
        "file_batches": 1,
        # Of logs: made, then started.
        "exports": 1,
        "start": 1,
    }
