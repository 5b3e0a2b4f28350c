"""Waiting for room in a provider's batch queue, on real Airflow in each mode, and in processes that are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS, AIRFLOW_V_3_1_PLUS

from airflow_provider_portkey.testing import PortkeyMockServer

FULL = {"code": "token_limit_exceeded", "message": "Enqueued token limit reached.", "line": None}
DAG_FILE = """
from datetime import UTC, datetime

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_portkey.operators.batch import PortkeyCreateBatchOperator

with DAG("batch_capacity", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
    PortkeyCreateBatchOperator(
        task_id="create", input_path={path!r}, wait_for_capacity=True, capacity_interval=1, poke_interval=0.2, {options}
    )
"""
WORKER = """
import sys

from airflow_provider_portkey.operators.batch import PortkeyCreateBatchOperator
from airflow_provider_portkey.testing import TaskStateStore, fake_context
from pathlib import Path

path, store, try_number = sys.argv[1:]
context = fake_context(try_number=int(try_number), max_tries=9, task_state_store=TaskStateStore(path=Path(store)))
task = PortkeyCreateBatchOperator(
    task_id="create", input_path=path, wait_for_capacity=True, capacity_interval=1, poke_interval=0.2
)
print(task.execute(context)["id"])
"""
MODES = {"poke": "deferrable=False", "reschedule": "mode='reschedule'", "deferred": "deferrable=True"}


@pytest.fixture
def mock_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[PortkeyMockServer]:
    with PortkeyMockServer(job_seconds=0) as server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(server.connection()))
        yield server


@pytest.fixture
def input_path(tmp_path: Path) -> Path:
    request = {"custom_id": "q", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m"}}
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(request) + "\n")
    return path


@pytest.fixture
def rescheduling(monkeypatch: pytest.MonkeyPatch) -> None:
    """``dag.test()`` of Airflow 3.0 hands every rescheduled sensor a text for the time of its first reschedule."""
    if not AIRFLOW_V_3_0_PLUS or AIRFLOW_V_3_1_PLUS:
        return
    from airflow.sdk.api.client import TaskInstanceOperations
    from airflow.sdk.execution_time.comms import TaskRescheduleStartDate

    unparsed = TaskInstanceOperations.get_reschedule_start_date

    def parsed(self: Any, *args: Any) -> TaskRescheduleStartDate:
        return TaskRescheduleStartDate(start_date=unparsed(self, *args).start_date)

    monkeypatch.setattr(TaskInstanceOperations, "get_reschedule_start_date", parsed)


def refuse(server: PortkeyMockServer, times: int) -> None:
    """The queue is full: said by the response to the submission for the first batch, by a later poll for others."""
    server.plan("batches", statuses="failed", errors=[FULL])
    server.plan(
        "batches", times=times - 1, statuses=["validating", "validating", "failed"], advance="per_poll", errors=[FULL]
    )


def posts(server: PortkeyMockServer, path: str) -> int:
    return sum((request.method, request.path) == ("POST", path) for request in server.requests)


@pytest.mark.usefixtures("rescheduling")
@pytest.mark.parametrize("mode", MODES)
def test_each_mode_waits_until_the_queue_has_room(
    mock_server: PortkeyMockServer,
    input_path: Path,
    tmp_path: Path,
    parse_dags: Any,
    mode: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuse(mock_server, 3)
    file = tmp_path / "batch_capacity.py"
    file.write_text(DAG_FILE.format(path=str(input_path), options=MODES[mode]))
    monkeypatch.setattr("airflow.settings.DAGS_FOLDER", str(tmp_path))

    dag_run = parse_dags(file)["batch_capacity"].test()

    (task_instance,) = dag_run.get_task_instances()
    assert task_instance.state == "success"
    assert task_instance.xcom_pull(task_ids="create")["id"] == "batch_000004"
    assert (posts(mock_server, "/v1/files"), posts(mock_server, "/v1/batches")) == (1, 4)


@pytest.mark.usefixtures("rescheduling")
@pytest.mark.parametrize("mode", MODES)
def test_each_mode_gives_up_at_the_same_time(
    mock_server: PortkeyMockServer,
    input_path: Path,
    tmp_path: Path,
    parse_dags: Any,
    mode: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mock_server.plan("batches", times=None, statuses="failed", errors=[FULL])
    file = tmp_path / "batch_capacity.py"
    file.write_text(DAG_FILE.format(path=str(input_path), options=f"{MODES[mode]}, timeout=3, soft_fail=True"))
    monkeypatch.setattr("airflow.settings.DAGS_FOLDER", str(tmp_path))

    dag_run = parse_dags(file)["batch_capacity"].test()

    (task_instance,) = dag_run.get_task_instances()
    assert task_instance.state == "skipped"
    assert posts(mock_server, "/v1/files") == 1
    assert 1 <= posts(mock_server, "/v1/batches") <= 3


def test_a_worker_that_is_killed_while_it_waits_uploads_once_and_leaves_no_second_batch(
    mock_server: PortkeyMockServer, input_path: Path, tmp_path: Path
) -> None:
    refuse(mock_server, 7)
    env = {**os.environ, "PYTHONWARNINGS": "ignore"}

    def start(try_number: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WORKER, str(input_path), str(tmp_path / "state.json"), str(try_number)]
        return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    for number in (1, 2, 3):
        worker = start(number)
        before = posts(mock_server, "/v1/batches")
        # The second is killed between a submission and the poll that says that the queue is full.
        while posts(mock_server, "/v1/batches") < before + number % 2 + 1:
            assert worker.poll() is None
            time.sleep(0.02)
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
    made, _ = start(4).communicate()

    assert made.splitlines()[-1] == "batch_000008"
    assert (posts(mock_server, "/v1/files"), posts(mock_server, "/v1/batches")) == (1, 8)
