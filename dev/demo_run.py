"""The demo's DAG runs: started over REST, polled until their end, and reported."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from rich.console import Console
from rich.table import Table

from dev.demo_portkey import Target
from dev.standalone import Standalone, Tasks
from dev.steps import StepFailedError

#: Fields of a manifest that name the job and how it ended.
_JOB_FIELDS = ("thread_id", "run_id", "run_status", "response_id", "response_status", "model")


@dataclass(frozen=True)
class Job:
    """
    What one example DAG shows.

    :param title: The job, in a few words.
    :param dag_id: The DAG.
    :param wait_task: The task that waits for the job.
    :param export_task: The task that writes the rows and returns the manifest.
    :param file: Name of the file with the rows.
    :param conf: Values for the DAG's params, beside the path.
    """

    title: str
    dag_id: str
    wait_task: str
    export_task: str
    file: str
    conf: Mapping[str, str]


def jobs_of(target: Target) -> list[Job]:
    """Return what the target has: a run, a model for a background response, or both."""
    jobs = []
    if target.run_id:
        conf = {"thread_id": target.thread_id, "run_id": target.run_id}
        title = f"run {target.run_id}: gate, and export of the steps"
        jobs.append(Job(title, "portkey_gate_and_export", "wait_for_run", "export_steps", "steps.jsonl", conf))
    if target.model:
        title = f"background response of {target.model}: create, wait, and export of the items"
        conf = {"model": target.model}
        jobs.append(Job(title, "portkey_response", "create_response", "export_items", "response.jsonl", conf))
    return jobs


@dataclass
class Observed:
    """
    What a DAG run looked like from outside.

    :param dag_run_id: Its id.
    :param wait_task: The task that waits for the job.
    :param states: Task id to the states that the task was seen in, in order.
    :param deferred: When the waiting task was first and last seen as deferred, in seconds of the monotonic clock.
    """

    dag_run_id: str
    wait_task: str
    states: dict[str, list[str]] = field(default_factory=dict)
    deferred: list[float] = field(default_factory=list)

    def update(self, tasks: Tasks) -> None:
        """Take note of the tasks' states now."""
        for name, task in tasks.items():
            state, known = task["state"] or "none", self.states.setdefault(name, [])
            if not known or known[-1] != state:
                known.append(state)
            if name == self.wait_task and state == "deferred":
                self.deferred = [*self.deferred[:1], time.monotonic()]

    def __str__(self) -> str:
        return ", ".join(f"{name} {states[-1]}" for name, states in self.states.items() if states[-1] != "none")


def run_dags(
    airflow: Standalone, target: Target, jobs: Sequence[Job], folder: Path, *, console: Console
) -> list[Observed]:
    """
    Run the example DAGs to their end, side by side, with a line that shows the states of their tasks.

    :param airflow: The running Airflow.
    :param target: What the DAGs wait for.
    :param jobs: One for each DAG.
    :param folder: Where the DAGs write their files.
    :param console: Where the line goes.
    :return: What was seen of each DAG run, in the order of the jobs.
    """
    try:
        observed = []
        for job in jobs:
            airflow.api.unpause(job.dag_id)
            dag_run_id = airflow.api.trigger(job.dag_id, {**job.conf, "path": str(folder / job.file)})
            observed.append(Observed(dag_run_id, job.wait_task))
        with console.status("DAG runs started") as status:

            def on_poll(_state: str, _tasks: Tasks) -> None:
                target.check()
                for job, seen in zip(jobs, observed, strict=True):
                    seen.update(airflow.api.task_instances(job.dag_id, seen.dag_run_id))
                status.update("; ".join(map(str, observed)))

            for job, seen in zip(jobs, observed, strict=True):
                state = airflow.wait_for_run(job.dag_id, seen.dag_run_id, on_poll=on_poll, timeout=target.timeout)
                _require_success(airflow, job, seen, state)
    except requests.RequestException as error:
        airflow.check()
        raise StepFailedError(f"a request to Airflow's API failed: {error}.", airflow.log) from error
    return observed


def _require_success(airflow: Standalone, job: Job, observed: Observed, state: str) -> None:
    for task_id, states in observed.states.items():
        if states[-1] == "failed":
            lines = airflow.api.log(job.dag_id, observed.dag_run_id, task_id).splitlines()[-15:]
            raise StepFailedError("\n".join([f"the task {task_id} failed; the last lines of its log:", *lines]))
    if state != "success":
        raise StepFailedError(f"the DAG run of {job.dag_id} ended as {state}: {observed}.", airflow.log)


def print_report(console: Console, *, job: Job, observed: Observed, manifest: dict[str, Any], path: Path) -> None:
    """
    Print what happened, and the rows of the file.

    :param console: Where to.
    :param job: What the DAG shows.
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
    table = Table("#", "id", "type", "status", "what", title=job.title, title_justify="left")
    for column in table.columns[:-1]:
        column.no_wrap = True
    for number, row in enumerate(rows, start=1):
        table.add_row(str(number), row.get("id"), row.get("type"), row.get("status"), _content(row))
    console.print("", table, "", sep="\n")
    waiting = "the task was never seen as deferred: the job had ended at its first poll"
    if observed.deferred:
        seconds = observed.deferred[-1] - observed.deferred[0]
        waiting = f"the task deferred, left its worker slot for {seconds:.0f} s, and was resumed by the triggerer"
    for name, value in (
        ("waiting", waiting),
        ("states seen", " -> ".join(observed.states.get(job.wait_task, []))),
        ("job", " ".join(f"{name}={manifest[name]}" for name in _JOB_FIELDS if manifest.get(name))),
        ("tokens", (manifest.get("usage") or {}).get("total_tokens", "not reported")),
        ("rows exported", f"{manifest['rows']} in {manifest['pages']} page(s), {manifest['bytes']} bytes"),
        ("sha256", f"{manifest['sha256']} (the same in the file and in XCom)"),
        ("file", path),
    ):
        # Whole on any terminal, for a path and a hash are there to be copied.
        console.print(f"{name:14} {value}", soft_wrap=True, markup=False)


def _content(row: dict[str, Any]) -> str:
    """Return the beginning of the text of a message, or the names of the tools that were called."""
    if text := row.get("message_text"):
        return str(text)[:60]
    if isinstance(content := row.get("content"), list):
        return " ".join(str(part.get("text", "")) for part in content)[:60]
    calls = (row.get("step_details") or {}).get("tool_calls") or []
    names = [(call.get("function") or {}).get("name") or call.get("type") for call in calls]
    return ", ".join(map(str, names or [row.get("name") or ""]))[:60]
