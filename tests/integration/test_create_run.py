"""The example DAG that starts a run, on a real Airflow metadata database, against the mock server over HTTP."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_provider_portkey.testing import PortkeyMockServer

EXAMPLE = Path(__file__).parents[2] / "example_dags" / "portkey_create_run.py"


@pytest.fixture(scope="module")
def dag(parse_dags):
    return parse_dags(EXAMPLE)["portkey_create_run"]


@pytest.fixture
def mock_server(monkeypatch: pytest.MonkeyPatch):
    with PortkeyMockServer(run_seconds=1) as mock_server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(mock_server.connection()))
        mock_server.add_messages(thread_id="thread_demo", texts=["Hello."])
        yield mock_server


def call(call_id: str, name: str, arguments: str) -> dict:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def posts(mock_server: PortkeyMockServer, path: str) -> list[dict]:
    found = [request for request in mock_server.requests if (request.method, request.path) == ("POST", path)]
    return [json.loads(request.body) for request in found]


@pytest.mark.slow
@pytest.mark.parametrize("deferrable", [True, False])
def test_a_run_is_started_its_calls_are_handled_and_its_steps_exported(
    dag, mock_server, tmp_path, monkeypatch, deferrable
):
    monkeypatch.setattr(dag.get_task("start_run"), "deferrable", deferrable)
    monkeypatch.setattr(dag.get_task("start_run"), "poke_interval", 0.2)
    mock_server.plan(
        "runs",
        statuses=[("queued", 0), ("in_progress", 0.5), ("requires_action", 1)],
        steps=4,
        tool_calls=[call("call_1", "in_stock", '{"article": "A-1"}'), call("call_2", "in_stock", '{"article": "B-7"}')],
        further_tool_calls=[[call("call_3", "in_stock", '{"article": "C-3"}')]],
    )
    path = tmp_path / "steps.jsonl"
    dag_run = dag.test(run_conf={"path": str(path), "question": "Which?"})
    states = {task.task_id: task.state for task in dag_run.get_task_instances()}
    assert states == {"start_run": "success", "export_steps": "success"}
    (body,) = posts(mock_server, "/v1/threads/thread_demo/runs")
    assert body["additional_messages"] == [{"role": "user", "content": "Which?"}]
    assert body["tools"][0]["function"]["name"] == "in_stock"
    run = dag_run.get_task_instance("start_run").xcom_pull(task_ids="start_run")
    assert (run["status"], run["metadata"]) == ("completed", body["metadata"])
    outputs = posts(mock_server, f"/v1/threads/thread_demo/runs/{run['id']}/submit_tool_outputs")
    assert [[json.loads(one["output"])["quantity"] for one in each["tool_outputs"]] for each in outputs] == [
        [12, 0],
        [0],
    ]
    assert len(path.read_text().splitlines()) == 4


def test_a_tool_that_the_dag_does_not_know_fails_the_task_and_cancels_the_run(dag, mock_server, tmp_path, monkeypatch):
    monkeypatch.setattr(dag.get_task("start_run"), "poke_interval", 0.2)
    statuses = [("queued", 0), ("requires_action", 0.5)]
    mock_server.plan("runs", statuses=statuses, tool_calls=[call("call_1", "order", "{}")])
    dag_run = dag.test(run_conf={"path": str(tmp_path / "steps.jsonl")})
    states = {task.task_id: task.state for task in dag_run.get_task_instances()}
    assert states == {"start_run": "failed", "export_steps": "upstream_failed"}
    assert [request.path for request in mock_server.requests if request.path.endswith("/cancel")] == [
        "/v1/threads/thread_demo/runs/run_000001/cancel"
    ]
