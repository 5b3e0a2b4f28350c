"""What was measured, kept as JSON, so that one row can be measured again and the page still shows all."""

from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from math import log
from pathlib import Path

from benchmarks.row import Bar, Row

#: Metric to the values of its rounds.
Values = dict[str, list[float]]
#: Of these a reader wants the versions.
_LIBRARIES = (
    "aiohttp",
    "apache-airflow",
    "apache-airflow-providers-anthropic",
    "apache-airflow-providers-common-ai",
    "apache-airflow-providers-dbt-cloud",
    "apache-airflow-providers-http",
    "apache-airflow-providers-openai",
    "dlt",
    "openai",
    "orjson",
    "pandas",
    "portkey-ai",
    "pyarrow",
    "requests",
)


@dataclass(frozen=True)
class Machine:
    """Where a row was measured, and when."""

    date: str
    cpu: str
    cores: int
    memory_gb: int
    system: str
    python: str
    #: Processes that wanted a core when the measurement began, of the last minute.
    load: float

    @classmethod
    def here(cls) -> Machine:
        """Describe this machine, now; nothing of it names the machine or its user."""
        return cls(
            date=datetime.now(UTC).strftime("%Y-%m-%d"),
            cpu=_cpu(),
            cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
            system=f"{platform.system()} {platform.machine()}",
            python=platform.python_version(),
            load=round(os.getloadavg()[0], 1),
        )


@dataclass
class Result:
    """
    What was measured of a row.

    :param size: How much was done.
    :param machine: Where.
    :param quiet: Values by contender.
    :param busy: Those of the rounds on a busy machine.
    :param growth: By size, the median of the metric of the growth.
    """

    size: int
    machine: Machine
    quiet: dict[str, Values] = field(default_factory=dict)
    busy: dict[str, Values] = field(default_factory=dict)
    growth: dict[int, float] = field(default_factory=dict)

    def median(self, contender: str, metric: str, *, busy: bool = False) -> float:
        """Return the median of the rounds."""
        return statistics.median((self.busy if busy else self.quiet)[contender][metric])

    def judged(self, row: Row, bar: Bar) -> float | None:
        """Return what a bar limits; ``None`` where one of the two was not measured."""
        values = self.busy if bar.busy else self.quiet
        ours = values.get(bar.ours or row.ours)
        others = values.get(bar.other) if bar.other else None
        if ours is None or (bar.other and others is None):
            return None
        if others is None:
            return statistics.median(ours[bar.metric])
        # Of each round: what disturbed the machine then disturbed both.
        pairs = zip(ours[bar.metric], others[bar.metric], strict=True)
        return statistics.median(mine / other for mine, other in pairs)

    def exponent(self) -> float | None:
        """
        Return the exponent that the growth follows: the slope of a line through the logarithms of its last three sizes.

        Where the first sizes are small, a fixed cost would hide growth that only large sizes show.
        """
        points = [(log(size), log(value)) for size, value in sorted(self.growth.items())[-3:] if value > 0]
        if len(points) < 2:
            return None
        x, y = zip(*points, strict=True)
        return statistics.linear_regression(x, y).slope

    def to_json(self) -> dict[str, object]:
        """Return it as a JSON object."""
        rounded = asdict(self)
        for values in (rounded["quiet"], rounded["busy"]):
            for metrics in values.values():
                metrics.update({name: [float(f"{each:.4g}") for each in found] for name, found in metrics.items()})
        rounded["growth"] = {str(size): float(f"{value:.4g}") for size, value in self.growth.items()}
        return rounded

    @classmethod
    def from_json(cls, given: dict[str, object]) -> Result:
        """Read what :meth:`to_json` returned."""
        result = cls(**{**given, "machine": Machine(**given["machine"])})  # type: ignore[arg-type]
        result.growth = {int(size): value for size, value in result.growth.items()}
        return result


class Results:
    """
    The results of all rows, in one file.

    :param path: The file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        found = json.loads(path.read_text()) if path.exists() else {"rows": {}, "versions": {}}
        self.rows = {name: Result.from_json(given) for name, given in found["rows"].items()}
        self.versions: dict[str, str] = found["versions"]

    def put(self, name: str, result: Result) -> None:
        """Replace the result of a row, and write the file."""
        # As it is read again: the page shows what the file holds.
        self.rows[name] = Result.from_json(json.loads(json.dumps(result.to_json())))
        self.versions = _versions()
        rows = {name: self.rows[name].to_json() for name in sorted(self.rows)}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps({"versions": self.versions, "rows": rows}, indent=1) + "\n")


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
