"""Waiting for many runs in example and mapped tasks, on a real metadata database and the mock server over HTTP."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_provider_portkey.testing import PortkeyMockServer

EXAMPLES = Path(__file__).parents[2] / "example_dags"


@pytest.fixture(scope="session")
def dags(parse_dags):
    return parse_dags(EXAMPLES / "portkey_many_runs.py")


@pytest.fixture
def mock_server(monkeypatch: pytest.MonkeyPatch):
    with PortkeyMockServer() as mock_server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(mock_server.connection()))
        yield mock_server


def states_of(dag_run) -> dict[tuple[str, int], str]:
    return {(task.task_id, task.map_index): task.state for task in dag_run.get_task_instances()}


def xcom(dag_run, task_id: str, map_index: int = -1):
    return dag_run.get_task_instance(task_id, map_index=map_index).xcom_pull(task_ids=task_id, map_indexes=map_index)


@pytest.mark.slow
def test_the_example_waits_for_all_in_one_task_and_for_each_in_its_own(dags, mock_server):
    for number in range(4):
        mock_server.add_run(
            thread_id="thread_demo",
            run_id=f"run_{number}",
            statuses=[("queued", 0), ("completed", 1 + number)],
            steps=1,
        )
    dag_run = dags["portkey_many_runs"].test(run_conf={"runs": 3})
    assert set(states_of(dag_run).values()) == {"success"}
    summary = xcom(dag_run, "wait_for_all")
    assert (summary["total"], summary["status_counts"], summary["failed_run_ids"]) == (3, {"completed": 3}, [])
    assert summary["usage"]["total_tokens"] > 0
    assert [xcom(dag_run, "wait_for_each", index)["id"] for index in range(3)] == ["run_3", "run_2", "run_1"]
    assert xcom(dag_run, "report").startswith("3 runs: 3 completed; ")


@pytest.fixture
def mapped(parse_dags, dags, tmp_path, monkeypatch):
    """Make a DAG with one mapped task, in a file of its own as Airflow wants it."""

    def make(dag_id: str, fixed: str, expanded: str):
        file = tmp_path / f"{dag_id}.py"
        file.write_text(
            f"""
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_portkey.sensors.run import PortkeyThreadRunsSensor

with DAG({dag_id!r}, schedule=None):
    PortkeyThreadRunsSensor.partial(task_id="wait", poke_interval=1, timeout=60, {fixed}).expand({expanded})
"""
        )
        monkeypatch.setattr("airflow.settings.DAGS_FOLDER", str(tmp_path))
        return parse_dags(file)[dag_id]

    return make


@pytest.mark.slow
def test_a_mapped_task_for_each_thread_waits_for_its_active_runs(mapped, mock_server):
    for thread_id in ("thread_a", "thread_b"):
        mock_server.add_run(thread_id=thread_id, run_id="run_over", statuses="completed")
        mock_server.add_run(
            thread_id=thread_id, run_id="run_1", statuses=[("queued", 0), ("completed", 1)], start="first-poll"
        )
    dag_run = mapped("portkey_each_thread", "", 'thread_id=["thread_a", "thread_b"]').test()
    summaries = [xcom(dag_run, "wait", index) for index in (0, 1)]
    assert [summary["thread_id"] for summary in summaries] == ["thread_a", "thread_b"]
    assert [summary["status_counts"] for summary in summaries] == [{"completed": 1}] * 2


def test_a_mapped_task_for_each_list_of_runs(mapped, mock_server):
    mock_server.add_run(thread_id="thread_a", run_id="run_1")
    mock_server.add_run(thread_id="thread_a", run_id="run_2")
    mock_server.add_run(thread_id="thread_a", run_id="run_3", statuses="failed")
    lists = 'run_ids=[["run_1", "run_2"], ["run_2", "run_3"]]'
    dag_run = mapped("portkey_each_list", 'thread_id="thread_a"', lists).test()
    assert states_of(dag_run) == {("wait", 0): "success", ("wait", 1): "failed"}
    assert xcom(dag_run, "wait", 0)["status_counts"] == {"completed": 2}
