"""CPU seconds and requests that many waits cost one process: python benchmarks/triggerer_cpu.py --help."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import requests

POLL_INTERVAL = 10.0


async def _wait_for_all(options: argparse.Namespace, threads: int) -> tuple[float, float, int]:
    """Return the CPU seconds after the first round of polls, the time when it was over, and the polls since."""
    from airflow_provider_portkey.polling.wait_state import WaitState
    from airflow_provider_portkey.triggers.run import PortkeyRunTrigger, PortkeyThreadRunsTrigger

    polls = 0

    def count_polls(trigger: Any, runs: int) -> Any:
        new_poller = trigger._new_poller

        def counted(state: WaitState) -> Any:
            poller = new_poller(state)
            on_response = poller.on_response

            def count(*arguments: Any) -> Any:
                nonlocal polls
                polls += runs
                return on_response(*arguments)

            poller.on_response = count
            return poller

        trigger._new_poller = counted
        return trigger

    started = time.time()
    wait = WaitState(started_at=started, deadline=started + options.seconds, poll_interval=POLL_INTERVAL)
    if options.together:
        run_ids = [f"run_{number}" for number in range(options.waits)]
        group = PortkeyThreadRunsTrigger(thread_id="thread_0", run_ids=run_ids, wait_state=wait.to_dict())
        triggers = [count_polls(group, len(run_ids))]
    else:
        triggers = []
        for number in range(options.waits):
            state = replace(wait, next_poll_at=started + 1 + POLL_INTERVAL * number / options.waits)
            ids = {"thread_id": f"thread_{number % threads}", "run_id": f"run_{number}"}
            triggers.append(count_polls(PortkeyRunTrigger(**ids, wait_state=state.to_dict()), 1))
    waiting = asyncio.gather(*(anext(trigger.run()) for trigger in triggers))
    await asyncio.sleep(started + 1 + POLL_INTERVAL - time.time())  # each has polled once: the start is over
    before, since, polls = time.process_time(), time.time(), 0
    events = await waiting
    reasons = {event.payload["reason"] for event in events}
    if reasons != {"timed_out"}:
        raise SystemExit(f"The waits should all have timed out; their reasons are {reasons}.")
    return time.process_time() - before, since, polls


def main() -> None:
    """Start the mock server, wait for runs that do not finish, and print the cost of a poll."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waits", type=int, default=1000, help="how many runs are waited for, each by a trigger")
    parser.add_argument("--seconds", type=float, default=40.0, help=f"how long; a poll every {POLL_INTERVAL:.0f} s")
    parser.add_argument(
        "--threads", type=int, help="over how many threads the runs spread; each has its own if not given"
    )
    parser.add_argument("--together", action="store_true", help="one trigger waits for all runs, on one thread")
    options = parser.parse_args()
    threads = 1 if options.together else options.threads or options.waits
    command = [sys.executable, "-m", "airflow_provider_portkey.testing", "--port", "0", "--seconds", "100000"]
    mock_server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert mock_server.stdout is not None
    try:
        url = next(word for word in mock_server.stdout.readline().split() if word.startswith("http"))
        control = url.removesuffix("/v1") + "/_mock_server"
        with requests.Session() as session:
            for number in range(options.waits):
                run = {"thread_id": f"thread_{number % threads}", "run_id": f"run_{number}", "statuses": "in_progress"}
                session.post(f"{control}/runs", json=run, timeout=60).raise_for_status()
        extra = {"provider": "openai", "provider_api_key": "mock-server"}
        os.environ["AIRFLOW_CONN_PORTKEY_DEFAULT"] = json.dumps(
            {"conn_type": "portkey", "host": url, "password": "mock-server", "extra": extra}
        )
        cpu, since, polls = asyncio.run(_wait_for_all(options, threads))
        recorded = requests.get(f"{control}/requests", timeout=60).json()
        sent = sum(request["time"] >= since for request in recorded)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        how = "by one trigger" if options.together else f"by {options.waits} triggers"
        print(
            f"{options.waits} runs on {threads} threads waited for {how}: {polls} polls of a run, "
            f"{1000 * cpu / polls:.3f} ms of CPU a poll, {sent * options.waits / polls:.1f} requests to poll all, "
            f"peak memory {peak:.0f} MB"
        )
    finally:
        mock_server.terminate()
        mock_server.wait()


if __name__ == "__main__":
    main()
