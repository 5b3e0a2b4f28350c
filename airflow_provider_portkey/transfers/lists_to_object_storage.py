"""Lists to object storage: any list by its declaration, the runs of threads, the items of a response."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import chain
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.tasks.lists import BasePortkeyCustomListOperator, BasePortkeyListOperator
from airflow_provider_portkey.transfers.base import BasePortkeyToObjectStorageOperator

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_provider_portkey.export.formats import Columns, Row
    from airflow_provider_portkey.export.manifest import ExportStats

#: The column that ``include_input`` adds: ``"input"`` or ``"output"``.
_DIRECTION = "direction"


class PortkeyListToObjectStorageOperator(BasePortkeyCustomListOperator, BasePortkeyToObjectStorageOperator):
    """
    Write any list to a file, one row each.

    :param kwargs: The parameters of :class:`BasePortkeyCustomListOperator`, ``path`` and the other parameters of
        :class:`BasePortkeyToObjectStorageOperator`.
    """

    template_fields: Sequence[str] = (
        *BasePortkeyToObjectStorageOperator.template_fields,
        *BasePortkeyListOperator.template_fields[1:],
        "ids",
        "parameters",
    )

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._validate()

    def source_uri(self) -> str:
        """Return the URI of the list."""
        return self.hook.uri_of(self.list_spec.path, self._path_ids)

    def columns(self) -> Columns:
        """Return the columns of the declaration."""
        return dict(self.list_spec.columns)

    def open_rows(self, stats: ExportStats) -> tuple[Mapping[str, Any], Iterator[Row]]:
        """Return the kind of the items and the ids of the path, and the items."""
        return {"list": self.list_spec.kind, "ids": dict(self._path_ids)}, self._iter_items(stats.add_page)


class PortkeyThreadRunsToObjectStorageOperator(BasePortkeyToObjectStorageOperator):
    """
    Write the runs of one thread or of several threads to a file, one row each.

    The manifest has ``status_counts`` and the summed ``usage`` of the runs. A run that is still active is written as it
    is now.

    :param thread_id: The thread (templated).
    :param thread_ids: In place of ``thread_id``: a list, the output of an upstream task, or a string, which is a JSON
        list or ids separated by commas or white space (templated).
    :param thread_ids_path: In place of ``thread_id``: a file with one id per line; a local path or any URL of
        ``ObjectStoragePath`` (templated).
    :param window_start: Only the runs of a window: its start, with its zone; belongs to the window (templated).
    :param window_end: The end of the window, with its zone; does not belong to the window (templated).
    :param window_by: ``"created"`` or ``"ended"``: the timestamp of a run that must be in the window (templated).
    :param max_run_seconds: With ``window_by="ended"``: maximum seconds from the creation of a run to its end
        (templated).
    :param statuses: Only runs with one of these statuses (templated).
    :param assistant_id: Only runs of this assistant (templated).
    :param order: ``"asc"`` or ``"desc"``, by the time of creation, for each thread. With a window, ``"desc"`` reads the
        list from now back to the start of the window, ``"asc"`` from the first run up to the end of the window
        (templated).
    :param page_size: Runs for each request, 1 to 100 (templated).
    :param kwargs: ``path`` and the other parameters of :class:`BasePortkeyToObjectStorageOperator`.
    """

    template_fields: Sequence[str] = (
        *BasePortkeyToObjectStorageOperator.template_fields,
        "thread_id",
        "thread_ids",
        "thread_ids_path",
        "window_start",
        "window_end",
        "window_by",
        "max_run_seconds",
        "statuses",
        "assistant_id",
        "order",
        "page_size",
    )

    def __init__(
        self,
        *,
        thread_id: str | None = None,
        thread_ids: Iterable[str] | str | None = None,
        thread_ids_path: str | None = None,
        window_start: str | datetime | None = None,
        window_end: str | datetime | None = None,
        window_by: str = "created",
        max_run_seconds: float = 3600.0,
        statuses: Iterable[str] | str | None = None,
        assistant_id: str | None = None,
        order: str | None = "asc",
        page_size: int = 100,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.thread_id = thread_id
        self.thread_ids = thread_ids
        self.thread_ids_path = thread_ids_path
        self.window_start = window_start
        self.window_end = window_end
        self.window_by = window_by
        self.max_run_seconds = max_run_seconds
        self.statuses = statuses
        self.assistant_id = assistant_id
        self.order = order
        self.page_size = page_size
        if [thread_id, thread_ids, thread_ids_path].count(None) != 2:
            raise PortkeyInvalidArgumentError(
                "thread_id", thread_id, "exactly one of thread_id, thread_ids and thread_ids_path"
            )
        if (window_start is None) != (window_end is None):
            raise PortkeyInvalidArgumentError("window_end", window_end, "both window_start and window_end, or neither")
        self._validate()

    def source_uri(self) -> str:
        """Return the URI of the runs of one thread, or that of all threads."""
        from airflow_provider_portkey.jobs.lists import RUNS

        return self.hook.uri_of("/threads" if self.thread_id is None else RUNS.path, vars(self))

    def columns(self) -> Columns:
        """Return the columns of a table of runs."""
        from airflow_provider_portkey.jobs.lists import RUNS

        return dict(RUNS.columns)

    def open_rows(self, stats: ExportStats) -> tuple[Mapping[str, Any], Iterator[Row]]:
        """Return the threads and the window, and the runs; their counts are complete after the last run."""
        from airflow_provider_portkey.window_export.thread_runs import ThreadRuns

        runs = ThreadRuns(**{field.name: getattr(self, field.name) for field in fields(ThreadRuns) if field.init})
        return runs.about, runs.rows(stats.add_page)


class PortkeyResponseItemsToObjectStorageOperator(BasePortkeyToObjectStorageOperator):
    """
    Write the output items of a response to a file, one row each, in the response's own order.

    :param response_id: The response (templated).
    :param include_input: Write the input items as well, before the output items and read page by page, and add the
        field ``direction``: ``"input"`` or ``"output"`` (templated).
    :param kwargs: ``path`` and the other parameters of :class:`BasePortkeyToObjectStorageOperator`.
    """

    template_fields: Sequence[str] = (
        *BasePortkeyToObjectStorageOperator.template_fields,
        "response_id",
        "include_input",
    )
    rows_from = "/responses/{response_id}"

    def __init__(self, *, response_id: str, include_input: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.response_id = response_id
        self.include_input = include_input
        self._validate()

    def columns(self) -> Columns:
        """Return the columns of a table of items."""
        from airflow_provider_portkey.jobs.lists import RESPONSE_OUTPUT_ITEMS

        return ({_DIRECTION: "text"} if self.include_input else {}) | dict(RESPONSE_OUTPUT_ITEMS.columns)

    def open_rows(self, stats: ExportStats) -> tuple[Mapping[str, Any], Iterator[Row]]:
        """Return the response's id, status, model and usage, and its items."""
        from airflow_provider_portkey.jobs.lists import RESPONSE_OUTPUT_ITEMS
        from airflow_provider_portkey.jobs.response import RESPONSE

        response = self.hook.get_response(self.response_id)
        status = response.get("status")
        if status not in RESPONSE.terminal_statuses:
            self.log.warning("Response %r is still %s: later items will be missing.", self.response_id, status)
        about = {
            "response_id": self.response_id,
            "response_status": status,
            "model": response.get("model"),
            "usage": response.get("usage"),
        }
        output = RESPONSE_OUTPUT_ITEMS.items_of(response)
        if not self.include_input:
            return about, iter(output)
        inputs = self.hook.iter_response_input_items(self.response_id, order="asc", on_page=stats.add_page)
        return about, chain(
            ({_DIRECTION: "input", **item} for item in inputs), ({_DIRECTION: "output", **item} for item in output)
        )
