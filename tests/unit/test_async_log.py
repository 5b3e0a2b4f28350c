"""Lines of the log from an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

from airflow_provider_portkey.async_log import write_line

TRIGGER: ContextVar[str] = ContextVar("TRIGGER")


def run(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(20):
            return await main()

    return asyncio.run(bounded())


def test_lines_that_are_not_read_hold_up_nothing_else() -> None:
    """As many as there are waits; asyncio's own threads are a handful."""
    read, written = threading.Event(), []

    def write(line: int) -> None:
        assert read.wait(20)
        written.append(line)

    async def main() -> list[int]:
        lines = [asyncio.create_task(write_line(write, number)) for number in range(100)]
        await asyncio.sleep(0)
        assert await asyncio.to_thread(int, "7") == 7
        before = list(written)
        read.set()
        await asyncio.gather(*lines)
        return before

    assert run(main) == []
    assert written == list(range(100))


def test_a_line_is_written_in_the_context_of_its_trigger() -> None:
    written: list[str] = []

    async def wait(name: str) -> None:
        TRIGGER.set(name)
        await write_line(lambda line: written.append(f"{TRIGGER.get()}: {line}"), "begins")

    async def main() -> None:
        await asyncio.gather(wait("one"), wait("other"))

    run(main)
    assert sorted(written) == ["one: begins", "other: begins"]


def test_the_lines_of_a_loop_are_written_by_one_thread_beside_it() -> None:
    def thread() -> int:
        async def main() -> int:
            found: list[int] = []
            for _ in range(2):
                await write_line(lambda: found.append(threading.get_ident()))
            assert len(set(found)) == 1
            return found[0]

        return int(run(main))

    assert threading.get_ident() not in {thread(), thread()}


def test_the_error_of_a_logger_is_raised() -> None:
    async def main() -> None:
        await write_line(int, "no number")

    with pytest.raises(ValueError, match="no number"):
        run(main)
