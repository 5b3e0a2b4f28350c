"""Waiting for what other processes do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from dev.standalone import Standalone


def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {seconds} s"
        time.sleep(0.1)


def succeed(airflow: Standalone, dag_id: str, dag_run_id: str, **how: Any) -> None:
    """Wait until the DAG run has ended; where it did not end well, show why."""
    state = airflow.api.wait_for_run(dag_id, dag_run_id, **how)
    bad = [name for name, each in airflow.api.task_instances(dag_id, dag_run_id).items() if each["state"] == "failed"]
    assert state == "success", "\n".join(airflow.api.log(dag_id, dag_run_id, name) for name in bad)
