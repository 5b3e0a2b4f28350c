"""The example DAG of log exports on a real Airflow metadata database, against the mock server over HTTP."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from airflow_provider_portkey.testing import PortkeyMockServer

EXAMPLE = Path(__file__).parents[2] / "example_dags" / "portkey_log_export.py"


@pytest.fixture
def dag(parse_dags):
    return parse_dags(EXAMPLE)["portkey_log_export"]


def test_the_hour_before_the_run_is_exported(dag, tmp_path, monkeypatch):
    path = str(tmp_path) + "/{{ ds }}.jsonl.gz"
    monkeypatch.setattr(dag.get_task("export_logs"), "path", path)
    monkeypatch.setattr(dag.get_task("export_logs"), "poke_interval", 1.0)
    with PortkeyMockServer(job_seconds=1) as mock_server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(mock_server.connection()))
        mock_server.log_exports.settings(end_included=False)
        mock_server.add_logs(3_000, "2026-07-25T11:00:00Z", "2026-07-25T14:00:00Z")
        dag_run = dag.test(logical_date=datetime(2026, 7, 25, 13, 10, tzinfo=UTC))
    tasks = {one.task_id: one for one in dag_run.get_task_instances()}
    assert {one.state for one in tasks.values()} == {"success"}
    manifest = tasks["export_logs"].xcom_pull(task_ids="export_logs")
    assert (manifest["window_start"], manifest["window_end"]) == ("2026-07-25T12:00:00Z", "2026-07-25T13:00:00Z")
    assert manifest["rows"] == 1_000
    (file,) = tmp_path.iterdir()
    rows = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    assert len({row["id"] for row in rows}) == 1_000
    assert {row["created_at"][:13] for row in rows} == {"2026-07-25T12"}
