"""Every Airflow on every Python: what ``python3 -m dev versions`` runs, and the page that the run writes."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from dev.environments import PYTHONS
from dev.paths import LOGS, REQUIREMENTS, ROOT, clean_environ
from dev.pythons import find_python
from dev.steps import StepFailedError, run_logged, step

#: All example DAGs are parsed; a deferred wait, an export, reports, analytics, the gate and other short examples run.
_TESTED = ("example_dags", "analytics_example", "batch_gate")
TESTS = tuple(f"tests/integration/test_{name}.py" for name in _TESTED)
PAGE = ROOT / "docs" / "compatibility.md"
_TABLE = re.compile(r"(<!-- versions -->\n).*?(<!-- /versions -->)", re.DOTALL)
#: The pages with the table.
PAGES = (PAGE, ROOT / "README.md")


@dataclass(frozen=True)
class Outcome:
    """
    What one combination gave.

    :param airflow: Version of Airflow, a key of ``environments.PYTHONS``.
    :param python: Version of Python.
    :param cell: ``passed (8)``, or what is wrong.
    """

    airflow: str
    python: str
    cell: str

    @property
    def passed(self) -> bool:
        """Whether all tests passed."""
        return self.cell.startswith("passed")


def combinations(airflow: str | None, python: str | None) -> Iterator[tuple[str, str]]:
    """
    Yield every supported pair of an Airflow and a Python.

    :param airflow: Only this Airflow.
    :param python: Only this Python.
    """
    for version, pythons in PYTHONS.items():
        for each in pythons:
            if airflow in (None, version) and python in (None, each):
                yield version, each


def main(*, airflow: str | None, python: str | None, tests: Sequence[str]) -> int:
    """
    Run the tests on each combination, and write the pages' table after a run of all.

    :param airflow: Only this Airflow.
    :param python: Only this Python.
    :param tests: Other tests than :data:`TESTS`, and options of pytest.
    :returns: 0 if every combination passed.
    """
    outcomes = [_run(version, each, tests or TESTS) for version, each in combinations(airflow, python)]
    if not outcomes:
        raise StepFailedError(f"Airflow {airflow} does not run on Python {python}: {PYTHONS.get(airflow or '')}.")
    print(table(outcomes))
    if airflow is python is None and not tests:
        write(table(outcomes))
    return 0 if all(each.passed for each in outcomes) else 1


def _run(airflow: str, python: str, tests: Sequence[str]) -> Outcome:
    interpreter = find_python(python)
    if interpreter is None:
        return Outcome(airflow, python, "not installed here")
    name = f"versions-{airflow}-{python}"
    report = LOGS / f"{name}.xml"
    report.unlink(missing_ok=True)
    log = LOGS / f"{name}.log"
    command = [str(interpreter), "-m", "dev", "test", "--airflow", airflow, *tests, "-q", f"--junitxml={report}"]
    try:
        with step(f"Airflow {airflow}, Python {python}"):
            run_logged(command, log=log, env=clean_environ(), cwd=ROOT)
    except StepFailedError as failed:
        print(failed.report())
    return Outcome(airflow, python, _cell(report))


def _cell(report: Path) -> str:
    """Return what pytest's report says in two words."""
    if not report.exists():
        return "no tests ran"
    (suite,) = ET.parse(report).getroot().iter("testsuite")
    count = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    failed = count["failures"] + count["errors"]
    return f"{failed} of {count['tests']} failed" if failed else f"passed ({count['tests'] - count['skipped']})"


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes as a table in Markdown, a line for each Airflow."""
    pythons = sorted({each.python for each in outcomes}, key=lambda version: int(version.split(".")[1]))
    lines = [
        "| Airflow | " + " | ".join(f"Python {each}" for each in pythons) + " |",
        "|---" * (len(pythons) + 1) + "|",
    ]
    for airflow, group in groupby(outcomes, key=lambda each: each.airflow):
        cells = {each.python: each.cell for each in group}
        lines.append(f"| {_title(airflow)} | " + " | ".join(cells.get(each, "") for each in pythons) + " |")
    return "\n".join(lines) + "\n"


def _title(airflow: str) -> str:
    """Return the release that the lock holds, and how its dependencies were chosen."""
    lock = (REQUIREMENTS / f"test-{airflow}.txt").read_text()
    found = re.search(r"^apache-airflow==(\S+)", lock, re.MULTILINE)
    release = found[1] if found else airflow
    return f"{release}, oldest dependencies allowed" if airflow == "lowest" else release


def write(text: str) -> None:
    """Put the table between the marks of each page that has them."""
    for page in PAGES:
        page.write_text(_TABLE.sub(lambda found: found[1] + text + found[2], page.read_text()))
