"""Threads that read while the main thread writes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from airflow_provider_portkey.client.stopping import Stop

Result = TypeVar("Result")


class WorkerPool:
    """
    Runs functions in threads, none of which outlives the block.

    :param limit: Maximum number of threads.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._executor = ThreadPoolExecutor(limit, thread_name_prefix="portkey-export")
        self._stop = Stop()

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def start(self, fn: Callable[[], Result]) -> Future[Result]:
        """Run a function as soon as a thread is free; its requests end with the block."""
        return self._executor.submit(copy_context().run, self._run, fn)

    def check_running(self) -> None:
        """
        Stop a function that is no longer needed; functions call this between two pages.

        :raises StoppedError: after the end of the block.
        """
        self._stop.check()

    def _run(self, fn: Callable[[], Result]) -> Result:
        with self._stop.running():
            return fn()
