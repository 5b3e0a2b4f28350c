"""Runs rows: each contender of a row in a process of its own, in turn, for several rounds."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results import Machine, Result, Values
from benchmarks.row import Row, load_row

ROOT = Path(__file__).resolve().parents[1]
#: How often each size of a growth is measured.
_GROWTH_ROUNDS = 3


class ContenderFailedError(Exception):
    """A contender or a server did not do what it should; the message has its output."""


@dataclass(frozen=True)
class Plan:
    """
    How a row is measured.

    :param rounds: How often each contender runs, unless the row says so itself.
    :param size: In place of the row's.
    :param contenders: Only these.
    :param growth: Measure the cost against size too.
    :param busy: Measure a row that is judged on a busy machine there as well.
    :param load: Processes that keep a core busy during all of it.
    :param report: Called with a line on what is being done.
    """

    rounds: int = 5
    size: int | None = None
    contenders: Sequence[str] | None = None
    growth: bool = False
    busy: bool = True
    load: int = 0
    report: Callable[[str], object] = lambda line: None


def run_row(name: str, plan: Plan) -> Result:
    """
    Measure a row.

    :param name: Of its file.
    :raises ContenderFailedError: A contender failed.
    """
    row = load_row(name)
    result = Result(size=plan.size or row.size, machine=Machine.here())
    with _server(row.server) as url:
        with _busy(plan.load):
            result.quiet = _rounds(name, row, plan, result.size, url)
            if plan.growth and row.growth:
                result.growth = _growth(name, row, plan, row.growth.sizes, url, rounds=_GROWTH_ROUNDS)
        if row.is_busy and plan.busy and not plan.load:
            with _busy(result.machine.cores):
                result.busy = _rounds(name, row, plan, result.size, url)
    return result


def run_growth(name: str, plan: Plan, *, quick: bool = False) -> Result:
    """
    Measure the cost of a row against its size only.

    :param quick: The quick sizes, once.
    :raises ContenderFailedError: A contender failed.
    """
    row = load_row(name)
    assert row.growth is not None
    sizes, rounds = (row.growth.quick, 1) if quick else (row.growth.sizes, min(plan.rounds, _GROWTH_ROUNDS))
    with _server(row.server) as url:
        growth = _growth(name, row, plan, sizes, url, rounds=rounds)
    return Result(size=max(growth), machine=Machine.here(), growth=growth)


def _growth(name: str, row: Row, plan: Plan, sizes: Sequence[int], url: str, *, rounds: int) -> dict[int, float]:
    """Return the median of the metric of the growth by size."""
    assert row.growth is not None
    growth = {}
    for size in sizes:
        plan.report(f"{name}: {size:,} {row.unit}")
        found = [run_contender(name, row.ours, size=size, url=url) for _ in range(rounds)]
        growth[size] = statistics.median(each[row.growth.metric] for each in found)
    return growth


def _rounds(name: str, row: Row, plan: Plan, size: int, url: str) -> dict[str, Values]:
    chosen = [contender for contender in row.contenders if plan.contenders is None or contender in plan.contenders]
    values: dict[str, Values] = {contender: {metric: [] for metric in row.metrics} for contender in chosen}
    rounds = min(plan.rounds, row.rounds or plan.rounds)
    for number in range(rounds):
        # In another order each time: no contender always follows the same other.
        for contender in random.sample(chosen, len(chosen)):
            plan.report(f"{name}: {contender}, round {number + 1} of {rounds}")
            for metric, value in run_contender(name, contender, size=size, url=url).items():
                values[contender][metric].append(value)
    return values


def run_contender(name: str, contender: str, *, size: int, url: str) -> dict[str, float]:
    """
    Run one contender once, in a process of its own.

    :raises ContenderFailedError: It failed.
    """
    command = [sys.executable, "-m", "benchmarks.child", name, contender, "--size", str(size), "--url", url]
    done = subprocess.run(command, cwd=ROOT, env=_environ(), capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        raise ContenderFailedError(f"{contender} of {name} exited with {done.returncode}:\n{done.stderr[-4000:]}")
    values: dict[str, float] = json.loads(lines[-1])
    return values


@contextmanager
def _server(module: str | None) -> Iterator[str]:
    """Start a row's server and return its URL."""
    if module is None:
        yield ""
        return
    command = [sys.executable, "-m", *module.split()]
    process = subprocess.Popen(command, cwd=ROOT, env=_environ(), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = next((word for word in line.split() if word.startswith("http")), None)
        if url is None:
            raise ContenderFailedError(f"{module} did not start: its first line is {line!r}")
        yield url.removesuffix("/v1")
    finally:
        process.terminate()
        process.wait()
        if process.stdout:
            process.stdout.close()


@contextmanager
def _busy(count: int) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _environ() -> dict[str, str]:
    """Return the environment without settings of the caller that change what is measured."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PORTKEY", "OPENAI"))}
    # None reports its use, and loopback has no proxy.
    return kept | {"NO_PROXY": "127.0.0.1,localhost", "RUNTIME__DLTHUB_TELEMETRY": "false", "DO_NOT_TRACK": "1"}
