"""Many waits in one process, each a coroutine: what they cost, and how punctual they are."""

from __future__ import annotations

import asyncio
import gc
import importlib
import itertools
import json
import math
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.request import urlopen

from benchmarks.meter import meter
from benchmarks.row import Setting

#: Seconds that the server takes for a response.
DELAY = 0.2
#: Intervals before the measurement begins, and those that are measured.
WARM_UP, MEASURED = 1.5, 2
#: Seconds between two measurements of the lag of the event loop; Airflow measures it each 0.1 s.
_LAG_EVERY = 0.05

#: One wait: polls for ever, the first time after so many seconds.
Wait = Callable[[int, float], Coroutine[Any, Any, object]]


@dataclass(frozen=True)
class Load:
    """
    Waits that poll for ever.

    :param waits: How many.
    :param interval: Seconds between two polls of each.
    :param url: The server's, without a delay.
    """

    waits: int
    interval: float
    url: str

    async def run(self, wait: Wait) -> dict[str, float]:
        """
        Start the waits, spread over an interval, and measure them when each has polled once.

        :return: ``cpu_ms`` a poll, ``polls`` in percent of one an interval of each wait, ``lag_ms`` of the event loop
            (99th percentile), ``memory_kb`` a wait, and ``round_s``, the CPU of a poll of all.
        """
        # What a triggerer has loaded: each contender's garbage collections visit its objects, too.
        await asyncio.to_thread(importlib.import_module, "airflow.jobs.triggerer_job_runner")
        with meter() as used:
            first = WARM_UP - 1
            waits = [
                asyncio.create_task(wait(number, self.interval * (first + number / self.waits)))
                for number in range(self.waits)
            ]
            await asyncio.sleep(self.interval * WARM_UP / 2)
            # So that no collection of the measurement visits the objects of the start.
            gc.collect()
            await asyncio.sleep(self.interval * WARM_UP / 2)
            lags: list[float] = []
            watching = asyncio.create_task(_watch(lags))
            requests, cpu, began = await self.requests(), time.process_time(), time.perf_counter()
            await asyncio.sleep(self.interval * MEASURED)
            cpu, seconds = time.process_time() - cpu, time.perf_counter() - began
            polls = await self.requests() - requests
            watching.cancel()
            if failed := [one for one in waits if one.done()]:
                raise RuntimeError(
                    f"{len(failed)} of {self.waits} waits ended, the first with {failed[0].exception()!r}"
                )
        for one in waits:
            one.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        return {
            "cpu_ms": 1000 * cpu / polls,
            "polls": 100 * polls * self.interval / seconds / self.waits,
            "lag_ms": 1000 * sorted(lags)[int(0.99 * len(lags))],
            "memory_kb": 1024 * used.memory_mb / self.waits,
            "round_s": cpu / polls * self.waits,
        }

    async def requests(self) -> int:
        """Return how many requests the server has received."""
        return await asyncio.to_thread(requests_at, self.url)


def requests_at(url: str) -> int:
    """Return how many requests ``benchmarks.provider`` has received."""
    with urlopen(f"{url}/requests", timeout=60) as response:
        received: int = json.load(response)["requests"]
    return received


async def _watch(lags: list[float]) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(_LAG_EVERY)
        lags.append(time.perf_counter() - before - _LAG_EVERY)


def connect(setting: Setting) -> None:
    """Set Airflow's connection to the server, which responds after the delay."""
    extra = {"provider": "openai", "provider_api_key": "key"}
    connection = {"conn_type": "portkey", "host": setting.base_url(delay=DELAY), "password": "key", "extra": extra}
    os.environ["AIRFLOW_CONN_PORTKEY_DEFAULT"] = json.dumps(connection)


def wait_state(interval: float, first: float) -> Mapping[str, Any]:
    """Return the state of a wait whose next poll is due after some seconds, as a trigger takes it."""
    from airflow_provider_portkey.polling.wait_state import WaitState

    now = time.time()
    return WaitState(started_at=now, deadline=now + 86400, poll_interval=interval, next_poll_at=now + first).to_dict()


