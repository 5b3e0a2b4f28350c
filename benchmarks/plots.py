"""Plots, as SVG with text as text: of the rounds of a row, and of cost against size."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.results import Result
from benchmarks.row import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_OURS, _OTHERS, _TEXT, _GRID = "#2563eb", "#94a3b8", "#64748b", "#94a3b855"
#: The same bytes for the same values, readable on light and on dark pages.
_STYLE: dict[str, Any] = {
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _TEXT,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": _TEXT,
    "figure.constrained_layout.use": True,
    "font.family": "sans-serif",
    "font.size": 10,
    "savefig.transparent": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "airflow-provider-portkey",
    "text.color": _TEXT,
    "xtick.color": _TEXT,
    "ytick.color": _TEXT,
}


def draw_row(row: Row, result: Result, path: Path) -> None:
    """Write the plot of a row: the curves of its contenders, or bars."""
    (_draw_curves if row.curve else _draw_bars)(row, result, path)


def _draw_curves(row: Row, result: Result, path: Path) -> None:
    """Write a line of medians for each contender, both axes logarithmic."""
    from matplotlib import pyplot, rc_context

    ours = {row.ours, *(bar.ours for bar in row.bars)}
    with rc_context(_STYLE):
        figure, axes = pyplot.subplots(figsize=(8, 3.4))
        styles = iter(("o-", "s--", "^:"))
        for name in (name for name in row.contenders if name in result.quiet):
            medians = [result.median(name, metric) for metric in row.curve]
            color = _OURS if name in ours else _OTHERS
            axes.loglog(list(row.curve.values()), medians, next(styles, "o-"), color=color, markersize=4, label=name)
        for axis, ticks in ((axes.xaxis, row.curve.values()), (axes.yaxis, (1, 10, 60))):
            axis.set_ticks(list(ticks), labels=[f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.grid(color=_GRID)
        axes.tick_params(length=0)
        axes.set_xlabel("duration of the run, s")
        axes.set_ylabel("delay, s")
        axes.legend(frameon=False)
        _save(figure, path)


def _draw_bars(row: Row, result: Result, path: Path) -> None:
    """Write bars of the medians of the first metric, with a dot for each round."""
    from matplotlib import pyplot, rc_context

    metric = next(iter(row.metrics))
    contenders = [name for name in row.contenders if name in result.quiet]
    medians = [result.median(name, metric) for name in contenders]
    ours = {row.ours, *(bar.ours for bar in row.bars)}
    with rc_context(_STYLE):
        figure, axes = pyplot.subplots(figsize=(8, 0.6 + 0.36 * len(contenders)))
        colors = [_OURS if name in ours else _OTHERS for name in contenders]
        axes.barh(contenders, medians, color=colors, height=0.6)
        for at, name in enumerate(contenders):
            values = result.quiet[name][metric]
            axes.plot(values, [at] * len(values), ".", color=_TEXT, markersize=4)
            right = max(values)
            digits = row.metrics[metric].digits
            axes.annotate(
                f"{statistics.median(values):,.{digits}f}", (right, at), (6, 0), textcoords="offset points", va="center"
            )
        # Where one is more than thirty times another, the short bars would not be seen.
        is_logarithmic = min(medians) > 0 and max(medians) / min(medians) > 30
        if is_logarithmic:
            axes.set_xscale("log")
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.grid(axis="x", color=_GRID)
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        axes.set_xlabel(row.metrics[metric].title + (" (logarithmic)" if is_logarithmic else ""))
        _save(figure, path)


def draw_growth(rows: dict[str, Row], results: dict[str, Result], path: Path) -> None:
    """Write one small plot for each row with growth: cost against size, both logarithmic, and a line of exponent 1."""
    from matplotlib import pyplot, rc_context

    names = [name for name in rows if results[name].growth]
    columns = 3
    lines = -(-len(names) // columns)
    with rc_context(_STYLE):
        figure, grid = pyplot.subplots(lines, columns, figsize=(9, 2.7 * lines), squeeze=False)
        for axes in grid.flat[len(names) :]:
            axes.set_visible(False)
        for axes, name in zip(grid.flat, names, strict=False):
            _draw_one_growth(axes, rows[name], results[name])
        _save(figure, path)


def _draw_one_growth(axes: Axes, row: Row, result: Result) -> None:
    assert row.growth is not None
    sizes = sorted(result.growth)
    values = [result.growth[size] for size in sizes]
    line = [values[-1] * size / sizes[-1] for size in sizes]
    axes.loglog(sizes, line, "--", color=_OTHERS, linewidth=1)
    axes.loglog(sizes, values, "o-", color=_OURS, linewidth=1.5, markersize=4)
    exponent = result.exponent()
    axes.set_title(f"{row.title}\nexponent {exponent:.2f}" if exponent is not None else row.title, fontsize=9)
    axes.set_xlabel(row.unit, fontsize=8)
    axes.set_ylabel(row.metrics[row.growth.metric].title, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(color=_GRID)


def _save(figure: Figure, path: Path) -> None:
    from matplotlib import pyplot

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    # Lines of a diff without spaces at their end.
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")
