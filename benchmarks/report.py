"""The page ``docs/performance.md`` and the tables of the terminal, from results."""

from __future__ import annotations

from pathlib import Path

from benchmarks.plots import draw_growth, draw_row
from benchmarks.results import Machine, Result, Results
from benchmarks.row import Bar, Row

#: Of the page, and of its plots and results below it.
PAGE = "performance.md"
FOLDER = "performance"

_INTRODUCTION = """\
# Performance

`python3 -m dev bench` measured and wrote this page: ours and the others in turn, each in a process of its own for each
round, against a server on loopback in another process. Tables have the median of the rounds, plots a dot for each. A
ratio is the median of ours / other of each round. The figures are of one machine; the ratios are what carries over.
`python3 -m dev bench --help` has options for one row, and for a busy machine. `tests/performance` holds the ratios in
every run of the tests, with margins that noise does not cross.
"""


def format_bar(row: Row, bar: Bar) -> str:
    """Return what a bar says, in words."""
    limit = f"at most {bar.at_most:g}" if bar.at_most is not None else f"at least {bar.at_least:g}"
    subject = f"{bar.ours}: {row.metrics[bar.metric].title}" if bar.ours else row.metrics[bar.metric].title
    ratio = f", ours / {bar.other}" if bar.other else ""
    return f"{subject}{ratio}{', busy machine' if bar.busy else ''}: {limit}"


def is_met(bar: Bar, value: float) -> bool:
    """Return whether a value is within a bar."""
    return (bar.at_most is None or value <= bar.at_most) and (bar.at_least is None or value >= bar.at_least)


def table_of(row: Row, result: Result, *, busy: bool = False) -> list[list[str]]:
    """Return the medians of every metric, a line for each contender, with the ratio ours / other of the first one."""
    values = result.busy if busy else result.quiet
    first = next(iter(row.metrics))
    compared = len(values) > 1
    head = f"ours / other: {row.metrics[first].title}"
    lines = [["", *(metric.title for metric in row.metrics.values()), *[head] * compared]]
    for contender in row.contenders:
        if contender not in values:
            continue
        medians = [
            f"{result.median(contender, name, busy=busy):,.{metric.digits}f}" for name, metric in row.metrics.items()
        ]
        ratio = result.judged(row, Bar(first, contender, busy=busy)) if contender != row.ours else None
        lines.append([contender, *medians, *["" if ratio is None else f"{ratio:.3g}"] * compared])
    return lines


def bars_of(row: Row, result: Result) -> list[list[str]]:
    """Return what has to hold, what was measured, and whether it holds."""
    lines = [["bar", "measured", ""]]
    for bar in row.bars:
        value = result.judged(row, bar)
        if value is not None:
            lines.append([format_bar(row, bar), f"{value:.3g}", "met" if is_met(bar, value) else "not met"])
    if row.growth and (exponent := result.exponent()) is not None:
        within = "met" if exponent <= row.growth.at_most else "not met"
        title = row.metrics[row.growth.metric].title
        lines.append(
            [f"{title} against {row.unit}: exponent at most {row.growth.at_most:g}", f"{exponent:.2f}", within]
        )
    return lines


def write_page(docs: Path, rows: dict[str, Row], results: Results) -> Path:
    """
    Write the page and its plots, which needs matplotlib.

    :param docs: The folder of the docs.
    :param rows: Every row by its name; those without a result are left out.
    :param results: What was measured.
    :return: The page.
    """
    shown, growing = _shown(rows, results)
    if growing:
        draw_growth(growing, results.rows, docs / FOLDER / "growth.svg")
    for name, row in shown.items():
        draw_row(row, results.rows[name], docs / FOLDER / f"{name}.svg")
    page = docs / PAGE
    page.write_text(page_text(rows, results))
    return page


def page_text(rows: dict[str, Row], results: Results) -> str:
    """Return the text of the page; the parameters are those of :func:`write_page`."""
    shown, growing = _shown(rows, results)
    text = [_INTRODUCTION, _all_bars(shown, results)]
    if growing:
        text.append(_growth_section(growing, results))
    text += [_section(name, row, results.rows[name]) for name, row in shown.items()]
    return "\n".join([*text, _machines(shown, results)])


def _shown(rows: dict[str, Row], results: Results) -> tuple[dict[str, Row], dict[str, Row]]:
    """Return the rows that have a result, and those of them that have growth."""
    shown = {name: row for name, row in rows.items() if name in results.rows}
    return shown, {name: row for name, row in shown.items() if results.rows[name].growth}


def _all_bars(rows: dict[str, Row], results: Results) -> str:
    lines = [["row", "bar", "measured", ""]]
    for name, row in rows.items():
        lines += [[f"[{row.title}](#{_anchor(row.title)})", *line] for line in bars_of(row, results.rows[name])[1:]]
    return f"## Bars\n\n{_markdown(lines)}"


def _growth_section(rows: dict[str, Row], results: Results) -> str:
    lines = [["row", "cost", "sizes", "exponent"]]
    for name, row in rows.items():
        assert row.growth is not None
        result = results.rows[name]
        sizes = ", ".join(f"{size:,}" for size in sorted(result.growth))
        exponent = result.exponent()
        title = row.metrics[row.growth.metric].title
        lines.append([row.title, title, f"{sizes} {row.unit}", "" if exponent is None else f"{exponent:.2f}"])
    return (
        "## Growth\n\n"
        "Cost against size, up to a hundred times what the tests have. The exponent is that of the last three sizes;\n"
        "1 is linear, and the dashed line.\n\n"
        f"![Cost against size]({FOLDER}/growth.svg)\n\n{_markdown(lines)}"
    )


def _section(name: str, row: Row, result: Result) -> str:
    parts = [f"## {row.title}", row.what, f"![{row.title}]({FOLDER}/{name}.svg)"]
    size = f"{result.size:,} {row.unit}, " if result.size > 1 else ""
    count = max((len(values) for metrics in result.quiet.values() for values in metrics.values()), default=0)
    parts.append(f"{size}{count} round{'s' * (count > 1)}:\n\n{_markdown(table_of(row, result)).rstrip()}")
    if result.busy:
        busy = _markdown(table_of(row, result, busy=True)).rstrip()
        parts.append(f"With a busy process on each core:\n\n{busy}")
    if row.notes:
        parts.append(row.notes.strip())
    return "\n\n".join(parts) + "\n"


def _machines(rows: dict[str, Row], results: Results) -> str:
    machines: dict[Machine, list[str]] = {}
    for name, row in rows.items():
        machines.setdefault(results.rows[name].machine, []).append(row.title)
    lines = [["measured", "CPU", "cores", "memory", "system", "Python", "load at the start", "rows"]]
    for one, titles in sorted(machines.items(), key=lambda each: (each[0].date, each[0].load)):
        described = [one.date, one.cpu, str(one.cores), f"{one.memory_gb} GB", one.system, one.python, f"{one.load:g}"]
        lines.append([*described, ", ".join(titles)])
    versions = ", ".join(f"{name} {version}" for name, version in sorted(results.versions.items()))
    return f"## Machine and versions\n\n{_markdown(lines)}\nVersions: {versions}.\n"


def _anchor(title: str) -> str:
    return "".join(char for char in title.lower().replace(" ", "-") if char.isalnum() or char in "-_")


def _markdown(lines: list[list[str]]) -> str:
    head, *body = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([head, "|" + "---|" * len(lines[0]), *body]) + "\n"
