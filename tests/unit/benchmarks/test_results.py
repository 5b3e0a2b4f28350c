"""What is computed from the rounds of a benchmark, and kept."""

from __future__ import annotations

import pytest

from benchmarks.results import Machine, Result, Results
from benchmarks.row import Bar, Metric, Row

MACHINE = Machine("2026-11-26", "CPU", cores=2, memory_gb=8, system="Linux x86_64", python="3.11.2", load=0.5)


def result(**more) -> Result:
    ours, other = {"cpu": [1.0, 4.0, 3.0]}, {"cpu": [2.0, 4.0, 4.0]}
    return Result(size=10, machine=MACHINE, quiet={"ours": ours, "other": other}, **more)


def row(*bars: Bar) -> Row:
    contenders = {name: lambda setting: {"cpu": 1.0} for name in ("ours", "other")}
    return Row(
        title="A row", what="", unit="things", size=10, contenders=contenders, metrics={"cpu": Metric("CPU")}, bars=bars
    )


def test_a_ratio_is_the_median_of_those_of_each_round():
    bar = Bar("cpu", "other", at_most=1.0)
    assert result().judged(row(bar), bar) == 0.75


def test_without_another_our_median_is_judged():
    bar = Bar("cpu", at_most=1.0)
    assert result().judged(row(bar), bar) == 3.0


def test_a_bar_may_judge_another_contender():
    bar = Bar("cpu", ours="other", at_most=1.0)
    assert result().judged(row(bar), bar) == 4.0


def test_the_busy_rounds_have_bars_of_their_own():
    bar = Bar("cpu", at_most=1.0, busy=True)
    assert row(bar).is_busy
    assert result(busy={"ours": {"cpu": [8.0]}}).judged(row(bar), bar) == 8.0


@pytest.mark.parametrize("contender", ["ours", "other"])
def test_what_was_not_measured_is_not_judged(contender):
    bar = Bar("cpu", "other", at_most=1.0)
    partial = result()
    del partial.quiet[contender]
    assert partial.judged(row(bar), bar) is None


@pytest.mark.parametrize("exponent", [0, 1, 2])
def test_the_exponent_is_that_of_the_last_three_sizes(exponent):
    # A fixed cost at the smallest size does not count.
    growth = {1: 1000.0, **{size: 3.0 * size**exponent for size in (10, 100, 1000)}}
    assert result(growth=growth).exponent() == pytest.approx(exponent)


def test_one_size_has_no_exponent():
    assert result(growth={10: 1.0}).exponent() is None


def test_results_are_read_as_they_were_written(tmp_path):
    file = tmp_path / "results.json"
    Results(file).put("name", result(growth={10: 1.0, 100: 10.0}, busy={"ours": {"cpu": [8.0]}}))
    assert Results(file).rows == {"name": result(growth={10: 1.0, 100: 10.0}, busy={"ours": {"cpu": [8.0]}})}


def test_another_row_keeps_its_result(tmp_path):
    file = tmp_path / "results.json"
    Results(file).put("first", result())
    Results(file).put("second", result())
    assert Results(file).rows.keys() == {"first", "second"}
