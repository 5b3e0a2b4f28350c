"""The demo: a real Portkey gateway and a real Airflow run the example DAG, from nothing to a file of steps."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from dev import demo_portkey
from dev.commands import STOPS
from dev.demo_report import print_report, read_steps
from dev.demo_run import DAG_ID, EXPORTS, run_dag
from dev.environment import SECONDS_VARIABLE
from dev.phases import PhaseFailed, phase
from dev.places import EXAMPLE_DAGS
from dev.standalone import USERNAME, Standalone


def main(*, folder: Path, keep: bool) -> int:
    """
    Run the demo.

    :param folder: For everything it writes.
    :param keep: Leave it all running afterwards, until Ctrl-C.
    :return: The exit code.
    :raises PhaseFailed: A part failed; nothing is left running.
    """
    began = time.monotonic() - float(os.environ.pop(SECONDS_VARIABLE, "0"))
    folder = folder.resolve()
    with _own(folder):
        running = ExitStack()
        try:
            _run(folder, running, keep=keep)
        finally:
            # A second Ctrl-C must not leave anything behind.
            for number in STOPS:
                signal.signal(number, signal.SIG_IGN)
            with phase("stopping"):
                running.close()
    if not keep:
        print(f"Done in {time.monotonic() - began:.0f} s.")
    return 0


def _run(folder: Path, running: ExitStack, *, keep: bool) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    target = demo_portkey.hosted()
    hosted = target is not None
    print(f"Demo in {folder}")
    if target is None:
        target = demo_portkey.local(folder, running)
    airflow = Standalone(
        folder / "airflow",
        dags_folder=EXAMPLE_DAGS,
        connections={"portkey_default": target.connection},
        # All examples are there to be looked at with --keep; only the one that is shown runs.
        settings={"AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True"},
    )
    running.callback(airflow.stop)
    with phase("Airflow"):
        airflow.start()
    with phase(f"DAG {DAG_ID}"):
        airflow.wait_for_dag(DAG_ID)
    print(f"  run {target.run_id}, from {target.description}")
    path = folder / "steps.jsonl"
    with phase("DAG run", live=True):
        seen = run_dag(airflow, target, path, hosted=hosted, console=console)
        manifest = airflow.api.xcom(DAG_ID, seen.dag_run_id, EXPORTS)
        rows = read_steps(manifest, path)
    print_report(console, seen=seen, manifest=manifest, rows=rows, path=path)
    if keep:
        print(f"\nAirflow's UI: {airflow.url}  user: {USERNAME}  password: {airflow.password}")
        print("Ctrl-C stops everything.", flush=True)
        _until_interrupted(airflow.check, target.check)


def _until_interrupted(*checks: Callable[[], None]) -> None:
    try:
        while True:
            for check in checks:
                check()
            time.sleep(1)
    except KeyboardInterrupt:
        print()


@contextmanager
def _own(folder: Path) -> Iterator[None]:
    """
    Empty the folder of an earlier demo, and keep a second one out of it.

    :raises PhaseFailed: It is somebody else's, or in use.
    """
    mark = folder / "portkey-demo.lock"
    if folder.exists() and not mark.exists() and any(folder.iterdir()):
        raise PhaseFailed(f"{folder} is not empty and was not made by this demo: give another --folder")
    folder.mkdir(parents=True, exist_ok=True)
    with mark.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise PhaseFailed(f"another demo runs in {folder}: stop it, or give another --folder") from error
        shutil.rmtree(folder / "airflow", ignore_errors=True)
        for log in (*folder.glob("*.log"), *folder.glob("steps.*")):
            log.unlink()
        yield
