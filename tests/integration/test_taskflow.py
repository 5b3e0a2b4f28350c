"""The DAGs of docs/taskflow.md on a real Airflow metadata database, against the mock server over HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.version_compat import (
    AIRFLOW_V_3_0_PLUS,
    AIRFLOW_V_3_3_PLUS,
)

from airflow_provider_portkey.testing import PortkeyMockServer

PAGE = Path(__file__).parents[2] / "docs" / "taskflow.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
RUN = {"thread_id": "thread_demo", "run_id": "run_demo"}
DIAGNOSIS = {"code": "server_error", "message": "Broken."}


@pytest.fixture(scope="module")
def dags(
    tmp_path_factory: pytest.TempPathFactory, parse_dags: Callable[[Path], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    # Airflow has retry policies from 3.3 on.
    blocks = [block for block in BLOCKS if AIRFLOW_V_3_3_PLUS or "ExceptionRetryPolicy" not in block]
    folder = tmp_path_factory.mktemp("taskflow")
    for number, block in enumerate(blocks):
        (folder / f"dag_{number}.py").write_text(block)
    found = parse_dags(folder)
    assert len(found) == len(blocks)
    # dag.test() knows the DAGs of bundles only.
    local = "airflow.dag_processing.bundles.local.LocalDagBundle"
    bundles = [
        {"name": "taskflow", "classpath": local, "kwargs": {"path": str(folder)}},
        {"name": "dags-folder", "classpath": local, "kwargs": {}},
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps(bundles))
        yield found


@pytest.fixture
def mock_server(monkeypatch: pytest.MonkeyPatch):
    with PortkeyMockServer(job_seconds=1) as mock_server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(mock_server.connection()))
        yield mock_server


@pytest.fixture
def finalizing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker tells callbacks the exception; ``dag.test()`` of Airflow 3.0 to 3.2 does not."""
    if not AIRFLOW_V_3_0_PLUS or AIRFLOW_V_3_3_PLUS:
        return
    from airflow.sdk.execution_time import task_runner

    finalize = task_runner.finalize

    def as_a_worker(ti: Any, state: Any, context: Any, log: Any, error: BaseException | None = None) -> None:
        context["exception"] = error
        finalize(ti, state, context, log, error)

    monkeypatch.setattr(task_runner, "finalize", as_a_worker)


def run_dag(dag: Any, **conf: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run a DAG; return the states and the results of its tasks."""
    dag_run = dag.test(run_conf=conf)
    tasks = dag_run.get_task_instances()
    results = {one.task_id: one.xcom_pull(task_ids=one.task_id) for one in tasks if one.state == "success"}
    return {one.task_id: one.state for one in tasks}, results


def wait_for(seconds: float, status: str) -> list[tuple[str, float]]:
    return [("in_progress", 0), (status, seconds)]


@pytest.mark.parametrize("seconds", [0, 2], ids=["first poll", "deferred"])
@pytest.mark.parametrize(
    ("status", "error", "taken", "result"),
    [
        ("completed", None, "publish", 60),
        ("failed", DIAGNOSIS, "start_another", "run_demo failed: server_error: Broken."),
        ("failed", {"code": "invalid_prompt", "message": "No."}, "give_up", "run_demo failed: invalid_prompt: No."),
        ("incomplete", None, "start_another", "run_demo incomplete: max_completion_tokens"),
        ("requires_action", None, "escalate", 1),
    ],
)
def test_a_branch_decides_on_how_the_run_finished(dags, mock_server, seconds, status, error, taken, result):
    statuses = wait_for(seconds, status) if seconds else status
    mock_server.add_run(**RUN, statuses=statuses, steps=2, **({"last_error": error} if error else {}))
    states, results = run_dag(dags["branch_on_a_run"])
    branches = {"publish", "escalate", "give_up", "start_another"}
    assert {name for name in branches if states[name] == "success"} == {taken}
    assert {states[name] for name in branches - {taken}} == {"skipped"}
    if taken == "publish":
        assert results["publish"] == results["wait"]["usage"]["total_tokens"] > 0
    elif taken == "escalate":
        assert len(results["escalate"]) == result
    else:
        assert results[taken] == result


def test_the_output_of_a_response_is_used(dags, mock_server):
    mock_server.plan("responses", statuses=wait_for(1, "completed"), output=[{"text": "Thursday.\nReally."}])
    states, results = run_dag(dags["use_the_output"])
    assert set(states.values()) == {"success"}
    assert results["first_line"] == "Thursday."


def test_every_run_is_counted_those_that_failed_included(dags, mock_server):
    for number, status in enumerate(["completed", "failed", "completed"]):
        mock_server.add_run(thread_id="thread_demo", run_id=f"run_{number}", statuses=wait_for(1, status))
    states, results = run_dag(dags["each_run_of_a_thread"])
    assert set(states.values()) == {"success"}
    assert results["count"] == {"completed": 2, "failed": 1}


@pytest.mark.usefixtures("finalizing")
def test_a_callback_finds_the_job_in_the_exception(dags, mock_server, capfd, caplog):
    mock_server.add_run(**RUN, statuses=wait_for(1, "failed"), last_error=DIAGNOSIS)
    states, _ = run_dag(dags["alert_on_a_failed_run"])
    assert states == {"wait": "failed"}
    assert f"ALERT: run run_demo is failed: {DIAGNOSIS}" in capfd.readouterr().out + caplog.text


@pytest.mark.usefixtures("finalizing")
def test_a_callback_finds_who_refused(dags, mock_server, capfd, caplog):
    mock_server.fault(status=401, path="*/runs/*", times=None)
    run_dag(dags["alert_on_a_failed_run"])
    assert "refused, trace" in capfd.readouterr().out + caplog.text


def test_the_page_says_which_examples_are_whole_dags() -> None:
    assert len(BLOCKS) == 5
