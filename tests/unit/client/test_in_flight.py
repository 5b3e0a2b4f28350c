from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from airflow_provider_portkey.client.attempts import Attempt
from airflow_provider_portkey.client.in_flight import InFlight, Request
from airflow_provider_portkey.client.settings import ConnectionSettings

READ_TIMEOUT = 0.5


def attempt_of(*, connect_timeout: float = 0.5) -> Attempt:
    return Attempt(ConnectionSettings("http://portkey.test/v1", (), (), connect_timeout, READ_TIMEOUT))


async def wait_for_ever(in_flight: InFlight, attempt: Attempt) -> str:
    try:
        with Request(in_flight, attempt):
            await asyncio.Event().wait()
    except TimeoutError:
        return attempt.overdue
    return "not ended"


def run(main: Coroutine[Any, Any, Any]) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(30):
            return await main

    return asyncio.run(bounded())


def test_each_request_ends_at_its_own_time() -> None:
    ended: list[str] = []

    async def wait(in_flight: InFlight, name: str, attempt: Attempt) -> None:
        assert await wait_for_ever(in_flight, attempt)
        ended.append(name)

    async def main() -> None:
        in_flight = InFlight(READ_TIMEOUT)
        slow, quick, later = attempt_of(connect_timeout=1.5), attempt_of(connect_timeout=0.1), attempt_of()
        async with asyncio.TaskGroup() as group:
            group.create_task(wait(in_flight, "slow", slow))
            group.create_task(wait(in_flight, "quick", quick))
            await asyncio.sleep(0.3)
            group.create_task(wait(in_flight, "later", later))

    run(main())
    assert ended == ["quick", "later", "slow"]


def test_a_request_ends_where_no_data_comes() -> None:
    async def main() -> list[str]:
        in_flight, silent, slow = (
            InFlight(READ_TIMEOUT),
            attempt_of(connect_timeout=60),
            attempt_of(connect_timeout=1),
        )

        async def progress() -> None:
            while True:
                slow.note_progress()
                await asyncio.sleep(READ_TIMEOUT / 10)

        silent.note_progress()
        steps = asyncio.create_task(progress())
        reasons = await asyncio.gather(wait_for_ever(in_flight, silent), wait_for_ever(in_flight, slow))
        steps.cancel()
        return reasons

    assert run(main()) == ["no data for 0.5 s", "not complete after 1.5 s"]


def test_a_request_that_ends_in_time_is_left_alone() -> None:
    async def main() -> None:
        in_flight = InFlight(READ_TIMEOUT)
        with Request(in_flight, attempt := attempt_of()):
            assert in_flight.attempt is attempt
        await asyncio.sleep(1.1)
        with pytest.raises(KeyError):
            assert in_flight.attempt

    run(main())


def test_a_task_that_is_cancelled_stays_cancelled() -> None:
    async def main() -> None:
        in_flight = InFlight(READ_TIMEOUT)
        task = asyncio.create_task(wait_for_ever(in_flight, attempt_of()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_requests_in_flight_share_one_timer() -> None:
    async def main() -> tuple[int, int]:
        in_flight, loop = InFlight(60), asyncio.get_running_loop()
        before = len(loop._scheduled)  # type: ignore[attr-defined]
        tasks = [asyncio.create_task(wait_for_ever(in_flight, attempt_of())) for _ in range(50)]
        await asyncio.sleep(0)
        timers = len(loop._scheduled) - before  # type: ignore[attr-defined]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        in_flight.close()
        return timers, sum(not timer.cancelled() for timer in loop._scheduled)  # type: ignore[attr-defined]

    # What is left is the time-out of this test.
    assert run(main()) == (1, 1)


def test_a_task_that_is_cancelled_when_its_request_ends_stays_cancelled() -> None:
    async def main() -> None:
        in_flight, loop = InFlight(READ_TIMEOUT), asyncio.get_running_loop()
        request = Request(in_flight, attempt_of())

        async def wait() -> None:
            with request:
                await asyncio.Event().wait()

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        loop.call_soon(request.end)
        loop.call_soon(task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        in_flight.close()

    run(main())


def test_a_request_whose_end_leads_to_another_error_raises_that_error() -> None:
    async def main() -> int:
        in_flight = InFlight(READ_TIMEOUT)
        request = Request(in_flight, attempt_of())
        asyncio.get_running_loop().call_soon(request.end)
        with pytest.raises(ValueError, match="of the library"), request:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise ValueError("of the library") from None
        in_flight.close()
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert run(main()) == 0
