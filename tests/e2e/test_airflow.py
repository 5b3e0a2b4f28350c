"""Waits and exports on a real scheduler and triggerer, undisturbed and disturbed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from airflow_provider_portkey.links import trace_id
from tests.e2e.waiting import succeed


def task(airflow, dag_id: str, dag_run_id: str, task_id: str) -> dict:
    return airflow.api.task_instances(dag_id, dag_run_id).get(task_id) or {"state": None}


def polls(provider, run_id: str) -> int:
    return sum(request.path.endswith(f"/runs/{run_id}") for request in provider.requests)


def test_gate_and_export(airflow, provider, tmp_path, connection):
    statuses = [("queued", 0), ("in_progress", 2), ("completed", 8)]
    provider.add_run(thread_id="thread_1", run_id="run_gate", statuses=statuses, steps=150, start="first-poll")
    conf = {"thread_id": "thread_1", "run_id": "run_gate", "path": str(tmp_path / "steps.jsonl")}
    dag_run_id = airflow.api.trigger("portkey_gate_and_export", conf)
    seen = set()
    succeed(
        airflow,
        "portkey_gate_and_export",
        dag_run_id,
        on_poll=lambda _, tasks: seen.update((name, each["state"]) for name, each in tasks.items()),
    )
    assert ("wait_for_run", "deferred") in seen
    manifest = airflow.api.xcom("portkey_gate_and_export", dag_run_id, "export_steps")
    written = (tmp_path / "steps.jsonl").read_bytes()
    assert (manifest["rows"], manifest["sha256"]) == (150, hashlib.sha256(written).hexdigest())
    assert json.loads(written.splitlines()[0])["id"] == manifest["first_id"]
    for task_id in ("wait_for_run", "export_steps"):
        links = airflow.api.links("portkey_gate_and_export", dag_run_id, task_id)
        assert trace_id("portkey_gate_and_export", dag_run_id, task_id, -1, 1) in links["Portkey trace"]
    log = airflow.api.log("portkey_gate_and_export", dag_run_id, "wait_for_run")
    assert "changed from in_progress to completed" in log


def test_steps_to_xcom_with_a_rescheduled_sensor(airflow, provider):
    provider.add_run(
        thread_id="thread_1", run_id="run_xcom", statuses=[("queued", 0), ("completed", 3)], steps=4, start="first-poll"
    )
    dag_run_id = airflow.api.trigger("portkey_steps_to_xcom", {"thread_id": "thread_1", "run_id": "run_xcom"})
    succeed(airflow, "portkey_steps_to_xcom", dag_run_id)
    assert len(airflow.api.xcom("portkey_steps_to_xcom", dag_run_id, "get_steps")) == 4


def test_a_rescheduled_wait_logs_each_status_once_and_keeps_its_count(airflow, provider):
    statuses = ["queued", "queued", "in_progress", "completed"]
    provider.add_run(thread_id="thread_1", run_id="run_reschedule", statuses=statuses, advance="per_poll")
    dag_run_id = airflow.api.trigger("wait_rescheduled", {"thread_id": "thread_1", "run_id": "run_reschedule"})
    succeed(airflow, "wait_rescheduled", dag_run_id)
    log = airflow.api.log("wait_rescheduled", dag_run_id, "wait")
    assert polls(provider, "run_reschedule") == len(statuses)
    assert log.count("is queued after") == 1
    assert log.count("changed from queued to in_progress after") == 1


def test_a_wait_outlives_its_triggerer(airflow, provider):
    provider.add_run(thread_id="thread_1", run_id="run_orphan", statuses="in_progress")
    dag_run_id = airflow.api.trigger("wait_deferred", {"thread_id": "thread_1", "run_id": "run_orphan"})
    airflow.wait_for(lambda: polls(provider, "run_orphan") >= 3, "poll by the triggerer")
    airflow.kill("triggerer")
    assert task(airflow, "wait_deferred", dag_run_id, "wait")["state"] == "deferred"
    seen = polls(provider, "run_orphan")
    airflow.start_component("triggerer")
    airflow.wait_for(lambda: polls(provider, "run_orphan") >= seen + 2, "poll by the new triggerer")
    provider.fault(merge={"status": "completed"}, path="*/runs/run_orphan", times=None)
    succeed(airflow, "wait_deferred", dag_run_id)
    assert task(airflow, "wait_deferred", dag_run_id, "wait")["try_number"] == 1


@pytest.mark.parametrize("state", ["failed"])
def test_marking_a_deferred_task_cancels_the_run(airflow, provider, state):
    provider.add_run(thread_id="thread_1", run_id="run_marked", statuses="in_progress")
    dag_run_id = airflow.api.trigger("wait_deferred", {"thread_id": "thread_1", "run_id": "run_marked"})
    airflow.wait_for(lambda: polls(provider, "run_marked") >= 3, "poll by the triggerer")
    airflow.api.set_task_state("wait_deferred", dag_run_id, "wait", state)
    cancel = "/v1/threads/thread_1/runs/run_marked/cancel"
    airflow.wait_for(lambda: cancel in [request.path for request in provider.requests], "cancel at the provider")
    assert [request.path for request in provider.requests].count(cancel) == 1


def test_a_killed_worker_leaves_no_half_file_and_the_retry_writes_it_whole(airflow, provider, tmp_path):
    path: Path = tmp_path / "steps.jsonl"
    provider.add_run(thread_id="thread_1", run_id="run_killed", steps=900)
    slow = provider.fault(delay=1.0, path="*/runs/run_killed/steps", times=6)
    conf = {"thread_id": "thread_1", "run_id": "run_killed", "path": str(path)}
    dag_run_id = airflow.api.trigger("export", conf)
    airflow.wait_for(lambda: slow.struck >= 3, "third page")
    airflow.kill("task")
    assert not path.exists()
    present = []
    read_file = lambda *_: present.append(path.read_bytes() if path.exists() else None)  # noqa: E731
    succeed(airflow, "export", dag_run_id, on_poll=read_file)
    assert task(airflow, "export", dag_run_id, "export")["try_number"] == 2
    whole = path.read_bytes()
    assert len(whole.splitlines()) == 900
    assert set(present) <= {None, whole}


def test_no_key_is_in_any_file_that_airflow_wrote(airflow, connection):
    keys = [connection["password"].encode(), connection["extra"]["provider_api_key"].encode()]
    files = 0
    for file in airflow.folder.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            files += 1
            assert not any(key in content for key in keys), file.name
    assert files > 10
