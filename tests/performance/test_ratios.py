"""
The ratios of ``python3 -m dev bench`` in a quick form, on loopback, with margins that noise does not cross.

CPU, counts, and waits for a slow server against each other, each side in a process of its own, in turn; no test
compares with a time.
"""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from benchmarks.report import format_bar
from benchmarks.row import Row, load_row, row_names
from benchmarks.runner import Plan, run_growth, run_row

ROUNDS = 3
#: Far below that of a quadratic cost, which is 2.
MAX_EXPONENT = 1.5

ROWS = {name: load_row(name) for name in row_names()}


def quick_bars(row: Row) -> list:
    """Return the bars with a quick form whose contenders can run here."""
    missing = {contender for contender, module in row.needs.items() if find_spec(module) is None}
    return [bar for bar in row.bars if bar.quick is not None and not {bar.ours, bar.other} & missing]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if quick_bars(row)])
def test_a_ratio_holds(name):
    row = ROWS[name]
    bars = quick_bars(row)
    contenders = {bar.ours or row.ours for bar in bars} | {bar.other for bar in bars if bar.other}
    busy = any(bar.busy for bar in bars)
    result = run_row(name, Plan(rounds=ROUNDS, size=row.quick_size, contenders=sorted(contenders), busy=busy))
    for bar in bars:
        value = result.judged(row, bar)
        assert value is not None
        within = value <= bar.quick if bar.at_most is not None else value >= bar.quick
        assert within, f"{format_bar(row, bar)} (here {bar.quick:g}): {value:.3g}, of {result.quiet}"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.growth and row.growth.quick])
def test_cost_grows_with_size_and_no_faster(name):
    result = run_growth(name, Plan(), quick=True)
    exponent = result.exponent()
    assert exponent is not None
    assert exponent <= MAX_EXPONENT, result.growth
