"""The steps of one run, or the steps and runs of a window, to object storage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.tasks.lists import BasePortkeyListOperator
from airflow_provider_portkey.transfers.base import BasePortkeyToObjectStorageOperator

if TYPE_CHECKING:
    from datetime import datetime

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_portkey.export.formats import Columns, Row
    from airflow_provider_portkey.export.manifest import ExportStats


class _BaseStepsTransfer(BasePortkeyToObjectStorageOperator):
    template_fields: Sequence[str] = (
        *BasePortkeyToObjectStorageOperator.template_fields,
        "include",
        "include_messages",
    )

    def __init__(self, *, include: Sequence[str] | None = None, include_messages: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.include = include
        self.include_messages = include_messages

    def columns(self) -> Columns:
        """Return the columns of a table of steps."""
        from airflow_provider_portkey.export.message_texts import step_columns

        return step_columns(self.include_messages)


class PortkeyRunStepsToObjectStorageOperator(BasePortkeyListOperator, _BaseStepsTransfer):
    """
    Write the steps of a run to a file, one row each.

    :param thread_id: The run's thread (templated).
    :param run_id: The run (templated).
    :param order: ``"asc"`` or ``"desc"``, by the time of creation (templated).
    :param include: Names of additional fields to request (templated).
    :param include_messages: Add the field ``message_text``: the text of the message that a step wrote (templated).
    :param kwargs: The other parameters of :class:`BasePortkeyListOperator`, ``path`` and the other parameters of
        :class:`BasePortkeyToObjectStorageOperator`.
    """

    template_fields: Sequence[str] = (
        *_BaseStepsTransfer.template_fields,
        *BasePortkeyListOperator.template_fields[1:],
        "thread_id",
        "run_id",
    )
    rows_from = "/threads/{thread_id}/runs/{run_id}/steps"

    def __init__(self, *, thread_id: str, run_id: str, order: str | None = "asc", **kwargs: Any) -> None:
        super().__init__(order=order, **kwargs)
        self.thread_id = thread_id
        self.run_id = run_id
        self._validate()

    def open_rows(self, stats: ExportStats) -> tuple[Mapping[str, Any], Iterator[Row]]:
        """Return the run's ids, status and usage, and its steps."""
        from airflow_provider_portkey.export.message_texts import iter_step_rows
        from airflow_provider_portkey.jobs.run import RUN

        rows = iter_step_rows(
            self.hook,
            self.thread_id,
            self.run_id,
            order=self.order,
            include=self.include,
            include_messages=self.include_messages,
            on_page=stats.add_page,
            after=self.after,
            max_items=self.max_items,
            page_size=self.page_size,
        )
        # Before the steps: a run with a terminal status adds no steps.
        run = self.hook.get_run(self.thread_id, self.run_id)
        if run.get("status") not in RUN.terminal_statuses:
            self.log.warning("Run %r is still %s: later steps will be missing.", self.run_id, run.get("status"))
        about = {
            "thread_id": self.thread_id,
            "run_id": self.run_id,
            "run_status": run.get("status"),
            "usage": run.get("usage"),
        }
        return about, rows


class PortkeyThreadStepsToObjectStorageOperator(_BaseStepsTransfer):
    """
    Write the steps of every run that threads had in a window to one folder, one file per thread.

    The folder is ``<path>/window_start=<timestamp>``; see ``include_runs`` for the runs themselves. A retry, a clear
    and a backfill of the window each write the same files again. Runs that had not ended when their window was exported
    are carried over, and exported once with a later window. A thread's list of runs is read from now back to the start
    of the window.

    :param thread_ids: The threads: a list, the output of an upstream task, or a string, which is a JSON list or ids
        separated by commas or white space (templated).
    :param thread_ids_path: In place of ``thread_ids``: a file with one id per line, of any length; a local path or any
        URL of ``ObjectStoragePath`` (templated).
    :param window_start: The start of the window, with its zone; belongs to the window (templated).
    :param window_end: The end of the window, with its zone; does not belong to the window (templated).
    :param window_by: ``"created"`` or ``"ended"``: the timestamp of a run that must be in the window (templated).
    :param on_unfinished: For a run that was created in the window and has not ended: ``"skip"`` carries the run over to
        the next window, ``"include"`` exports the steps so far, ``"fail"`` fails the run's thread (templated).
    :param max_run_seconds: With ``window_by="ended"``: maximum seconds from the creation of a run to its end
        (templated).
    :param max_concurrent_requests: Maximum number of concurrent requests, 1 to 32, the connections that a session keeps
        (templated).
    :param include: Names of additional fields to request (templated).
    :param include_messages: Add the field ``message_text``: the text of the message that a step wrote (templated).
    :param include_runs: Write the runs as well, whole as Portkey sent them, one file per thread: steps to
        ``<path>/steps/window_start=<timestamp>``, runs to ``<path>/runs/window_start=<timestamp>`` (templated).
    :param path: The folder of all windows, the same for each window (templated).
    :param overwrite: Export a window again that was exported completely, rather than fail before the first request
        (templated).
    :param kwargs: The other parameters of :class:`BasePortkeyToObjectStorageOperator`.
    """

    template_fields: Sequence[str] = (
        *_BaseStepsTransfer.template_fields,
        "thread_ids",
        "thread_ids_path",
        "window_start",
        "window_end",
        "window_by",
        "on_unfinished",
        "max_run_seconds",
        "max_concurrent_requests",
        "include_runs",
    )
    rows_from = "/threads"

    def __init__(
        self,
        *,
        thread_ids: Iterable[str] | str | None = None,
        thread_ids_path: str | None = None,
        window_start: str | datetime = "{{ data_interval_start }}",
        window_end: str | datetime = "{{ data_interval_end }}",
        window_by: str = "created",
        on_unfinished: str = "skip",
        max_run_seconds: float = 3600.0,
        max_concurrent_requests: int = 4,
        include_runs: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.thread_ids = thread_ids
        self.thread_ids_path = thread_ids_path
        self.window_start = window_start
        self.window_end = window_end
        self.window_by = window_by
        self.on_unfinished = on_unfinished
        self.max_run_seconds = max_run_seconds
        self.max_concurrent_requests = max_concurrent_requests
        self.include_runs = include_runs
        if (thread_ids is None) == (thread_ids_path is None):
            raise PortkeyInvalidArgumentError(
                "thread_ids", thread_ids, "either thread_ids or thread_ids_path, not both"
            )
        self._validate()

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Export the window and return the manifest.

        :raises PortkeyThreadsFailedError: where threads failed; the files of all others are written.
        :raises PortkeyExportConflictError: where another export has the same path.
        :raises PortkeyDestinationExistsError: where the window was exported completely and ``overwrite`` is off.
        """
        from airflow_provider_portkey.window_export.export import export_window
        from airflow_provider_portkey.window_export.request import ExportRequest

        self._begin(context)
        request = ExportRequest(**{name: getattr(self, name) for name in ExportRequest.__dataclass_fields__})
        manifest = export_window(request, self.hook, context)
        self._report(context, manifest)
        self.log.info("%d runs with %d steps are in %s.", manifest["runs"]["exported"], manifest["rows"], self.path)
        return manifest
