"""Compare the provider with other libraries, and write docs/performance.md with its tables and plots."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.report import FOLDER, bars_of, table_of, write_page
from benchmarks.results import Result, Results
from benchmarks.row import Row, load_row, row_names
from benchmarks.runner import ROOT, ContenderFailedError, Plan, run_growth, run_row

DOCS = ROOT / "docs"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m dev bench", description=__doc__)
    names = ", ".join(row_names())
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"all where none is named: {names}")
    parser.add_argument("--rounds", type=int, default=5, help="how often each contender runs (default: %(default)s)")
    parser.add_argument("--size", type=int, help="how much to do, in place of the size of the row; writes no page")
    parser.add_argument("--contender", action="append", help="only this one; may be repeated; writes no page")
    parser.add_argument("--busy", type=int, default=0, metavar="N", help="beside N busy processes; writes no page")
    parser.add_argument("--quick", action="store_true", help="small sizes, two rounds, no growth; writes no page")
    parser.add_argument("--no-growth", action="store_true", help="without cost against size; keeps that of the page")
    parser.add_argument(
        "--only-growth", action="store_true", help="cost against size alone; keeps the rest of the page"
    )
    parser.add_argument("--page", action="store_true", help="measure nothing: write the page from the stored results")
    return parser


def _plan(options: argparse.Namespace, row: Row, console: Console) -> Plan:
    return Plan(
        rounds=2 if options.quick else options.rounds,
        size=options.size or (row.quick_size if options.quick else None),
        contenders=options.contender,
        growth=not (options.quick or options.no_growth or options.contender),
        load=options.busy,
        report=lambda line: console.print(line, style="dim"),
    )


def _show(console: Console, row: Row, result: Result) -> None:
    kinds = [("", False)] + ([(", busy machine", True)] if result.busy else [])
    tables = [
        (f"{row.title}{kind}, {result.size:,} {row.unit}", table_of(row, result, busy=busy)) for kind, busy in kinds
    ]
    for title, lines in [*tables, ("", bars_of(row, result))]:
        if len(lines) > 1:
            table = Table(*lines[0], title=title, title_justify="left")
            for line in lines[1:]:
                table.add_row(*line)
            console.print(table)


def _measure_growth(name: str, row: Row, plan: Plan, results: Results) -> None:
    """Measure the growth of a row that has been measured, and keep the rest of its result."""
    if row.growth and name in results.rows:
        result = results.rows[name]
        result.growth = run_growth(name, plan).growth
        results.put(name, result)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; return 1 where a contender failed."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if unknown := set(options.rows) - set(row_names()):
        parser.error(f"no row {', '.join(sorted(unknown))}; there are: {', '.join(row_names())}")
    console = Console()
    results = Results(DOCS / FOLDER / "results.json")
    rows = {name: load_row(name) for name in row_names()}
    partial = bool(options.quick or options.size or options.contender or options.busy)
    failed = False
    for name in () if options.page else options.rows or rows:
        plan = _plan(options, rows[name], console)
        try:
            if options.only_growth:
                _measure_growth(name, rows[name], plan, results)
                continue
            result = run_row(name, plan)
        except ContenderFailedError as error:
            console.print(f"FAILED: {error}", style="red", markup=False)
            failed = True
            continue
        _show(console, rows[name], result)
        if not partial:
            if not result.growth and name in results.rows:
                result.growth = results.rows[name].growth
            results.put(name, result)
    if not partial:
        console.print(f"Wrote {write_page(DOCS, rows, results).relative_to(ROOT)}.")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
