"""The example DAGs on a real Airflow metadata database, against the mock server over HTTP."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_portkey.testing import PortkeyMockServer

EXAMPLES = Path(__file__).parents[2] / "example_dags"


@pytest.fixture(scope="session")
def dags(parse_dags):
    return parse_dags(EXAMPLES)


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


def test_every_example_parses_and_every_task_is_tried_again(dags):
    expected = {path.stem for path in EXAMPLES.glob("*.py")}
    if not AIRFLOW_V_3_0_PLUS:
        expected.remove("portkey_on_run_end")
    assert dags.keys() == expected
    assert [task.task_id for dag in dags.values() for task in dag.tasks if task.retries < 2] == []


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
