"""The example DAGs on a real Airflow metadata database, against the mock server over HTTP."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_provider_portkey.testing import PortkeyMockServer

EXAMPLES = Path(__file__).parents[2] / "example_dags"


@pytest.fixture(scope="session")
def dags():
    from airflow.dag_processing.dagbag import DagBag
    from airflow.utils.db import initdb

    initdb()
    bag = DagBag(dag_folder=EXAMPLES)
    assert bag.import_errors == {}
    return bag.dags


@pytest.fixture
def mock_server(monkeypatch: pytest.MonkeyPatch):
    with PortkeyMockServer() as mock_server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(mock_server.connection()))
        mock_server.add_run(
            thread_id="thread_demo", run_id="run_demo", statuses=[("queued", 0), ("completed", 3)], steps=7
        )
        yield mock_server


def run(dag, **conf):
    dag_run = dag.test(run_conf=conf)
    states = {task.task_id: task.state for task in dag_run.get_task_instances()}
    assert set(states.values()) == {"success"}, states
    return dag_run


def xcom(dag_run, task_id: str):
    return dag_run.get_task_instance(task_id).xcom_pull(task_ids=task_id)


def test_gate_and_export(dags, mock_server, tmp_path):
    path = tmp_path / "steps.jsonl"
    dag_run = run(dags["portkey_gate_and_export"], path=str(path))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == 7
    assert all(row["message_text"] for row in rows if row["type"] == "message_creation")
    manifest = xcom(dag_run, "export_steps")
    assert (manifest["rows"], manifest["run_status"]) == (7, "completed")
    waited = xcom(dag_run, "wait_for_run")
    assert waited["status"] == "completed"
    assert "instructions" not in waited


@pytest.mark.parametrize(("failed", "taken", "result"), [(0, "use_files", 2), (1, "report", "1 of 2 files failed")])
def test_a_declared_job_is_created_and_branched_on(dags, mock_server, failed, taken, result):
    mock_server.plan("file_batches", statuses=[("in_progress", 0), ("completed", 1)], failed=failed)
    dag_run = dags["portkey_create_any_job"].test()
    states = {task.task_id: task.state for task in dag_run.get_task_instances()}
    other = {"use_files", "report"} - {taken}
    assert states == {"index_files": "success", "has_every_file": "success", taken: "success", other.pop(): "skipped"}
    found = xcom(dag_run, taken)
    assert found == result or str(found).startswith(str(result))


def test_steps_to_xcom(dags, mock_server):
    dag_run = run(dags["portkey_steps_to_xcom"])
    assert len(xcom(dag_run, "get_steps")) == 7
    assert xcom(dag_run, "count_tool_calls") == 3


def test_scheduled_export(dags, mock_server, tmp_path, monkeypatch):
    import pyarrow.parquet

    mock_server.add_run(thread_id="thread_demo", run_id="run_latest", statuses="completed", steps=9)
    dag = dags["portkey_scheduled_export"]
    monkeypatch.setattr(dag.get_task("export_steps"), "path", str(tmp_path) + "/{{ ds }}/steps.parquet")
    run(dag)
    (file,) = tmp_path.rglob("*.parquet")
    assert pyarrow.parquet.read_table(file).num_rows == 9
