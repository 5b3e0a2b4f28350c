from __future__ import annotations

import asyncio

from airflow_provider_portkey.testing import Clock


def test_time_passes_only_when_the_test_sets_it() -> None:
    clock = Clock(100.0)
    assert (clock(), clock.time(), clock.monotonic()) == (100.0, 100.0, 100.0)
    clock.sleep(5)
    asyncio.run(clock.async_sleep(2.5))
    clock.now += 1
    assert (clock(), clock.sleeps) == (108.5, [5, 2.5])
