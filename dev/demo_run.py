"""The demo's DAG run: started over REST, polled until its end, and reported."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from rich.console import Console
from rich.table import Table

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
    :param deferred: When the waiting task was first and last seen as deferred, in seconds of the monotonic clock.
    """

    dag_run_id: str
    states: dict[str, list[str]] = field(default_factory=dict)
    deferred: list[float] = field(default_factory=list)

    def update(self, tasks: Tasks) -> None:
        """Take note of the tasks' states now."""
        for name, task in tasks.items():
            state, known = task["state"] or "none", self.states.setdefault(name, [])
            if not known or known[-1] != state:
                known.append(state)
            if name == WAIT_TASK and state == "deferred":
                self.deferred = [*self.deferred[:1], time.monotonic()]

    def __str__(self) -> str:
        return ", ".join(f"{name} {states[-1]}" for name, states in self.states.items() if states[-1] != "none")


def run_dag(airflow: Standalone, target: Target, path: Path, *, console: Console) -> Observed:
    """
    Run the example DAG to its end, with a line that shows the states of its tasks.

    :param airflow: The running Airflow.
    :param target: The run that the DAG waits for.
    :param path: Where the DAG writes the steps.
    :param console: Where the line goes.
    """
    try:
        airflow.api.unpause(DAG_ID)
        conf = {"thread_id": target.thread_id, "run_id": target.run_id, "path": str(path)}
        observed = Observed(airflow.api.trigger(DAG_ID, conf))
        with console.status("DAG run started") as status:

            def on_poll(state: str, tasks: Tasks) -> None:
                target.check()
                observed.update(tasks)
                status.update(f"DAG run {state}: {observed}")

            state = airflow.wait_for_run(DAG_ID, observed.dag_run_id, on_poll=on_poll, timeout=target.timeout)
        for task_id, states in observed.states.items():
            if states[-1] == "failed":
                lines = airflow.api.log(DAG_ID, observed.dag_run_id, task_id).splitlines()[-15:]
                raise StepFailedError("\n".join([f"the task {task_id} failed; the last lines of its log:", *lines]))
    except requests.RequestException as error:
        airflow.check()
        raise StepFailedError(f"a request to Airflow's API failed: {error}.", airflow.log) from error
    if state != "success":
        raise StepFailedError(f"the DAG run ended as {state}: {observed}.", airflow.log)
    return observed


def print_report(console: Console, *, observed: Observed, manifest: dict[str, Any], path: Path) -> None:
    """
    Print what happened, and the steps in the file.

    :param console: Where to.
    :param observed: The states that the tasks were seen in.
    :param manifest: What the exporting task returned.
    :param path: The file.
    :raises StepFailedError: The file is not what the manifest says.
    """
    content = path.read_bytes()
    rows = [json.loads(line) for line in content.splitlines()]
    found = {"rows": len(rows), "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    if manifest | found != manifest:
        raise StepFailedError(f"{path} is not what the manifest says: {found}, not {manifest}.")
    table = Table(
        "#", "step", "type", "status", "seconds", "what", title=f"The steps in {path.name}", title_justify="left"
    )
    for column in table.columns[:-1]:
        column.no_wrap = True
    for number, row in enumerate(rows, start=1):
        begin, finish = row.get("created_at"), row.get("completed_at")
        duration = f"{finish - begin:g}" if begin and finish else ""
        table.add_row(str(number), row.get("id"), row.get("type"), row.get("status"), duration, _content(row))
    console.print("", table, "", sep="\n")
    waiting = "the task was never seen as deferred: the run had ended at its first poll"
    if observed.deferred:
        seconds = observed.deferred[-1] - observed.deferred[0]
        waiting = f"the task deferred, left its worker slot for {seconds:.0f} s, and was resumed by the triggerer"
    for name, value in (
        ("waiting", waiting),
        ("states seen", " -> ".join(observed.states.get(WAIT_TASK, []))),
        ("run", f"{manifest['run_id']} of thread {manifest['thread_id']}: {manifest['run_status']}"),
        ("rows exported", f"{manifest['rows']} in {manifest['pages']} page(s), {manifest['bytes']} bytes"),
        ("sha256", f"{manifest['sha256']} (the same in the file and in XCom)"),
        ("file", path),
    ):
        # Whole on any terminal, for a path and a hash are there to be copied.
        console.print(f"{name:14} {value}", soft_wrap=True, markup=False)


def _content(row: dict[str, Any]) -> str:
    """Return the beginning of the message's text, or the names of the tools that were called."""
    calls = (row.get("step_details") or {}).get("tool_calls") or []
    names = [(call.get("function") or {}).get("name") or call.get("type") for call in calls]
    return str(row.get("message_text") or ", ".join(map(str, names)))[:60]
