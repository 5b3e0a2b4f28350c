"""
What a comparison declares.

A file ``rows/<name>.py`` has one module variable ``ROW``, a :class:`Row`; ``rows/pages.py`` is the model. The runner
starts a process of its own for each contender in each round, in turn, so that memory, imports and warm-up of one are
not those of another. Importing a row must be cheap and work without the other libraries: what a contender needs is
imported in its function. Rates and totals are metrics like any other. A ratio is always ours / other: the median of
those of each round, for what disturbs the machine then disturbs both. Try a row with
``python3 -m dev bench NAME --rounds 1``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Setting:
    """
    What a contender gets.

    :param size: How much to do, in the row's unit.
    :param url: Base URL of the row's server; :meth:`base_url` adds a delay. Empty where the row has no server.
    :param folder: An empty folder, removed afterwards.
    """

    size: int
    url: str
    folder: Path

    def base_url(self, *, delay: float = 0.0) -> str:
        """Return the base URL of a connection; ``benchmarks.provider`` responds after the delay, in seconds."""
        return f"{self.url}/delay/{delay * 1000:.0f}/v1" if delay else f"{self.url}/v1"


#: Does the work and returns a value for each metric of the row. It warms up first (imports, first request) and measures
#: with ``meter()`` of ``benchmarks.meter``.
Measure = Callable[[Setting], Mapping[str, float]]


@dataclass(frozen=True)
class Metric:
    """
    What is measured.

    :param title: In tables and on axes, with the unit: ``"CPU a page, ms"``.
    :param digits: Digits after the point in tables.
    """

    title: str
    digits: int = 2


@dataclass(frozen=True)
class Bar:
    """
    What holds for our contender.

    A row that has a bar with ``busy`` is measured a second time, with as many busy processes as the machine has cores.

    :param metric: Of this metric.
    :param other: The contender whose value divides ours; ``None``: our value itself is limited.
    :param ours: The contender that is judged; ``None``: the first one.
    :param at_most: Upper limit of the ratio or value.
    :param at_least: Lower limit.
    :param busy: Of the rounds in which other processes keep every core busy.
    :param quick: The limit in the tests of ``tests/performance``, on the same side, with a margin that noise does not
        cross; ``None``: not tested there. Only for ratios and counts, never for seconds.
    """

    metric: str
    other: str | None = None
    ours: str | None = None
    at_most: float | None = None
    at_least: float | None = None
    busy: bool = False
    quick: float | None = None


@dataclass(frozen=True)
class Growth:
    """
    Our cost against size.

    :param metric: A total (seconds of CPU, bytes), not a rate.
    :param sizes: Ascending; the last one is a hundred times what the tests have, or more.
    :param at_most: Upper limit of the exponent that is fitted to the last three sizes.
    :param quick: Sizes for ``tests/performance``, which holds the exponent below 1.5; a few seconds in all.
    """

    metric: str
    sizes: tuple[int, ...]
    at_most: float = 1.1
    quick: tuple[int, ...] = ()


@dataclass(frozen=True)
class Row:
    """
    One comparison.

    :param title: A few words, the heading of its section.
    :param what: A sentence or two: what is done, and what the others are.
    :param unit: What ``size`` counts: ``"pages"``.
    :param size: For the table.
    :param contenders: By name; ours first, a floor (bare loop) next, then other libraries.
    :param metrics: By name; the first one is drawn.
    :param curve: Metrics that are points of one curve, with their place on its axis; drawn instead of the first one.
    :param bars: What has to hold.
    :param quick_size: For ``tests/performance``; a few seconds in all.
    :param growth: Cost against size, where it matters.
    :param server: The module that serves, with arguments (``python -m <server>``; its first line has the URL), started
        once for the row in a process of its own; ``None`` where there is none, or a contender starts what it needs.
    :param rounds: How often each contender runs; ``None``: what the command says.
    :param notes: Markdown below the table: what decides the cost, what was changed and why, where a limit is.
    :param needs: Contender to the import that it needs beyond the test environment; ``tests/performance`` skips it.
    """

    title: str
    what: str
    unit: str
    size: int
    contenders: Mapping[str, Measure]
    metrics: Mapping[str, Metric]
    curve: Mapping[str, float] = field(default_factory=dict)
    bars: tuple[Bar, ...] = ()
    quick_size: int | None = None
    growth: Growth | None = None
    server: str | None = "benchmarks.provider"
    rounds: int | None = None
    notes: str = ""
    needs: Mapping[str, str] = field(default_factory=dict)

    @property
    def ours(self) -> str:
        """The name of our contender."""
        return next(iter(self.contenders))

    @property
    def is_busy(self) -> bool:
        """Whether it is measured on a busy machine too."""
        return any(bar.busy for bar in self.bars)


def row_names() -> list[str]:
    """Return the names of the rows: those of the files."""
    from benchmarks import rows

    return sorted(module.name for module in pkgutil.iter_modules(rows.__path__))


def load_row(name: str) -> Row:
    """Import a row."""
    row: Row = importlib.import_module(f"benchmarks.rows.{name}").ROW
    return row
