"""Progress of long exports in the log of the task."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Lock
from typing import Self

_log = logging.getLogger(__name__)

#: Seconds between two lines, and before the first one.
INTERVAL = 10.0


class ExportProgress:
    """
    Counts rows and pages, and logs at most one line every ten seconds; nothing for an export that takes less.

    The lines of an export are one group of Airflow's log. Thread-safe.

    :param target: What the export writes, for the title of the group.
    :param clock: Returns seconds that only grow.
    """

    def __init__(
        self, target: object, *, clock: Callable[[], float] = time.monotonic, log: logging.Logger = _log
    ) -> None:
        self.rows = 0
        self.pages = 0
        self._target = target
        self._clock = clock
        self._log = log
        self._lock = Lock()
        self._began_at = self._logged_at = clock()
        self._logged_rows = 0
        self._has_group = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._has_group:
            self._log.info("::endgroup::")

    def add_rows(self, count: int) -> None:
        """Count rows that were written; only one thread writes rows."""
        self.rows += count
        if self._clock() - self._logged_at >= INTERVAL:
            self._report()

    def add_page(self, _: int = 0) -> None:
        """Count a page that was received; takes the number of its items, as ``on_page`` of the hook's iterators."""
        with self._lock:
            self.pages += 1
        if self._clock() - self._logged_at >= INTERVAL:
            self._report()

    def _report(self) -> None:
        with self._lock:
            now = self._clock()
            seconds = now - self._logged_at
            if seconds < INTERVAL:  # another thread has reported meanwhile
                return
            if not self._has_group:
                self._log.info("::group::Progress of the export to %s", self._target)
                self._has_group = True
            rate = (self.rows - self._logged_rows) / seconds
            pages = f" of {self.pages} pages" if self.pages else ""
            self._log.info("%d rows%s after %.0f s, %.0f rows a second.", self.rows, pages, now - self._began_at, rate)
            self._logged_at, self._logged_rows = now, self.rows
