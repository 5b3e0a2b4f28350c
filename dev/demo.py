"""The demo: a real Portkey gateway and a real Airflow run two example DAGs, from nothing to files with their rows."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from dev import demo_portkey
from dev.commands import STARTED_VARIABLE, STOPS
from dev.demo_run import jobs_of, print_report, run_dags
from dev.paths import EXAMPLE_DAGS
from dev.standalone import USERNAME, Standalone
from dev.steps import StepFailedError, step


def main(*, folder: Path, keep: bool, timeout: float) -> int:
    """
    Run the demo.

    :param folder: For everything it writes.
    :param keep: Leave it all running afterwards, until Ctrl-C.
    :param timeout: Seconds that one wait may last although everything lives and moves.
    :return: The exit code.
    """
    started = float(os.environ.pop(STARTED_VARIABLE, time.time()))
    folder = folder.resolve()
    with _own(folder), ExitStack() as running:
        try:
            _run(folder, running, keep=keep, timeout=timeout)
        finally:
            # A second Ctrl-C must not leave anything behind.
            for number in STOPS:
                signal.signal(number, signal.SIG_IGN)
            with step("stopping"):
                running.close()
    print(f"Done in {time.time() - started:.0f} s.")
    return 0


def _run(folder: Path, running: ExitStack, *, keep: bool, timeout: float) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    print(f"Demo in {folder}")
    target = demo_portkey.hosted() or demo_portkey.local(folder, running, timeout=timeout)
    # All examples can be opened with --keep; only the one that is shown runs.
    settings = {"AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True"}
    airflow = Standalone(folder / "airflow", dags_folder=EXAMPLE_DAGS, settings=settings, timeout=timeout)
    running.callback(airflow.stop)
    with step("Airflow"):
        airflow.start()
        # In the database rather than in the environment, so that the UI shows it, in the form.
        fields = {**target.connection, "extra": json.dumps(target.connection["extra"])}
        airflow.api.call("POST", "/connections", {"connection_id": "portkey_default", **fields})
    jobs = jobs_of(target)
    with step("DAGs"):
        for job in jobs:
            airflow.wait_for_dag(job.dag_id)
    print(f"  from {target.description}:", *(f"    {job.dag_id}: {job.title}" for job in jobs), sep="\n", flush=True)
    with step("DAG runs", live=True):
        observed = run_dags(airflow, target, jobs, folder, console=console)
        manifests = [
            airflow.api.xcom(job.dag_id, seen.dag_run_id, job.export_task)
            for job, seen in zip(jobs, observed, strict=True)
        ]
    for job, seen, manifest in zip(jobs, observed, manifests, strict=True):
        print_report(console, job=job, observed=seen, manifest=manifest, path=folder / job.file)
    if keep:
        print(f"\nAirflow's UI: {airflow.url}  user: {USERNAME}  password: {airflow.password}")
        print("Ctrl-C stops everything.", flush=True)
        with step("running", live=True):
            while True:
                airflow.check()
                target.check()
                time.sleep(1)


@contextmanager
def _own(folder: Path) -> Iterator[None]:
    """Empty the folder of an earlier demo, and keep a second one out of it."""
    mark = folder / "portkey-demo.lock"
    if folder.exists() and not mark.exists() and any(folder.iterdir()):
        raise StepFailedError(f"{folder} is not empty and was not made by this demo: give another --folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = mark.open("a")
    except OSError as error:
        raise StepFailedError(f"{folder} cannot be written to: {error.strerror}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StepFailedError(f"another demo runs in {folder}: stop it, or give another --folder.") from error
        shutil.rmtree(folder / "airflow", ignore_errors=True)
        for file in (*folder.glob("*.log"), *folder.glob("*.jsonl")):
            file.unlink()
        yield
