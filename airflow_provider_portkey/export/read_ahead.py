"""Rows in pages: the next page is on its way while one is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
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
    while page:
        ahead = pool.start(partial(read_page, rows)) if len(page) == MAX_LIMIT else None
        yield page
        page = ahead.result() if ahead else []
