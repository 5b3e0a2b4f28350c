"""Concurrent requests with results in a stable order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class WorkerPool:
    """
    Runs functions in threads, none of which outlives the block.

    :param limit: Maximum number of threads.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._executor = ThreadPoolExecutor(limit, thread_name_prefix="portkey-export")
        self._stopped = False

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopped = True
        self._executor.shutdown(wait=True, cancel_futures=True)

    def start(self, fn: Callable[[], Result]) -> Future[Result]:
        """Run a function as soon as a thread is free."""
        return self._executor.submit(fn)

    def check_running(self) -> None:
        """
        Stop a function that is no longer needed; functions call this between two pages.

        :raises InterruptedError: after the end of the block.
        """
        if self._stopped:
            raise InterruptedError


def prefetch(
    pool: WorkerPool, items: Iterable[Item], fn: Callable[[Item], Result], depth: int
) -> Iterator[tuple[Item, Future[Result]]]:
    """
    Yield each item with the future of ``fn(item)``, in order.

    :param depth: How many items beyond the yielded one are started.
    """
    started: deque[tuple[Item, Future[Result]]] = deque()
    for item in items:
        started.append((item, pool.start(partial(fn, item))))
        if len(started) > depth:
            yield started.popleft()
    yield from started
