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

import requests

POLL_INTERVAL = 10.0


async def _wait_for_all(options: argparse.Namespace, threads: int) -> tuple[float, float, int]:
    """Return the CPU seconds after the first round of looks, the time when it was over, and the looks since."""
    from airflow_provider_portkey.triggers.run import PortkeyRunTrigger, PortkeyThreadRunsTrigger

    looks = 0

    class One(PortkeyRunTrigger):
        async def _answer(self, *args):
            nonlocal looks
            answer = await super()._answer(*args)
            looks += 1
            return answer

    class Many(PortkeyThreadRunsTrigger):
        async def _look(self, *args):
            nonlocal looks
            outcome = await super()._look(*args)
            looks += len(self.run_ids)
            return outcome

    started = time.time()
    wait = {"deadline": started + options.seconds, "poll_interval": POLL_INTERVAL}
    if options.together:
        run_ids = [f"run_{number}" for number in range(options.waits)]
        triggers = [Many(thread_id="thread_0", run_ids=run_ids, **wait)]
    else:
        triggers = [
            One(
                thread_id=f"thread_{number % threads}",
                run_id=f"run_{number}",
                next_look=started + 1 + POLL_INTERVAL * number / options.waits,
                **wait,
            )
            for number in range(options.waits)
        ]
    waiting = asyncio.gather(*(anext(trigger.run()) for trigger in triggers))
    await asyncio.sleep(started + 1 + POLL_INTERVAL - time.time())  # each has looked once: the start is behind them
    before, since, looks = time.process_time(), time.time(), 0
    events = await waiting
    ends = {event.payload["reason"] for event in events}
    if ends != {"timed_out"}:
        raise SystemExit(f"The waits should all have come to their deadline, not to {ends}.")
    return time.process_time() - before, since, looks


def main() -> None:
    """Start the mock server, wait for runs that do not end, and print the cost of a look."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waits", type=int, default=1000, help="how many runs are waited for, each by a trigger")
    parser.add_argument("--seconds", type=float, default=40.0, help=f"how long; a look every {POLL_INTERVAL:.0f} s")
    parser.add_argument(
        "--threads", type=int, help="over how many threads the runs spread; each has its own if not given"
    )
    parser.add_argument("--together", action="store_true", help="one trigger waits for all runs, on one thread")
    options = parser.parse_args()
    threads = 1 if options.together else options.threads or options.waits
    command = [sys.executable, "-m", "airflow_provider_portkey.testing", "--port", "0", "--seconds", "100000"]
    mock_server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
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
        cpu, since, looks = asyncio.run(_wait_for_all(options, threads))
        recorded = requests.get(f"{control}/requests", timeout=60).json()
        sent = sum(request["time"] >= since for request in recorded)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        how = "by one trigger" if options.together else f"by {options.waits} triggers"
        print(
            f"{options.waits} runs on {threads} threads waited for {how}: {looks} looks at a run, "
            f"{1000 * cpu / looks:.3f} ms of CPU a look, {sent * options.waits / looks:.1f} requests to look at all, "
            f"peak memory {peak:.0f} MB"
        )
    finally:
        mock_server.terminate()
        mock_server.wait()


if __name__ == "__main__":
    main()
