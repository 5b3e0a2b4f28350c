"""The quality gate on a real Airflow metadata database: branches, failures, and what later tasks see."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import DAG
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_portkey.operators.batch import PortkeyBatchCheckOperator, PortkeyCreateBatchOperator
from airflow_provider_portkey.testing import PortkeyMockServer, fake_context
from airflow_provider_portkey.transfers.batch_output_to_object_storage import PortkeyBatchOutputToObjectStorageOperator

EXAMPLE = Path(__file__).parents[2] / "example_dags" / "portkey_batch_gate.py"


@pytest.fixture
def table(tmp_path: Path) -> str:
    """Nineteen rows that succeeded, with scores from 0 to 1.8, and one that failed."""
    rows = [
        {"custom_id": f"id-{number}", "status": "succeeded", "parsed": json.dumps({"score": number / 10})}
        for number in range(19)
    ]
    path = tmp_path / "table.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"custom_id": "id-19", "status": "failed"}]))
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("least", "taken", "skipped", "result"),
    [
        (0.95, "publish", "call_someone", "20 rows, mean score 0.9"),
        (0.96, "call_someone", "publish", "min_success_ratio=0.96 is not met by 0.95"),
    ],
)
def test_the_example_branches(parse_dags, table, least, taken, skipped, result):
    dag = parse_dags(EXAMPLE)["portkey_batch_gate"]
    dag_run = dag.test(run_conf={"table": table, "min_success_ratio": least})

    tasks = {one.task_id: one for one in dag_run.get_task_instances()}
    assert {name: one.state for name, one in tasks.items()} == {
        "check": "success",
        taken: "success",
        skipped: "skipped",
    }
    assert result in tasks[taken].xcom_pull(task_ids=taken)
    figures = tasks["check"].xcom_pull(task_ids="check")
    assert figures["passed"] is (taken == "publish")
    assert figures["status_counts"] == {"failed": 1, "succeeded": 19}


@pytest.mark.slow
def test_the_figures_of_a_failed_gate_are_in_xcom(parse_dags, table, tmp_path, monkeypatch):
    file = tmp_path / "gate.py"
    file.write_text(
        "from airflow.providers.common.compat.sdk import DAG\n"
        "from airflow_provider_portkey.operators.batch import PortkeyBatchCheckOperator\n"
        "with DAG('gate', schedule=None):\n"
        f"    PortkeyBatchCheckOperator(task_id='check', path={table!r}, min_success_ratio=1)\n"
    )
    monkeypatch.setattr("airflow.settings.DAGS_FOLDER", str(tmp_path))
    dag_run = parse_dags(file)["gate"].test()

    (check,) = dag_run.get_task_instances()
    assert check.state == "failed"
    assert check.xcom_pull(task_ids="check")["success_ratio"] == 0.95


@pytest.mark.parametrize("layout", ["table", "lines"])
def test_the_results_of_a_batch_pass_or_not(tmp_path, monkeypatch, layout):
    """From the batch to the gate: of 40 requests 4 fail, 2 are missing, and 4 of the texts do not fit the schema."""
    ids = [f"id-{number}" for number in range(40)]
    schema = {"type": "object", "properties": {"score": {"type": "number", "maximum": 1}}}
    texts = {one: json.dumps({"score": 0.5 if number < 36 else 2}) for number, one in enumerate(ids)}
    with PortkeyMockServer(job_seconds=0) as server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(server.connection()))
        server.plan("batches", failing=dict.fromkeys(ids[:4], 429), missing=ids[4:6], texts=texts)
        path = tmp_path / "in.jsonl"
        request = {"method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": []}}
        path.write_text("".join(json.dumps({"custom_id": one, **request}) + "\n" for one in ids))
        batch = PortkeyCreateBatchOperator(task_id="create", input_path=str(path), poke_interval=0.05).execute(
            fake_context()
        )
        manifest = PortkeyBatchOutputToObjectStorageOperator(
            task_id="export",
            batch_id=batch["id"],
            path=str(tmp_path / "out.jsonl.gz"),
            compression="gzip",
            layout=layout,
            json_schema=schema if layout == "table" else None,
            max_failure_ratio=None,
        ).execute(fake_context())

    def figures(**arguments):
        check = PortkeyBatchCheckOperator(task_id="check", manifest=manifest, **arguments)
        return check.execute(fake_context())

    if layout == "table":
        expected = {"failed": 4, "invalid": 4, "missing": 2, "succeeded": 30}
        assert figures(min_success_ratio=0.75, min_valid_ratio=0.88)["status_counts"] == expected
        read = figures(score_field="score", min_score=0.5, max_score=0.5)
    else:
        assert figures(min_success_ratio=0.85)["status_counts"] == {"failed": 4, "missing": 2, "succeeded": 34}
        expected = {"failed": 4, "invalid": 4, "succeeded": 30}
        read = figures(json_schema=schema, score_field="score", min_score=0.5, max_score=0.5)
    assert (read["status_counts"], read["scored"]) == (expected, 30)


@pytest.mark.skipif(not AIRFLOW_V_3_0_PLUS, reason="Airflow 2 finds out by what the task wrote to XCom")
def test_the_scheduler_knows_that_the_task_skips(stored_dag):
    with DAG("gate", schedule=None) as dag:
        PortkeyBatchCheckOperator(task_id="check", path="x.csv", min_success_ratio=1, follow_task_ids_if_true=["a"])
    assert stored_dag(dag).get_task("check").inherits_from_skipmixin
