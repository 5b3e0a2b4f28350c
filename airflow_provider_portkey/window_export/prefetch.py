"""Several requests at once, and their rows in a stable order all the same."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_portkey.client.pagination import MAX_LIMIT

if TYPE_CHECKING:
    from airflow_provider_portkey.export.formats import Row
    from airflow_provider_portkey.window_export.runs import SeenRun

T = TypeVar("T")

#: What is looked at beyond the runs that are being fetched: a thread with one run is two things in the queue.
_QUEUED_FOR_EACH_REQUEST = 3


class WorkerPool:
    """
    Do jobs in threads, so many at once, and leave none of them running.

    :param limit: How many.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._pool = ThreadPoolExecutor(limit, thread_name_prefix="portkey-export")
        self._stopped = False

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopped = True
        self._pool.shutdown(wait=True, cancel_futures=True)

    def start(self, job: Callable[[], T]) -> Future[T]:
        """Have a job done as soon as there is room."""
        return self._pool.submit(job)

    def on_page(self, _: int) -> None:
        """Break a job off between two pages, where nobody waits for it any more."""
        if self._stopped:
            raise InterruptedError


class RunRows:
    """
    The rows of one run: the first page is fetched as soon as there is room, each other one when it is asked for.

    :param rows: Yields them; used by one thread at a time.
    """

    def __init__(self, lanes: WorkerPool, run: SeenRun, rows: Iterator[Row]) -> None:
        self.run = run
        self._lanes = lanes
        self._rows = rows
        self._next = self._fetch()

    def _fetch(self) -> Future[list[Row]]:
        return self._lanes.start(lambda: list(islice(self._rows, MAX_LIMIT)))

    def pages(self) -> Iterator[list[Row]]:
        """Yield rows, a page at a time."""
        while True:
            page = self._next.result()
            yield page
            if len(page) < MAX_LIMIT:
                return
            self._next = self._fetch()

    def cancel(self) -> None:
        """Fetch nothing more."""
        self._next.cancel()


@dataclass
class Chosen:
    """
    A thread, and what is to be exported of it.

    :param runs: In their order.
    :param seen: How many runs it has in all that concern the window.
    :param left: Those that are left to a later window, with their status.
    :param error: Why none of this is known.
    """

    thread_id: str
    runs: list[SeenRun] = field(default_factory=list)
    seen: int = 0
    picked_up: list[str] = field(default_factory=list)
    left: dict[str, dict[str, Any]] = field(default_factory=dict)
    error: Exception | None = None


def ahead(lanes: WorkerPool, items: Iterable[str], job: Callable[[str], T]) -> Iterator[tuple[str, Future[T]]]:
    """Start a job for each item, some before their turn comes, and yield them in order."""
    waiting: deque[tuple[str, Future[T]]] = deque()
    for item in items:
        waiting.append((item, lanes.start(lambda item=item: job(item))))  # type: ignore[misc]
        if len(waiting) > lanes.limit:
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()


class Queue:
    """
    Hand out threads, and the rows of their runs, in order, while what comes next is being fetched.

    :param chosen: The threads.
    :param open_run: Makes the rows of a thread's run.
    """

    def __init__(
        self, lanes: WorkerPool, chosen: Iterator[Chosen], open_run: Callable[[Chosen, SeenRun], Iterator[Row]]
    ) -> None:
        self._limit = lanes.limit
        self._waiting: deque[Chosen | RunRows] = deque()
        self._fetching = 0
        self._source = (
            item if run is None else RunRows(lanes, run, open_run(item, run))
            for item in chosen
            for run in (None, *item.runs)
        )

    def threads(self) -> Iterator[Chosen]:
        """Yield each thread; runs of the one before that nobody has asked for are dropped."""
        while (item := self._take()) is not None:
            if isinstance(item, Chosen):
                yield item
            else:
                item.cancel()

    def runs(self) -> Iterator[RunRows]:
        """Yield each run of the thread that was handed out last."""
        self._fill()
        while self._waiting and isinstance(item := self._waiting[0], RunRows):
            self._take()
            yield item
            self._fill()

    def _take(self) -> Chosen | RunRows | None:
        self._fill()
        if not self._waiting:
            return None
        item = self._waiting.popleft()
        self._fetching -= isinstance(item, RunRows)
        return item

    def _fill(self) -> None:
        while self._fetching < self._limit and len(self._waiting) < _QUEUED_FOR_EACH_REQUEST * self._limit:
            item = next(self._source, None)
            if item is None:
                return
            self._waiting.append(item)
            self._fetching += isinstance(item, RunRows)
