"""The command: ``python3 -m dev bench``."""

from __future__ import annotations

import argparse
import sys

from benchmarks.row import row_names
from benchmarks.runner import run_row


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m dev bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(row_names())}; all where none is named")
    parser.add_argument("--rounds", type=int, default=5, help="how often each contender runs (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="small sizes, two rounds, no page")
    options = parser.parse_args()
    for name in options.rows or row_names():
        result = run_row(name, rounds=options.rounds)
        for contender in result.values:
            print(
                name, contender, {metric: round(result.median(contender, metric), 3) for metric in result.row.metrics}
            )
        for bar in result.row.bars:
            print(bar, round(result.judged(bar), 3))
    return 0


if __name__ == "__main__":
    sys.exit(main())
