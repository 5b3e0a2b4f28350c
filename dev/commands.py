"""The command line: ``python3 -m dev demo | test | lock``."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from dev import environment
from dev.phases import PhaseFailed

#: What ends a command early, leaving nothing behind.
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m dev", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    demo = commands.add_parser("demo", help="a real Portkey gateway and a real Airflow run the example DAG")
    demo.add_argument("--keep", action="store_true", help="leave it all running, with the UI, until Ctrl-C")
    demo.add_argument("--folder", type=Path, default=Path(".demo"), help="for Airflow's files, the logs and the export")

    test = commands.add_parser(
        "test",
        allow_abbrev=False,
        help="run the tests; every other argument goes to pytest",
        usage="%(prog)s [--airflow LINE] [arguments of pytest]",
    )
    test.add_argument(
        "--airflow",
        choices=environment.AIRFLOW_LINES,
        default=environment.CURRENT_LINE,
        help="the line of Airflow to test on (default: %(default)s)",
    )

    commands.add_parser("lock", help="resolve requirements/*.in and dev/node/package.json again")
    return parser


def run(arguments: Sequence[str]) -> int:
    """
    Do one command.

    :param arguments: Of the command line, without the program.
    :return: The exit code.
    """
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and options.command != "test":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    # Also where a shell's background job began with SIGINT ignored: children would inherit that, and not be stopped.
    for number in STOPS:
        signal.signal(number, _interrupt)
    try:
        # Each of these imports what only its environment holds.
        if options.command == "lock":
            from dev import lock

            return lock.main()
        if options.command == "test":
            environment.enter(environment.for_tests(options.airflow), arguments)
            from dev import suite

            suite.run(rest)
        environment.enter(environment.for_demo(), arguments)
        from dev import demo

        return demo.main(folder=options.folder, keep=options.keep)
    except PhaseFailed as failed:
        print(failed.report(), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
