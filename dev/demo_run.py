"""The demo's DAG run: started over REST and polled until its end."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import requests
from rich.console import Console

from dev.demo_portkey import Target
from dev.standalone import Standalone, Tasks
from dev.steps import StepFailedError

DAG_ID = "portkey_gate_and_export"
WAIT_TASK = "wait_for_run"
EXPORT_TASK = "export_steps"


@dataclass
class Observed:
    """
    What a DAG run looked like from outside.

    :param dag_run_id: Its id.
    :param states: Task id to the states that the task was seen in, in order.
    :param deferred_at: When the waiting task was first seen as deferred (seconds of the monotonic clock).
    :param resumed_at: When it was first seen in another state again.
    """

    dag_run_id: str
    states: dict[str, list[str]] = field(default_factory=dict)
    deferred_at: float | None = None
    resumed_at: float | None = None

    def update(self, tasks: Tasks) -> None:
        """Take note of the tasks' states now."""
        for name, task in tasks.items():
            state, known = task["state"] or "none", self.states.setdefault(name, [])
            if not known or known[-1] != state:
                known.append(state)
        state = (tasks.get(WAIT_TASK) or {}).get("state")
        if state == "deferred":
            self.deferred_at = self.deferred_at or time.monotonic()
        elif self.deferred_at is not None:
            self.resumed_at = self.resumed_at or time.monotonic()

    def line(self) -> str:
        """Return the last state of each task in one line."""
        return ", ".join(f"{name} {states[-1]}" for name, states in self.states.items() if states[-1] != "none")


def run_dag(airflow: Standalone, target: Target, path: Path, *, console: Console) -> Observed:
    """
    Run the example DAG to its end, with a line that shows the states of its tasks.

    :param airflow: The running Airflow.
    :param target: The run that the DAG waits for.
    :param path: Where the DAG writes the steps.
    :param console: Where the line goes.
    :raises StepFailedError: The DAG run failed, or a part that it needs.
    """
    started = time.monotonic()
    try:
        airflow.api.unpause(DAG_ID)
        conf = {"thread_id": target.thread_id, "run_id": target.run_id, "path": str(path)}
        observed = Observed(airflow.api.trigger(DAG_ID, conf))
        with console.status("DAG run started") as status:

            def on_poll(state: str, tasks: Tasks) -> None:
                target.check()
                observed.update(tasks)
                status.update(f"{time.monotonic() - started:3.0f} s  DAG run {state}: {observed.line()}")

            state = airflow.wait_for_run(DAG_ID, observed.dag_run_id, on_poll=on_poll, timeout=target.timeout)
        if state == "success":
            return observed
        for task_id, states in observed.states.items():
            if states[-1] == "failed":
                lines = airflow.api.log(DAG_ID, observed.dag_run_id, task_id).splitlines()[-15:]
                raise StepFailedError("\n".join([f"the task {task_id} failed; the last lines of its log:", *lines]))
    except requests.RequestException as error:
        airflow.check()
        raise StepFailedError(f"Airflow's API: {error}.", airflow.log) from error
    raise StepFailedError(f"the DAG run ended as {state}, with the states {observed.states}.", airflow.log)
