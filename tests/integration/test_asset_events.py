"""The events of outlet assets say what the task has made, on real Airflow."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_portkey.testing import PortkeyMockServer

USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25, "cost": 0.00025}

NAMES = ("wait", "runs", "output", "other", "make", "table", "retry", "merged", "page")

DAG_FILE = """
from datetime import UTC, datetime

from airflow.providers.common.compat.sdk import DAG, Asset

from airflow_provider_portkey.operators.batch_input import PortkeyBatchInputOperator, PortkeyBatchRetryInputOperator
from airflow_provider_portkey.operators.report import PortkeyBatchReportOperator
from airflow_provider_portkey.sensors.run import PortkeyRunSensor
from airflow_provider_portkey.transfers.batch_output_to_object_storage import (
    PortkeyBatchMergeOperator,
    PortkeyBatchOutputToObjectStorageOperator,
)
from airflow_provider_portkey.transfers.lists_to_object_storage import PortkeyThreadRunsToObjectStorageOperator

WAIT, RUNS, OUTPUT, OTHER, INPUT, TABLE, RETRY, MERGED, PAGE = [Asset(uri) for uri in {uris}]
with DAG("asset_events", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
    PortkeyRunSensor(task_id="wait", thread_id="thread_1", run_id="run_1", outlets=[WAIT])
    PortkeyThreadRunsToObjectStorageOperator(
        task_id="runs", thread_id="thread_1", path="{folder}/runs.jsonl", outlets=[RUNS, OTHER]
    )
    PortkeyBatchOutputToObjectStorageOperator(
        task_id="output",
        batch_id="batch_1",
        path="{folder}/output.jsonl",
        max_failure_ratio=None,
        outlets=[OUTPUT],
    )
    make = PortkeyBatchInputOperator(
        task_id="make",
        rows=[{{"key": f"request-00000{{number}}"}} for number in (1, 2, 3)],
        path="{folder}/requests.jsonl",
        key_columns="key",
        model="m",
        messages="Why?",
        max_requests=2,
        outlets=[INPUT],
    )
    table = PortkeyBatchOutputToObjectStorageOperator(
        task_id="table",
        batch_id="batch_1",
        layout="table",
        path="{folder}/table.jsonl",
        max_failure_ratio=None,
        outlets=[TABLE],
    )
    rounds = {{"inputs": make.output, "outcomes": table.output}}
    PortkeyBatchRetryInputOperator(task_id="retry", path="{folder}/retry.jsonl", outlets=[RETRY], **rounds)
    PortkeyBatchMergeOperator(
        task_id="merge", path="{folder}/merged.parquet", max_failure_ratio=None, outlets=[MERGED], **rounds
    )
    page = PortkeyBatchReportOperator(
        task_id="page",
        batch_id="batch_1",
        output_path="{folder}/table.jsonl",
        path="{folder}/page.html",
        outlets=[PAGE],
    )
    table >> page
"""


@pytest.fixture
def mock_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[PortkeyMockServer]:
    with PortkeyMockServer() as server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(server.connection()))
        for number in range(4):
            server.add_run(thread_id="thread_1", run_id=f"run_{number}", statuses="completed", steps=1, cost=0.00025)
        server.add_batch(batch_id="batch_1", count=3, failing=["request-000002"], cost=0.5, statuses="completed")
        yield server


def events_of(uri: str) -> list[dict[str, Any]]:
    """The extra of each event of an asset, as Airflow's database has it."""
    from airflow.utils.session import create_session

    try:
        from airflow.models.asset import AssetEvent, AssetModel
    except ImportError:  # before Airflow 3
        from airflow.models.dataset import DatasetEvent as AssetEvent  # type: ignore[import-not-found, no-redef]
        from airflow.models.dataset import DatasetModel as AssetModel  # type: ignore[no-redef]

    id_column = getattr(AssetEvent, "asset_id", None) or AssetEvent.dataset_id
    with create_session() as session:
        found = session.query(AssetEvent).join(AssetModel, AssetModel.id == id_column).filter(AssetModel.uri == uri)
        return [dict(event.extra) for event in found.order_by(AssetEvent.id)]


def run(dag: Any) -> list[str]:
    """Run a DAG's tasks, and return their states. On Airflow 2 ``dag.test()`` stores no events."""
    if AIRFLOW_V_3_0_PLUS:
        return [task_instance.state for task_instance in dag.test().get_task_instances()]
    from airflow.models.dagbag import DagBag
    from airflow.utils import timezone
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunType

    DagBag(dag_folder=dag.fileloc).sync_to_db()
    now, states = timezone.utcnow(), []
    dag_run = dag.create_dagrun(
        run_id="r", execution_date=now, state=DagRunState.RUNNING, run_type=DagRunType.MANUAL, data_interval=(now, now)
    )
    for task in dag.topological_sort():
        task_instance = dag_run.get_task_instance(task.task_id)
        task_instance.task = task
        task_instance.run(ignore_ti_state=True, ignore_task_deps=True)
        states.append(task_instance.state)
    return states


def test_the_events_of_real_tasks_have_files_counts_and_costs(
    mock_server: PortkeyMockServer,
    tmp_path: Path,
    parse_dags: Callable[[Path], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from airflow.utils.db import initdb

    initdb()
    uris = [f"x-test://{tmp_path.name}/{name}" for name in NAMES]
    file = tmp_path / "asset_events.py"
    file.write_text(DAG_FILE.format(folder=tmp_path.as_posix(), uris=uris))
    monkeypatch.setattr("airflow.settings.DAGS_FOLDER", str(tmp_path))
    assert run(parse_dags(file)["asset_events"]) == ["success"] * 8

    ((wait,), (runs,), (output,), (other,), *files) = map(events_of, uris)
    assert (wait["id"], wait["status"], wait["usage"], wait["cost"]) == ("run_1", "completed", USAGE, 0.00025)
    assert other == runs
    assert (runs["uri"], runs["rows"], runs["cost"]) == ((tmp_path / "runs.jsonl").as_uri(), 4, 0.001)
    assert (runs["usage"]["total_tokens"], runs["status_counts"]) == (100, {"completed": 4})
    assert (output["rows"], output["succeeded"], output["failed"], output["missing"]) == (3, 2, 1, 0)
    assert output["cost"] == 1.0
    (made,), (table,), (retry,), (merged,), (page,) = files
    assert (made["uri"], made["rows"], made["requests"]) == ((tmp_path / "requests.jsonl").as_uri(), 3, 3)
    assert (table["rows"], table["succeeded"], table["failed"], table["cost"]) == (3, 2, 1, 1.0)
    assert (retry["rows"], retry["retried"], retry["requests"]) == (1, 1, 3)
    assert retry["status_counts"] == {"failed": 1, "succeeded": 2}
    assert (merged["uri"], merged["rows"], merged["cost"]) == ((tmp_path / "merged.parquet").as_uri(), 3, 1.0)
    assert merged["usage"]["total_tokens"] == 50
    assert (page["uri"], page["rows"], page["statuses"]) == (
        (tmp_path / "page.html").as_uri(),
        3,
        {"failed": 1, "succeeded": 2},
    )
