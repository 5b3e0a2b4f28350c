"""The mock server as a process: ``python -m airflow_provider_portkey.testing``."""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_portkey.testing.server import PortkeyMockServer

#: The modules of the extra ``testing`` that the server imports.
_EXTRA_MODULES = frozenset({"python_multipart", "starlette", "uvicorn"})


def parse_options(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; an invalid one is reported in one sentence."""
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_portkey.testing",
        description="Serve the API of the provider behind Portkey on 127.0.0.1, with a demo run, "
        "the response response_demo, the batch batch_demo, the fine-tuning job job_demo, "
        "and a thousand logs of the last day.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        usage=argparse.SUPPRESS,  # so that an error is one sentence
    )
    parser.add_argument("--port", type=int, default=0, help="0 for any free one")
    parser.add_argument("--thread", default="thread_demo", help="id of the run's thread")
    parser.add_argument("--run", default="run_demo", help="id of the run")
    parser.add_argument("--seconds", type=float, default=8.0, help="duration of a run")
    parser.add_argument("--steps", type=int, default=12, help="number of steps of a run")
    parser.add_argument("--start", choices=["first-poll", "now"], default="first-poll", help="start of the duration")
    parser.add_argument("--allow-anonymous", action="store_true", help="accept requests without Authorization")
    options = parser.parse_args(argv)
    if not (0 <= options.port <= 65535 and 0 <= options.seconds < math.inf and options.steps >= 0):
        parser.error("--port has to be 0 to 65535, and --seconds and --steps 0 or more")
    return options


def add_demo_jobs(mock_server: PortkeyMockServer, options: argparse.Namespace) -> None:
    """Add the run, one job of most other kinds, and logs."""
    lasting: dict[str, Any] = {"seconds": options.seconds, "start": options.start}
    mock_server.add_run(thread_id=options.thread, run_id=options.run, steps=options.steps, **lasting)
    mock_server.add_response(response_id="response_demo", **lasting)
    mock_server.add_batch(batch_id="batch_demo", count=12, **lasting)
    mock_server.add_fine_tuning_job(job_id="job_demo", **lasting)
    mock_server.add_logs(1000, time.time() - 24 * 3600, time.time())


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until SIGINT or SIGTERM; print one line with the URL when ready."""
    options = parse_options(argv)
    try:
        from airflow_provider_portkey.testing.server import PortkeyMockServer
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in _EXTRA_MODULES:
            raise
        sys.exit(f"The module {module} is missing: pip install 'airflow-provider-portkey[testing]' brings it.")
    # Blocked before any thread starts, so that only the wait below takes them, whenever they arrive.
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    mock_server = PortkeyMockServer(
        port=options.port,
        require_authorization=not options.allow_anonymous,
        run_seconds=options.seconds,
        run_steps=options.steps,
    )
    try:
        mock_server.__enter__()
    except OSError as error:
        sys.exit(f"Port {options.port} of 127.0.0.1 cannot be used: {os.strerror(error.errno or 0)}.")
    try:
        add_demo_jobs(mock_server, options)
        print(f"Portkey mock server ready: {mock_server.url}", flush=True)
        signal.sigwait(signals)
    finally:
        mock_server.__exit__()


if __name__ == "__main__":
    main()
