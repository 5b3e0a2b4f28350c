"""The nightly cost example on a real Airflow metadata database, against the mock server over HTTP."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.dataset
import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_portkey.testing import PortkeyMockServer

#: The parameter with the date of a run.
DATE = "logical_date" if AIRFLOW_V_3_0_PLUS else "execution_date"
EXAMPLE = Path(__file__).parents[2] / "example_dags" / "portkey_nightly_cost.py"


@pytest.mark.slow
def test_the_day_before_is_exported(parse_dags, tmp_path, monkeypatch):
    dag = parse_dags(EXAMPLE)["portkey_nightly_cost"]
    for task in dag.tasks:
        _, _, rest = task.path.partition(f"/{task.task_id}/")
        monkeypatch.setattr(task, "path", f"{tmp_path}/{task.task_id}/{rest}")
    with PortkeyMockServer() as mock_server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(mock_server.connection()))
        mock_server.add_analytics_requests(
            {
                "created_at": f"2026-07-{day}T{hour:02}:00:00Z",
                "metadata": {"team": f"team_{hour % 2}", "_user": f"user_{hour % 3}"},
            }
            for day in (24, 25, 26)
            for hour in range(24)
        )
        for _ in range(2):  # a second run of the same day replaces its files
            dag_run = dag.test(**{DATE: datetime(2026, 7, 26, 0, 10, tzinfo=UTC)})
            assert {one.state for one in dag_run.get_task_instances()} == {"success"}

    def table(name: str) -> list[dict]:
        return pyarrow.dataset.dataset(tmp_path / name, partitioning="hive").to_table().to_pylist()

    (date,) = {row["date"] for row in table("cost_by_team")}
    rows = table("cost_by_team")
    assert {(row["group_value"], row["cost_cents"], row["requests"]) for row in rows} == {
        ("team_0", 3.0, 12),
        ("team_1", 3.0, 12),
    }
    assert {row["interval_start"].strftime("%Y-%m-%d") for row in rows} == {date}
    assert sum(row["tokens"] for row in table("tokens_by_user")) == 600
    (focus,) = (tmp_path / "focus").rglob("*.csv")
    with focus.open() as file:
        assert sum(float(row["BilledCost"]) for row in csv.DictReader(file)) == pytest.approx(0.06)
