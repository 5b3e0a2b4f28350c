"""The mock server as a process of its own: ``python -m airflow_provider_portkey.testing``."""

from __future__ import annotations

import argparse
import signal
import time
from collections.abc import Sequence

from airflow_provider_portkey.testing.course import Start
from airflow_provider_portkey.testing.rooms.batches import batch_statuses
from airflow_provider_portkey.testing.script import usual_statuses
from airflow_provider_portkey.testing.server import PortkeyMockServer

#: Seconds over which the demo's logs are spread, up to now.
_DAY = 24 * 3600


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_portkey.testing",
        description="Stand in for the provider behind Portkey, on 127.0.0.1, with a run to try things on. "
        "Beside it: the response response_demo, the batch batch_demo, the fine-tuning job job_demo, "
        "and a thousand logs of the last day.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, help="0 for any free one")
    parser.add_argument("--thread", default="thread_demo", help="id of the run's thread")
    parser.add_argument("--run", default="run_demo", help="id of the run")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long a run takes")
    parser.add_argument("--steps", type=int, default=12, help="how many steps a run has")
    parser.add_argument(
        "--start",
        choices=["first-poll", "now"],
        default="first-poll",
        help="when the run's seconds begin to count",
    )
    parser.add_argument("--allow-anonymous", action="store_true", help="answer without Authorization, too")
    return parser


def _add_demo_jobs(mock_server: PortkeyMockServer, *, seconds: float, start: Start) -> None:
    mock_server.add_response(response_id="response_demo", statuses=usual_statuses(seconds), start=start)
    mock_server.add_batch(batch_id="batch_demo", count=12, statuses=batch_statuses(seconds), start=start)
    mock_server.add_logs(1000, time.time() - _DAY, time.time())
    training = [("validating_files", 0.0), ("running", seconds / 4), ("succeeded", seconds)]
    mock_server.add_fine_tuning_job(job_id="job_demo", statuses=training, start=start)


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until SIGINT or SIGTERM; print one line with the URL when ready."""
    options = _parser().parse_args(argv)
    # Blocked before any thread starts, so that only the wait below takes them, whenever they come.
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    mock_server = PortkeyMockServer(
        port=options.port,
        require_authorization=not options.allow_anonymous,
        run_seconds=options.seconds,
        run_steps=options.steps,
    )
    with mock_server:
        mock_server.add_run(
            thread_id=options.thread,
            run_id=options.run,
            statuses=usual_statuses(options.seconds),
            steps=options.steps,
            start=options.start,
        )
        _add_demo_jobs(mock_server, seconds=options.seconds, start=options.start)
        print(f"Portkey mock server ready: {mock_server.url}", flush=True)
        signal.sigwait(signals)


if __name__ == "__main__":
    main()
