"""The stand-in as a process of its own: ``python -m airflow_provider_portkey.testing``."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Sequence

from airflow_provider_portkey.testing.script import usual_statuses
from airflow_provider_portkey.testing.stand_in import PortkeyStandIn


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_portkey.testing",
        description="Stand in for the provider behind Portkey, on 127.0.0.1, with one run to try things on.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, help="0 for any free one")
    parser.add_argument("--thread", default="thread_demo", help="id of the run's thread")
    parser.add_argument("--run", default="run_demo", help="id of the run")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long a run takes")
    parser.add_argument("--steps", type=int, default=12, help="how many steps a run has")
    parser.add_argument(
        "--start",
        choices=["first-look", "now"],
        default="first-look",
        help="when the run's seconds begin to count",
    )
    parser.add_argument("--allow-anonymous", action="store_true", help="answer without Authorization, too")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until SIGINT or SIGTERM; print one line with the URL when ready."""
    options = _parser().parse_args(argv)
    # Blocked before any thread starts, so that only the wait below takes them, whenever they come.
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    stand_in = PortkeyStandIn(
        port=options.port,
        require_authorization=not options.allow_anonymous,
        run_seconds=options.seconds,
        run_steps=options.steps,
    )
    with stand_in:
        stand_in.add_run(
            thread_id=options.thread,
            run_id=options.run,
            statuses=usual_statuses(options.seconds),
            steps=options.steps,
            start=options.start,
        )
        print(f"Portkey stand-in ready: {stand_in.url}", flush=True)
        signal.sigwait(signals)


if __name__ == "__main__":
    main()
