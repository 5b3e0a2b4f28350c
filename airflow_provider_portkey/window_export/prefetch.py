"""Concurrent requests with results in a stable order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from airflow_provider_portkey.export.worker_pool import WorkerPool

Item = TypeVar("Item")
Result = TypeVar("Result")


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
