"""Minutes of the whole test suite, and which processes need its CPU."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import psutil

from benchmarks.row import Bar, Metric, Row, Setting

ROOT = Path(__file__).resolve().parents[2]
_COMMAND = [sys.executable, "-m", "dev", "test"]
#: Seconds between two readings; what a process uses after the last one is not seen.
_INTERVAL = 0.5
#: Component of Airflow to the metric of its CPU.
_AIRFLOW = {
    "api-server": "api_server",
    "scheduler": "scheduler",
    "triggerer": "triggerer",
    "dag-processor": "dag_processor",
    "executor": "tasks",
    "supervisor:": "tasks",
    "celery": "tasks",
    "task": "tasks",
}
#: Beginning of a program's name to the metric of its CPU.
_PROGRAMS = {"chrom": "browsers", "[celeryd": "tasks", "postgres": "servers", "redis": "servers", "node": "servers"}


class Usage:
    """
    CPU of a process and of all that it starts, also of those that outlive who started them.

    :param pid: Of the process.
    """

    def __init__(self, pid: int) -> None:
        self._pids = {pid}
        #: Process and time of its start to the metric and the seconds.
        self._used: dict[tuple[int, float], tuple[str, float]] = {}

    def read(self) -> None:
        """Read the system's table of processes, in which parents come before those that they start."""
        for process in psutil.process_iter(["ppid", "create_time", "cpu_times"]):
            if not {process.pid, process.info["ppid"]} & self._pids:
                continue
            self._pids.add(process.pid)
            key, times = (process.pid, process.info["create_time"]), process.info["cpu_times"]
            metric = metric_of(process) or self._used.get(key, ("tests", 0.0))[0]
            self._used[key] = (metric, times.user + times.system)

    def minutes(self) -> Counter[str]:
        """Return the minutes of each metric."""
        minutes = Counter[str]()
        for metric, seconds in self._used.values():
            minutes[metric] += seconds / 60  # type: ignore[assignment]
        return minutes


def metric_of(process: psutil.Process) -> str | None:
    """Return the metric of a process, ``None`` where it has ended."""
    from dev.standalone import component_of

    try:
        words = process.cmdline()
    except psutil.Error:
        return None
    if not words:
        return None
    name = Path(words[0]).name
    for beginning, metric in _PROGRAMS.items():
        if name.startswith(beginning):
            return metric
    if component := component_of(process):
        return _AIRFLOW.get(component, "commands")
    return "ratios" if "benchmarks." in " ".join(words) else "tests"


def _run(setting: Setting) -> Mapping[str, float]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    output = setting.folder / "output"
    # The environment is no part of the run.
    subprocess.run([*_COMMAND, "--collect-only", "-q", "tests/unit/benchmarks"], cwd=ROOT, env=env, check=True)
    with output.open("w") as file:
        start = time.monotonic()
        process = subprocess.Popen([*_COMMAND, "-q"], cwd=ROOT, env=env, stdout=file, stderr=file)
        usage = Usage(process.pid)
        while (code := process.poll()) is None:
            usage.read()
            time.sleep(_INTERVAL)
    minutes = (time.monotonic() - start) / 60
    if code:
        sys.exit(output.read_text()[-4000:])
    of_each = usage.minutes()
    return {"minutes": minutes, "cpu": sum(of_each.values()), **{name: of_each[name] for name in _PARTS}}


_PARTS = {
    "tests": Metric("tests", 1),
    "api_server": Metric("API servers", 1),
    "scheduler": Metric("schedulers", 1),
    "triggerer": Metric("triggerers", 1),
    "dag_processor": Metric("DAG processors", 1),
    "tasks": Metric("tasks", 1),
    "commands": Metric("commands of Airflow", 1),
    "ratios": Metric("ratios of this page", 1),
    "browsers": Metric("browsers", 1),
    "servers": Metric("PostgreSQL, Redis, gateways", 1),
}

ROW = Row(
    title="The test suite",
    what="`python3 -m dev test` runs all tests, four processes at a time, with real Airflows, gateways, databases and "
    "browsers beside them. After the minutes of the run come the minutes of CPU, in all and of which processes.",
    unit="runs",
    size=1,
    contenders={"python3 -m dev test": _run},
    metrics={"minutes": Metric("minutes", 1), "cpu": Metric("CPU", 1), **_PARTS},
    bars=(Bar("minutes", at_most=10),),
    server=None,
    rounds=1,
    notes="The limit is CPU: two cores are busy from the first minute to the last, so that no other order of the tests "
    "ends sooner. Two fifths of it are those of the 9,900 tests and of the commands that they start. A process that "
    "imports Airflow uses two seconds before it does anything. A complete Airflow uses 40 s until it is healthy (API "
    "server 17, scheduler, triggerer and DAG processor 5 to 8 each), and there are four, for tests kill parts of "
    "theirs; after that it is idle at an eighth of a core. Ten minutes on two cores would need half of the CPU, and "
    "tests without real Airflows. What was taken out, with every case kept: processes that kept the cores busy beside "
    "ratios that nothing judged on a busy machine, a start of the FOCUS validator for each wrong value, lists of a "
    "hundred task instances at each poll of the API, an Airflow that stands by while a person says nothing, and the "
    "slow way in which a report escaped many characters.",
)
