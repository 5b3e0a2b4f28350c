"""The runs of threads as rows, those of a window if there is one, and what the manifest says about them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.export.window import read_window
from airflow_provider_portkey.jobs.lists import RUNS
from airflow_provider_portkey.jobs.run import RUN
from airflow_provider_portkey.jobs.spec import STATUS_SETS
from airflow_provider_portkey.jobs.usage import UsageSum
from airflow_provider_portkey.validation import read_ids, validate_id
from airflow_provider_portkey.window_export.runs import runs_of_window
from airflow_provider_portkey.window_export.thread_ids import iter_thread_ids

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_provider_portkey.export.formats import Row
    from airflow_provider_portkey.hooks.portkey import PortkeyHook

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class ThreadRuns:
    """
    The runs of threads: the parameters of ``PortkeyThreadRunsToObjectStorageOperator`` under the same names.

    :raises PortkeyInvalidArgumentError: naming the parameter that is wrong, before anything is sent.
    """

    hook: PortkeyHook
    thread_id: str | None
    thread_ids: Iterable[str] | str | None
    thread_ids_path: str | None
    object_storage_conn_id: str | None
    window_start: str | datetime | None
    window_end: str | datetime | None
    window_by: str
    max_run_seconds: float
    statuses: Iterable[str] | str | None
    assistant_id: str | None
    order: str | None
    page_size: int
    #: The part of the manifest about the runs; its counts are complete after the last row.
    about: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        """Check the parameters."""
        self._threads = list(dict.fromkeys(self._read_thread_ids()))
        self._statuses = self._read_statuses()
        self._window = None if self.window_start is None else read_window(self.window_start, self.window_end)
        if self.assistant_id is not None:
            validate_id("assistant_id", self.assistant_id)
        if self._window and self.order is None:
            raise PortkeyInvalidArgumentError("order", None, "'asc' or 'desc' with a window")
        window = self._window.to_dict() | {"window_by": self.window_by} if self._window else {}
        self.about = {
            "thread_id": self.thread_id,
            "threads": len(self._threads),
            **{name: window.get(name) for name in ("window_start", "window_end", "window_by")},
            "status_counts": {},
            "usage": {},
        }

    def rows(self, on_page: Callable[[int], None]) -> Iterator[Row]:
        """Yield the runs, thread by thread."""
        counts, usage = self.about["status_counts"], UsageSum()
        for thread_id in self._threads:
            for run in self._runs_of(thread_id, on_page):
                status = str(run.get("status"))
                if self._statuses and status not in self._statuses:
                    continue
                if self.assistant_id is not None and run.get("assistant_id") != self.assistant_id:
                    continue
                counts[status] = counts.get(status, 0) + 1
                usage.add(run.get("usage"))
                yield run
        self.about["usage"] = usage.to_dict()
        if active := sum(counts[status] for status in counts.keys() - set(RUN.terminal_statuses)):
            log.warning("%d of the runs have not ended: the file has them as they are now.", active)

    def _runs_of(self, thread_id: str, on_page: Callable[[int], None]) -> Iterator[Row]:
        ids = {"thread_id": thread_id}
        runs = self.hook.list(RUNS, ids, order=self.order, page_size=self.page_size, on_page=on_page)
        if self._window is None:
            return runs
        found = runs_of_window(
            runs,
            self._window,
            window_by=self.window_by,
            max_run_seconds=self.max_run_seconds,
            newest_first=self.order == "desc",
        )
        return (run for _, run in found)

    def _read_thread_ids(self) -> Iterable[str]:
        if self.thread_id is not None:
            return [validate_id("thread_id", self.thread_id)]
        return iter_thread_ids(self.thread_ids, self.thread_ids_path, self.object_storage_conn_id)

    def _read_statuses(self) -> Collection[str]:
        known = sorted(status for name in STATUS_SETS for status in getattr(RUN, name))
        statuses = read_ids("statuses", self.statuses)
        if statuses is not None and (not statuses or not set(statuses) <= set(known)):
            raise PortkeyInvalidArgumentError("statuses", self.statuses, f"some of {', '.join(known)}, or None")
        return statuses or ()
