"""Runs rows: each contender of a row in a process of its own, in turn, for several rounds."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.row import Bar, Row, load_row

ROOT = Path(__file__).resolve().parents[1]
#: Metric to the values of its rounds.
Values = dict[str, list[float]]


class ContenderFailedError(Exception):
    """A contender did not return values; the message has its output."""


@dataclass
class Result:
    """
    What was measured of a row.

    :param name: The row's name.
    :param row: Its declaration.
    :param size: How much was done.
    :param values: Values by contender.
    :param growth: Median of the metric of the growth by size.
    """

    name: str
    row: Row
    size: int
    values: dict[str, Values] = field(default_factory=dict)
    growth: dict[int, float] = field(default_factory=dict)

    def median(self, contender: str, metric: str) -> float:
        """Return the median of the rounds."""
        return statistics.median(self.values[contender][metric])

    def judged(self, bar: Bar) -> float:
        """Return what a bar limits: our median, or the median of the ratios of each round to the other."""
        ours = self.values[self.row.ours][bar.metric]
        if bar.other is None:
            return statistics.median(ours)
        others = self.values[bar.other][bar.metric]
        # Of each round: what disturbed the machine then disturbed both.
        return statistics.median(mine / other for mine, other in zip(ours, others, strict=True))


def run_row(
    name: str,
    *,
    rounds: int,
    size: int | None = None,
    contenders: Sequence[str] | None = None,
    growth: bool = False,
    load: int = 0,
) -> Result:
    """
    Measure a row.

    :param name: Of its file.
    :param rounds: How often each contender runs, unless the row says so itself.
    :param size: In place of the row's.
    :param contenders: Only these.
    :param growth: Measure the cost against size too.
    :param load: Processes that keep a core busy meanwhile.
    :raises ContenderFailedError: One of them failed.
    """
    row = load_row(name)
    result = Result(name=name, row=row, size=size or row.size)
    chosen = [contender for contender in row.contenders if contenders is None or contender in contenders]
    with _server(row.server) as url, _busy(load):
        for _ in range(row.rounds or rounds):
            # In another order each time: no contender is always the one after the same other.
            for contender in random.sample(chosen, len(chosen)):
                for metric, value in run_contender(name, contender, size=result.size, url=url).items():
                    result.values.setdefault(contender, {}).setdefault(metric, []).append(value)
        if growth and row.growth:
            for at in row.growth.sizes:
                found = [run_contender(name, row.ours, size=at, url=url)[row.growth.metric] for _ in range(3)]
                result.growth[at] = statistics.median(found)
    return result


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
    command = [sys.executable, "-m", module]
    process = subprocess.Popen(command, cwd=ROOT, env=_environ(), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url.startswith("http"):
            raise ContenderFailedError(f"{module} did not start: its first line is {url!r}")
        yield url
    finally:
        process.terminate()
        process.wait()


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
    # Neither reports its use, and loopback has no proxy.
    return kept | {"NO_PROXY": "127.0.0.1,localhost", "RUNTIME__DLTHUB_TELEMETRY": "false", "DO_NOT_TRACK": "1"}
