"""CPU seconds that one poll costs a process with many waits: python benchmarks/triggerer_cpu.py [waits] [seconds]."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import time


async def _wait_for_all(waits: int, seconds: float, poll_interval: float) -> tuple[float, float]:
    """Return the CPU seconds after the first round of polls, and the time when it was over."""
    from airflow_provider_portkey.triggers.run import PortkeyRunTrigger

    started = time.time()
    triggers = [
        PortkeyRunTrigger(
            thread_id="thread_demo",
            run_id="run_demo",
            deadline=started + seconds,
            poll_interval=poll_interval,
            next_look=started + 1 + poll_interval * number / waits,
        )
        for number in range(waits)
    ]
    waiting = asyncio.gather(*(anext(trigger.run()) for trigger in triggers))
    await asyncio.sleep(started + 1 + poll_interval - time.time())  # each has looked once: the start is behind them
    before, since = time.process_time(), time.time()
    events = await waiting
    ends = {event.payload["reason"] for event in events}
    if ends != {"timed_out"}:
        raise SystemExit(f"The waits should all have come to their deadline, not to {ends}.")
    return time.process_time() - before, since


def main() -> None:
    """Start the stand-in, wait for a run that does not end, and print the cost of a poll."""
    waits, seconds, poll_interval = int(([*sys.argv, "1000"])[1]), float([*sys.argv, "", "40"][2]), 10.0
    command = [sys.executable, "-m", "airflow_provider_portkey.testing", "--port", "0", "--seconds", "100000"]
    stand_in = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = next(word for word in stand_in.stdout.readline().split() if word.startswith("http"))
        extra = {"provider": "openai", "provider_api_key": "stand-in"}
        os.environ["AIRFLOW_CONN_PORTKEY_DEFAULT"] = json.dumps(
            {"conn_type": "portkey", "host": url, "password": "stand-in", "extra": extra}
        )
        cpu, since = asyncio.run(_wait_for_all(waits, seconds, poll_interval))
        import requests

        recorded = requests.get(url.removesuffix("/v1") + "/_stand_in/requests", timeout=60).json()
        recorded = recorded if isinstance(recorded, list) else recorded["requests"]
        polls = sum(request["time"] >= since for request in recorded)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{waits} waits, {polls} polls, {1000 * cpu / polls:.3f} ms of CPU a poll, peak memory {peak:.0f} MB")
    finally:
        stand_in.terminate()
        stand_in.wait()


if __name__ == "__main__":
    main()
