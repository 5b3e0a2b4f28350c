"""Nights on a real Airflow metadata database, against the mock server over HTTP."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS

from airflow_provider_portkey.testing import PortkeyMockServer

EXAMPLE = Path(__file__).parents[2] / "example_dags" / "portkey_nightly_export.py"
MONDAY = datetime(2026, 11, 2, tzinfo=UTC)
DAY = timedelta(days=1)


class Clock:
    """Tells the mock server the time at which a night is exported."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def dag(monkeypatch: pytest.MonkeyPatch, parse_dags):
    monkeypatch.setenv("PORTKEY_EXAMPLE_THREAD_ID", "thread_a,thread_b")
    return parse_dags(EXAMPLE)["portkey_nightly_export"]


def export(dag, night: datetime) -> dict:
    """Run the DAG as the scheduler does when the night is over."""
    dag_run = dag.test(logical_date=night + DAY)
    tasks = {one.task_id: one for one in dag_run.get_task_instances()}
    assert {one.state for one in tasks.values()} == {"success"}
    return tasks["export_steps"].xcom_pull(task_ids="export_steps")


def rows_of(folder: Path) -> list[dict]:
    return [json.loads(line) for file in folder.rglob("*.jsonl") for line in file.read_text().splitlines()]


def fill(mock_server: PortkeyMockServer, clock: Clock, night: datetime) -> None:
    """Give each thread three runs that have ended, and one that ends after the export."""
    clock.now = (night + DAY + timedelta(minutes=1)).timestamp()
    for thread_id in ("thread_a", "thread_b"):
        for hour in (0, 8, 16):
            created_at = int((night + timedelta(hours=hour)).timestamp())
            mock_server.add_run(thread_id=thread_id, created_at=created_at, statuses="completed", steps=5)
        statuses = [("in_progress", 0), ("completed", 300)]
        created_at = int((night + timedelta(hours=23, minutes=59)).timestamp())
        mock_server.add_run(thread_id=thread_id, created_at=created_at, statuses=statuses, steps=2)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "asset"), [(7, True), (4, False)])
def test_nights_and_a_clear(dag, tmp_path, monkeypatch, count, asset):
    task = dag.get_task("export_steps")
    monkeypatch.setattr(task, "path", str(tmp_path))
    if not asset:
        monkeypatch.setattr(task, "outlets", [])
    clock = Clock()
    nights = [MONDAY + number * DAY for number in range(count)]
    with PortkeyMockServer(clock=clock) as mock_server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(mock_server.connection()))
        manifests = []
        for night in nights:
            fill(mock_server, clock, night)
            manifests.append(export(dag, night))
        before = {file: file.read_bytes() for file in tmp_path.rglob("window_start=*/*")}
        again = export(dag, nights[2])
    for number, manifest in enumerate(manifests):
        late = 2 if number else 0
        assert manifest["window_start"] == nights[number].strftime("%Y-%m-%dT%H:%M:%SZ")
        runs = {"seen": 8 + late, "exported": 6 + late, "skipped": 2, "failed": 0, "carried_over": late}
        assert manifest["runs"] == runs
        assert (manifest["runs_rows"], manifest["status_counts"]) == (6 + late, {"completed": 6 + late})
    assert again["runs"] == manifests[2]["runs"]
    assert {file: file.read_bytes() for file in tmp_path.rglob("window_start=*/*")} == before
    rows, runs = rows_of(tmp_path / "steps"), rows_of(tmp_path / "runs")
    assert set(Counter(row["id"] for row in [*rows, *runs]).values()) == {1}
    assert len(rows) == count * 30 + (count - 1) * 4
    assert {row["run_id"] for row in rows} == {run["id"] for run in runs}
    assert {run["status"] for run in runs} == {"completed"}
    assert (tmp_path / "_unfinished").exists() != (asset and AIRFLOW_V_3_3_PLUS)
