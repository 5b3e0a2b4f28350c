"""Rows in pages: the next page is on its way while one is written."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from airflow_provider_portkey.export.worker_pool import WorkerPool
from airflow_provider_portkey.parameters import MAX_LIMIT

if TYPE_CHECKING:
    from airflow_provider_portkey.export.formats import Row


@contextmanager
def read_ahead(rows: Iterator[Row]) -> Iterator[Iterator[list[Row]]]:
    """
    Read rows in pages, one page ahead: in memory are the page that is written and the next one.

    The first page is read in this thread, every other one in a thread of its own, which ends with the block: also an
    error or a kill ends the request that is on its way. An error of a page is raised when its turn has come.

    :param rows: Read by one thread at a time.
    """
    with WorkerPool(1) as pool:
        yield _pages(rows, pool)


def read_page(rows: Iterator[Row]) -> list[Row]:
    """Return the next rows, as many as a page has at most; fewer are the last ones."""
    return list(islice(rows, MAX_LIMIT))


def _pages(rows: Iterator[Row], pool: WorkerPool) -> Iterator[list[Row]]:
    page = read_page(rows)  # most lists have one page: no thread
    reader = _Reader(rows, pool)
    while page:
        is_full = len(page) == MAX_LIMIT
        if is_full:
            reader.start()
        yield page
        page = reader.next() if is_full else []


class _Reader:
    """
    Reads the page after the one that is written.

    Where the writer waits for that page, the thread continues with the page after it by itself: to be started by the
    writer, the thread would have to wait until the writer lets go of the interpreter.
    """

    def __init__(self, rows: Iterator[Row], pool: WorkerPool) -> None:
        self._rows = rows
        self._pool = pool
        self._is_awaited = False
        self._ahead: Future[list[Row]] | None = None

    def start(self) -> None:
        if self._ahead is None:
            self._ahead = self._pool.start(self._read)

    def next(self) -> list[Row]:
        assert self._ahead is not None
        ahead, self._ahead = self._ahead, None
        self._is_awaited = True
        page = ahead.result()
        self._is_awaited = False
        return page

    def _read(self) -> list[Row]:
        page = read_page(self._rows)
        if self._is_awaited and len(page) == MAX_LIMIT:
            self.start()  # before the writer gets this page, and waits for the next one
        return page