def with_triggers(setting: Setting, interval: float) -> Mapping[str, float]:
    """Wait with triggers of runs, each on a thread of its own."""
    from airflow_provider_portkey.triggers.run import PortkeyRunTrigger

    connect(setting)

    async def wait(number: int, first: float) -> object:
        ids = {"thread_id": f"thread_{number}", "run_id": f"run_{number}"}
        return await anext(PortkeyRunTrigger(**ids, wait_state=wait_state(interval, first)).run())

    return asyncio.run(Load(setting.size, interval, setting.url).run(wait))


def with_aiohttp(setting: Setting, interval: float) -> Mapping[str, float]:
    """Wait with loops of ``aiohttp`` that share a session without a limit."""
    import aiohttp

    async def wait_for_all() -> dict[str, float]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(headers=_HEADERS, connector=connector) as session:

            async def wait(number: int, first: float) -> object:
                await asyncio.sleep(first)
                while True:
                    async with session.get(_run_url(setting, number)) as response:
                        run = json.loads(await response.read())
                    if run["status"] != "in_progress":
                        return run
                    await asyncio.sleep(interval)

            return await Load(setting.size, interval, setting.url).run(wait)

    return asyncio.run(wait_for_all())


def with_threads(setting: Setting, interval: float) -> Mapping[str, float]:
    """Wait with loops of ``asyncio.to_thread`` and ``requests``, as Airflow's provider for Anthropic does."""
    import requests
    from requests.adapters import HTTPAdapter

    session = requests.Session()
    session.headers.update(_HEADERS)
    session.mount("http://", HTTPAdapter(pool_maxsize=64))

    async def wait(number: int, first: float) -> object:
        await asyncio.sleep(first)
        while True:
            response = await asyncio.to_thread(session.get, _run_url(setting, number), timeout=60)
            run: object = response.json()
            if response.json()["status"] != "in_progress":
                return run
            await asyncio.sleep(interval)

    return asyncio.run(Load(setting.size, interval, setting.url).run(wait))


_HEADERS: Mapping[str, str] = {
    "Authorization": "Bearer key",
    "x-portkey-api-key": "key",
    "x-portkey-provider": "openai",
}


def _run_url(setting: Setting, number: int) -> str:
    return f"{setting.base_url(delay=DELAY)}/threads/thread_{number}/runs/run_{number}"


#: Seconds until the first of the waits on one thread polls.
_FIRST_POLL = 4.0


def on_one_thread(setting: Setting, interval: float, *, spread: float) -> Mapping[str, float]:
    """
    Wait with triggers of runs on one thread, and count the requests of each interval.

    :param spread: Share of an interval over which the first polls are spread.
    :return: ``first`` and ``later``, requests of the first interval and the most of a later one, and ``ideal``.
    """
    from airflow_provider_portkey.triggers.run import PortkeyRunTrigger

    connect(setting)

    async def count() -> dict[str, float]:
        ids = {"thread_id": f"thread_active_{setting.size}"}
        triggers = [
            PortkeyRunTrigger(
                **ids,
                run_id=f"run_{number}",
                wait_state=wait_state(interval, _FIRST_POLL + spread * interval * number / setting.size),
            )
            for number in range(setting.size)
        ]
        tasks = [asyncio.ensure_future(anext(trigger.run())) for trigger in triggers]
        # Not when the waits poll: a round would be of one interval or of the next, as the machine is quick or slow.
        await asyncio.sleep(_FIRST_POLL / 2)
        counts = [await asyncio.to_thread(requests_at, setting.url)]
        for _ in range(4):
            await asyncio.sleep(interval)
            counts.append(await asyncio.to_thread(requests_at, setting.url))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        rounds = [after - before for before, after in itertools.pairwise(counts)]
        return {"first": rounds[0], "later": max(rounds[1:]), "ideal": math.ceil(setting.size / 100)}

    return asyncio.run(count())
