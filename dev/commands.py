"""The command line: ``python3 -m dev`` with ``demo``, ``test``, ``versions``, ``bench``, ``docs``, and the checks."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from dev import environments, versions
from dev.pytest_arguments import pytest_arguments
from dev.steps import StepFailedError
from dev.waiting import DEFAULT_TIMEOUT

#: What ends a command early, leaving nothing behind.
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Carries the time at which the demo began into its environment.
STARTED_VARIABLE = "DEV_DEMO_STARTED"


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m dev", description="The demo, the tests and the checks of this repository."
    )
    commands = parser.add_subparsers(dest="command", required=True)

    demo = commands.add_parser("demo", help="a real Portkey gateway and a real Airflow run the example DAG")
    demo.add_argument("--keep", action="store_true", help="leave it all running, with the UI, until Ctrl-C")
    demo.add_argument("--folder", type=Path, default=Path(".demo"), help="for Airflow's files, the logs and the export")
    text = "seconds that one wait may last although everything lives and moves (default: %(default)s)"
    demo.add_argument("--timeout", type=float, default=DEFAULT_TIMEOUT, help=text)

    test = commands.add_parser(
        "test",
        allow_abbrev=False,
        help="run the tests; every other argument goes to pytest",
        usage="%(prog)s [--airflow VERSION] [arguments of pytest]",
    )
    test.add_argument(
        "--airflow",
        choices=environments.AIRFLOW_VERSIONS,
        default=environments.CURRENT_VERSION,
        help="the version of Airflow to test on (default: %(default)s)",
    )

    commands.add_parser(
        "bench",
        add_help=False,
        help="compare the provider with other libraries, see --help; writes docs/performance.md",
    )

    matrix = commands.add_parser(
        "versions",
        allow_abbrev=False,
        help="run the example DAGs on every Airflow and Python; every other argument goes to pytest",
        usage="%(prog)s [--airflow VERSION] [--python VERSION] [arguments of pytest]",
    )
    matrix.add_argument("--airflow", choices=environments.AIRFLOW_VERSIONS, help="only this Airflow")
    matrix.add_argument("--python", help="only this Python, such as 3.12")

    docs = commands.add_parser("docs", help="build the documentation site, warnings as errors, and serve it")
    docs.add_argument("--build-only", action="store_true", help="do not serve it")
    docs.add_argument("--port", type=int, default=0, help="on 127.0.0.1 (default: any free one)")

    build = commands.add_parser("build", help="build wheel and sdist, the same bytes each time, and check them")
    build.add_argument("--outdir", type=Path, help="keep them in this folder")

    for session in ("lint", "typecheck", "smoke", "lock"):
        commands.add_parser(session, help=f"the session {session} of nox, see noxfile.py")
    return parser


def _dispatch(options: argparse.Namespace, arguments: Sequence[str], rest: Sequence[str]) -> int:
    if options.command == "test":
        environments.enter(environments.for_tests(options.airflow), ["pytest", *pytest_arguments(rest)])
    if options.command == "bench":
        environments.enter(environments.for_benchmarks(), ["benchmarks", *rest])
    if options.command == "docs":
        return _docs(options, arguments)
    if options.command == "versions":
        return versions.main(airflow=options.airflow, python=options.python, tests=rest)
    if options.command != "demo":
        if options.command != "lock":
            environments.prepare(environments.for_tests())
        outdir = getattr(options, "outdir", None)
        environments.run_nox(options.command, *([str(outdir.resolve())] if outdir else []))
    if options.folder.exists() and not options.folder.is_dir():
        raise StepFailedError(f"--folder {options.folder} is a file, not a folder.")
    environment = environments.for_demo()
    if not (environment.is_active() and environment.is_current()):
        os.environ[STARTED_VARIABLE] = str(time.time())
        environments.enter(environment, ["dev", *arguments])
    # Only the environment holds what this imports.
    from dev import demo

    return demo.main(folder=options.folder, keep=options.keep, timeout=options.timeout)


def _docs(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    environment = environments.for_tests()
    if not (environment.is_active() and environment.is_current()):
        environments.enter(environment, ["dev", *arguments])
    from dev import site

    site.build()
    if not options.build_only:
        site.serve(port=options.port)
    return 0


def run(arguments: Sequence[str]) -> int:
    """Do one command of the command line, and return its exit code."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and options.command not in ("test", "versions", "bench"):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    # Also where a shell's background job began with SIGINT ignored: children would inherit that, and not be stopped.
    for number in STOPS:
        signal.signal(number, _interrupt)
    try:
        return _dispatch(options, arguments, rest)
    except StepFailedError as failed:
        print(failed.report(), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
