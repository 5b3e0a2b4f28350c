"""Waiting for a DAG run that is to succeed."""

from __future__ import annotations

from typing import Any

from dev.standalone import Standalone


def succeed(airflow: Standalone, dag_id: str, dag_run_id: str, **options: Any) -> None:
    """Wait for the end of a DAG run; where it failed, show the logs of its failed tasks."""
    state = airflow.wait_for_run(dag_id, dag_run_id, **options)
    tasks = airflow.api.task_instances(dag_id, dag_run_id)
    failed = [name for name, task in tasks.items() if task["state"] == "failed"]
    assert state == "success", "\n".join(airflow.api.log(dag_id, dag_run_id, name) for name in failed)
