"""The demo's DAG run: started over REST, watched until its end, and what was seen on the way."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from rich.console import Console

from dev.demo_portkey import Target
from dev.phases import PhaseFailed
from dev.standalone import Standalone

DAG_ID = "portkey_gate_and_export"
WAITS = "wait_for_run"
EXPORTS = "export_steps"

#: For a run of the mock server; several times what the DAG run takes on two busy cores.
LOCAL_SECONDS = 180.0
#: For a run of a hosted Portkey: the sensor's own time-out, and some more.
HOSTED_SECONDS = 3_900.0


@dataclass
class Seen:
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

    def look(self, tasks: dict[str, dict[str, Any]]) -> None:
        """Take note of the tasks' states now."""
        for name, task in tasks.items():
            state, known = task["state"] or "none", self.states.setdefault(name, [])
            if not known or known[-1] != state:
                known.append(state)
        state = (tasks.get(WAITS) or {}).get("state")
        if state == "deferred":
            self.deferred_at = self.deferred_at or time.monotonic()
        elif self.deferred_at is not None:
            self.resumed_at = self.resumed_at or time.monotonic()

    def line(self) -> str:
        """Return the last state of each task in one line."""
        return ", ".join(f"{name} {states[-1]}" for name, states in self.states.items() if states[-1] != "none")


def run_dag(airflow: Standalone, target: Target, path: Path, *, hosted: bool, console: Console) -> Seen:
    """
    Run the example DAG to its end, with a line that shows the states of its tasks.

    :param airflow: The running Airflow.
    :param target: The run that the DAG waits for.
    :param path: Where the DAG writes the steps.
    :param hosted: Whether the run belongs to a Portkey elsewhere, which may take its time.
    :param console: Where the line goes.
    :raises PhaseFailed: The DAG run failed, or did not end in time.
    """
    started = time.monotonic()
    try:
        airflow.api.unpause(DAG_ID)
        conf = {"thread_id": target.thread_id, "run_id": target.run_id, "path": str(path)}
        seen = Seen(airflow.api.trigger(DAG_ID, conf))
        with console.status("DAG run started") as status:

            def look(state: str, tasks: dict[str, dict[str, Any]]) -> None:
                airflow.check()
                target.check()
                seen.look(tasks)
                status.update(f"{time.monotonic() - started:3.0f} s  DAG run {state}: {seen.line()}")

            seconds = HOSTED_SECONDS if hosted else LOCAL_SECONDS
            state = airflow.api.wait_for_run(DAG_ID, seen.dag_run_id, seconds=seconds, on_look=look)
    except (requests.RequestException, TimeoutError) as error:
        raise PhaseFailed(str(error), airflow.log) from error
    if state != "success":
        raise PhaseFailed(f"the DAG run ended as {state}\n{_why(airflow, seen)}", airflow.folder / "logs")
    return seen


def _why(airflow: Standalone, seen: Seen) -> str:
    """Return the end of the log of the first task that failed."""
    for task_id, states in seen.states.items():
        if states[-1] == "failed":
            lines = airflow.api.log(DAG_ID, seen.dag_run_id, task_id).splitlines()
            return "\n".join([f"{task_id}:", *lines[-15:]])
    return f"states: {seen.states}"
