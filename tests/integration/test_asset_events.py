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

DAG_FILE = """
from datetime import UTC, datetime

from airflow.providers.common.compat.sdk import DAG, Asset

from airflow_provider_portkey.sensors.run import PortkeyRunSensor
from airflow_provider_portkey.transfers.batch_output_to_object_storage import PortkeyBatchOutputToObjectStorageOperator
from airflow_provider_portkey.transfers.lists_to_object_storage import PortkeyThreadRunsToObjectStorageOperator

WAIT, RUNS, OUTPUT, OTHER = [Asset(uri) for uri in {uris}]
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


@pytest.mark.skipif(not AIRFLOW_V_3_0_PLUS, reason="seen on Airflow 2.11: dag.test() stores no events")
def test_the_events_of_real_tasks_have_files_counts_and_costs(
    mock_server: PortkeyMockServer,
    tmp_path: Path,
    parse_dags: Callable[[Path], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from airflow.utils.db import initdb

    initdb()
    uris = [f"x-test://{tmp_path.name}/{name}" for name in ("wait", "runs", "output", "other")]
    file = tmp_path / "asset_events.py"
    file.write_text(DAG_FILE.format(folder=tmp_path.as_posix(), uris=uris))
    monkeypatch.setattr("airflow.settings.DAGS_FOLDER", str(tmp_path))
    assert parse_dags(file)["asset_events"].test().state == "success"

    ((wait,), (runs,), (output,), (other,)) = map(events_of, uris)
    assert (wait["id"], wait["status"], wait["usage"], wait["cost"]) == ("run_1", "completed", USAGE, 0.00025)
    assert other == runs
    assert (runs["uri"], runs["rows"], runs["cost"]) == ((tmp_path / "runs.jsonl").as_uri(), 4, 0.001)
    assert (runs["usage"]["total_tokens"], runs["status_counts"]) == (100, {"completed": 4})
    assert (output["rows"], output["succeeded"], output["failed"], output["missing"]) == (3, 2, 1, 0)
    assert output["cost"] == 1.0
