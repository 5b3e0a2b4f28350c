"""The example DAGs on a real Airflow metadata database, against the mock server over HTTP."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import requests
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS, AIRFLOW_V_3_1_PLUS

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


def test_every_example_parses_and_every_task_has_retries(dags):
    expected = {path.stem for path in EXAMPLES.glob("*.py")}
    if not AIRFLOW_V_3_0_PLUS:
        expected -= {"portkey_on_run_end", "portkey_on_batch_end"}
    if not AIRFLOW_V_3_1_PLUS:
        expected -= {"portkey_human_approval"}
    assert dags.keys() == expected
    assert [task.task_id for dag in dags.values() for task in dag.tasks if task.retries < 2] == []


def test_every_param_says_in_the_form_what_it_is(dags):
    unclear = [
        (dag.dag_id, name)
        for dag in dags.values()
        for name in dag.params
        for param in [dag.params.get_param(name)]
        if not (param.description and param.schema.get("title"))
    ]
    assert unclear == []


def test_no_example_that_is_triggered_needs_a_logical_date():
    """Airflow 3 knows runs without one, as the API makes: these template variables are undefined then."""
    needing = re.compile(r"{{[^}|]*\b(ds|ds_nodash|ts|ts_nodash|data_interval_\w+)\b")
    found = {path.name: needing.findall(path.read_text()) for path in EXAMPLES.glob("*.py")}
    triggered = {name: names for name, names in found.items() if "schedule=None" in (EXAMPLES / name).read_text()}
    assert len(triggered) > 10
    assert [name for name, names in triggered.items() if names] == []


@pytest.mark.slow
def test_run_report(dags, mock_server, tmp_path):
    path = tmp_path / "run.html"
    dag_run = run(dags["portkey_run_report"], path=str(path))
    page = path.read_bytes()
    assert page.startswith(b"<!doctype html>")
    manifest = xcom(dag_run, "report")
    assert (manifest["report"], manifest["rows"], manifest["bytes"]) == ("run", 7, len(page))


@pytest.mark.slow
def test_batch_report(dags, mock_server, tmp_path, monkeypatch):
    requests = [
        {"custom_id": f"q-{n}", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": []}}
        for n in range(9)
    ]
    (tmp_path / "requests.jsonl").write_text("".join(json.dumps(request) + "\n" for request in requests))
    mock_server.plan("batches", failing=["q-3"])
    dag = dags["portkey_batch_report"]
    monkeypatch.setattr(dag.get_task("create"), "poke_interval", 0.2)
    dag_run = run(dag, input_path=str(tmp_path / "requests.jsonl"), folder=str(tmp_path))
    manifest = xcom(dag_run, "report")
    assert manifest["statuses"] == {"succeeded": 8, "failed": 1}
    assert "q-3" in (tmp_path / "batch.html").read_text()


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(("failed", "taken", "result"), [(0, "use_files", 2), (1, "report", "1 of 2 files failed")])
def test_a_declared_job_is_created_and_branched_on(dags, mock_server, failed, taken, result):
    mock_server.plan("file_batches", statuses=[("in_progress", 0), ("completed", 1)], failed=failed)
    dag_run = dags["portkey_create_any_job"].test()
    states = {task.task_id: task.state for task in dag_run.get_task_instances()}
    other = {"use_files", "report"} - {taken}
    assert states == {"index_files": "success", "has_every_file": "success", taken: "success", other.pop(): "skipped"}
    found = xcom(dag_run, taken)
    assert found == result or str(found).startswith(str(result))


@pytest.mark.slow
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


@pytest.mark.slow
def test_lists(dags, mock_server, tmp_path):
    import pyarrow.parquet

    for number in range(7):
        mock_server.add_run(thread_id="thread_demo", run_id=f"run_{number}", statuses="completed")
    mock_server.add_fine_tuning_job(job_id="ftjob_demo", events=130)
    dag_run = run(dags["portkey_export_lists"], folder=str(tmp_path))
    latest = xcom(dag_run, "latest_runs")
    assert [one["id"] for one in latest] == [f"run_{number}" for number in (6, 5, 4, 3, 2)]
    (runs,) = tmp_path.rglob("runs.parquet")
    assert pyarrow.parquet.read_table(runs).column("id").to_pylist()[1:] == [f"run_{number}" for number in range(7)]
    manifest = xcom(dag_run, "export_runs")
    assert sum(manifest["status_counts"].values()) == manifest["rows"] == 8
    (events,) = tmp_path.rglob("events.jsonl")
    assert len(events.read_text().splitlines()) == 130
    (jobs,) = tmp_path.rglob("fine_tuning_jobs.csv")
    assert jobs.read_text().splitlines()[1].startswith("ftjob_demo,")


@pytest.mark.slow
def test_runs_come_out_of_the_metadata_database_value_by_value(dags, mock_server, tmp_path):
    """XCom as the database keeps it: every field set, then every field null, then fields that nobody declared."""
    call = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"q": "a,\n\\"b\\""}'}}
    full = {
        "required_action": {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": [call]}},
        "last_error": {"code": "server_error", "message": "ünïcödé"},
        "incomplete_details": {"reason": "max_completion_tokens"},
        **dict.fromkeys(("expires_at", "started_at", "cancelled_at", "failed_at", "completed_at"), 1700000000),
        "instructions": "one\ntwo",
        "tools": [{"type": "code_interpreter"}],
        "metadata": {"team": "data", "empty": ""},
        "usage": {"completion_tokens": 123, "prompt_tokens": 45, "total_tokens": 168},
        "temperature": 0.7,
        "top_p": 1,
        "max_prompt_tokens": 257,
        "max_completion_tokens": 258,
        "truncation_strategy": {"type": "last_messages", "last_messages": 2},
        "tool_choice": {"type": "function", "function": {"name": "find"}},
        "parallel_tool_calls": False,
        "response_format": {"type": "json_object"},
    }
    new = {"agent": {"deep": [1, None]}, "priority": 3}
    for name, fields in (("full", full), ("null", dict.fromkeys(full)), ("new", full | new)):
        mock_server.add_run(thread_id="thread_demo", run_id=f"run_{name}", statuses="completed", fields=fields)
    mock_server.add_fine_tuning_job(job_id="ftjob_demo")
    expected = requests.get(
        f"{mock_server.url}/threads/thread_demo/runs?limit=5", headers={"Authorization": "Bearer k"}, timeout=10
    ).json()["data"]

    latest = xcom(run(dags["portkey_export_lists"], folder=str(tmp_path)), "latest_runs")

    assert [each["id"] for each in latest] == [each["id"] for each in expected]
    assert latest[:3] == expected[:3]  # the run behind these has not finished yet
    assert full.items() <= latest[2].items()
    assert {latest[1][name] for name in full} == {None}
    assert latest[0]["agent"] == new["agent"]
