"""The steps of one run, or of all runs of a window, to files in object storage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.transfers.base import BasePortkeyToObjectStorageOperator

if TYPE_CHECKING:
    from datetime import datetime

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_portkey.export.formats import Columns, Row
    from airflow_provider_portkey.export.manifest import ExportStats
    from airflow_provider_portkey.hooks.portkey import PortkeyHook
    from airflow_provider_portkey.log_export.plan import Window

#: The column that ``include_messages`` adds.
_MESSAGE_TEXT = "message_text"

#: As many requests at once as a session keeps connections for (``MAX_CONNECTIONS`` in ``client/sessions.py``).
_MOST_REQUESTS = 32
#: Seconds that the clock of this machine may be behind the one that started the task.
_CLOCK_SKEW = 60.0


class PortkeyRunStepsToObjectStorageOperator(BasePortkeyToObjectStorageOperator):
    """
    Write the steps of a run to a file, one row each.

    :param thread_id: The run's thread (templated).
    :param run_id: The run (templated).
    :param order: ``"asc"`` or ``"desc"``, by the time of creation.
    :param include: Names of further fields to ask for (templated).
    :param include_messages: Add the field ``message_text``: the text of the message that a step wrote.
    :param kwargs: ``path`` and the other arguments of :class:`BasePortkeyToObjectStorageOperator`.
    """

    template_fields: Sequence[str] = (
        *BasePortkeyToObjectStorageOperator.template_fields,
        "thread_id",
        "run_id",
        "include",
    )
    rows_from = "/threads/{thread_id}/runs/{run_id}/steps"

    def __init__(
        self,
        *,
        thread_id: str,
        run_id: str,
        order: str = "asc",
        include: Sequence[str] | None = None,
        include_messages: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.thread_id = thread_id
        self.run_id = run_id
        self.order = order
        self.include = include
        self.include_messages = include_messages

    def columns(self) -> Columns:
        """Return the columns of a table of steps."""
        return _columns(self.include_messages)

    def open(self, hook: PortkeyHook, tally: ExportStats) -> tuple[Mapping[str, Any], Iterator[Row]]:
        """Return the run's ids, status and usage, and its steps."""
        from airflow_provider_portkey.jobs.run import RUN

        # Before its steps: a run that had ended by now adds no more of them.
        run = hook.get_run(self.thread_id, self.run_id)
        if run.get("status") not in RUN.terminal_statuses:
            self.log.warning("Run %r is still %s: later steps will be missing.", self.run_id, run.get("status"))
        about = {
            "thread_id": self.thread_id,
            "run_id": self.run_id,
            "run_status": run.get("status"),
            "usage": run.get("usage"),
        }
        steps = hook.iter_run_steps(
            self.thread_id, self.run_id, order=self.order, include=self.include, on_page=tally.page
        )
        if not self.include_messages:
            return about, steps
        return about, _with_texts(hook, steps, self.thread_id, self.run_id, self.order)


class PortkeyThreadStepsToObjectStorageOperator(BasePortkeyToObjectStorageOperator):
    """
    Write the steps of every run that threads had in a window to one folder, a file for each thread.

    The folder is ``<path>/window_start=<moment>``. A retry, a clear and a backfill of the window each write the same
    files again. Runs that had not ended when their window was exported are remembered, and exported once with a
    later window. Only as much of a thread's list of runs is read as lies between now and the start of the window.

    :param thread_ids: The threads: a list, what an upstream task returned, or text, which is a JSON list or ids
        divided by commas or white space (templated).
    :param thread_ids_path: In place of ``thread_ids`` a file with an id a line, of any length: a local path or any
        URL that ``ObjectStoragePath`` takes (templated).
    :param window_start: The first moment that belongs to the window, with its zone (templated).
    :param window_end: The moment after the last one (templated).
    :param window_by: Which moment of a run counts: when it was ``"created"``, or when it ``"ended"``.
    :param unfinished: What becomes of a run that was created in the window and has not ended: ``"skip"`` leaves it to
        the next window, ``"include"`` exports it as it is, ``"fail"`` fails its thread.
    :param max_run_seconds: With ``window_by="ended"``: how long before its end a run may have been created.
    :param max_concurrent_requests: How many requests are sent at once, 1 to 32.
    :param path: The folder of all windows, the same for each of them (templated).
    :param overwrite: Write a window again that was exported to its end, rather than fail before anything is fetched.
    :param include: Names of further fields to ask for (templated).
    :param include_messages: Add the field ``message_text``: the text of the message that a step wrote.
    :param kwargs: The other arguments of :class:`BasePortkeyToObjectStorageOperator`.
    """

    template_fields: Sequence[str] = (
        *BasePortkeyToObjectStorageOperator.template_fields,
        "thread_ids",
        "thread_ids_path",
        "window_start",
        "window_end",
        "include",
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
        unfinished: str = "skip",
        max_run_seconds: float = 3600.0,
        max_concurrent_requests: int = 4,
        include: Sequence[str] | None = None,
        include_messages: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.thread_ids = thread_ids
        self.thread_ids_path = thread_ids_path
        self.window_start = window_start
        self.window_end = window_end
        self.window_by = window_by
        self.unfinished = unfinished
        self.max_run_seconds = max_run_seconds
        self.max_concurrent_requests = max_concurrent_requests
        self.include = include
        self.include_messages = include_messages
        if (thread_ids is None) == (thread_ids_path is None):
            raise PortkeyInvalidArgumentError(
                "thread_ids", thread_ids, "either thread_ids or thread_ids_path, not both"
            )
        if window_by not in ("created", "ended"):
            raise PortkeyInvalidArgumentError("window_by", window_by, "'created' or 'ended'")
        if unfinished not in ("skip", "include", "fail"):
            raise PortkeyInvalidArgumentError("unfinished", unfinished, "'skip', 'include' or 'fail'")
        if isinstance(max_run_seconds, bool) or not isinstance(max_run_seconds, int | float) or max_run_seconds < 0:
            raise PortkeyInvalidArgumentError("max_run_seconds", max_run_seconds, "a number of seconds, at least 0")
        limit = max_concurrent_requests
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= _MOST_REQUESTS:
            expected = f"a whole number from 1 to {_MOST_REQUESTS}"
            raise PortkeyInvalidArgumentError("max_concurrent_requests", limit, expected)

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Export the window and return the manifest.

        :raises PortkeyThreadsFailedError: where threads failed; the files of all others have landed.
        :raises PortkeyExportConflictError: where another export stands at the same place.
        :raises PortkeyDestinationExistsError: where the window was exported to its end and ``overwrite`` is off.
        """
        from airflow_provider_portkey.client.pagination import page_query
        from airflow_provider_portkey.export.atomic import refuse_existing
        from airflow_provider_portkey.export.formats import check_installed
        from airflow_provider_portkey.export.partition import MANIFEST, folder_path, stamp
        from airflow_provider_portkey.hooks.portkey import PortkeyHook
        from airflow_provider_portkey.links import trace_id_of
        from airflow_provider_portkey.window_export.export import ExportPlan, ThreadWindowExport, book_of
        from airflow_provider_portkey.window_export.state import RecordPlace, WindowLedger

        base = folder_path(self.path, self.object_storage_conn_id)
        window = self._window()
        page_query(include=self.include)
        check_installed(self.file_format, self.compression)
        folder = base / f"window_start={stamp(window.start)}"
        refuse_existing(folder / MANIFEST, overwrite=self.overwrite)
        hook = PortkeyHook(self.portkey_conn_id, trace_id=trace_id_of(context.get("ti")))
        hook.get_conn()  # here, because threads that share the hook must not look the connection up
        with book_of(self._ids()) as book:
            place = RecordPlace(context, base)
            ledger = WindowLedger(place, window, folder, window_by=self.window_by, owner=_owner(context.get("ti")))
            if not ledger.follows:
                self.log.warning(
                    "No whole export is known of the window before %s in %s: what that one leaves unfinished will "
                    "be in a later window. For the first window of all that is as it should be.",
                    window.start,
                    base,
                )
            plan = ExportPlan(
                folder=folder,
                window=window,
                window_by=self.window_by,
                unfinished=self.unfinished,
                max_run_seconds=self.max_run_seconds,
                max_concurrent_requests=self.max_concurrent_requests,
                file_format=self.file_format,
                compression=self.compression,
                columns=self.columns(),
                rows_of=lambda *which: self._rows(hook, *which),
            )
            manifest = ThreadWindowExport(plan, hook, ledger, book).run()
        self._note_lineage(hook, manifest)
        self.log.info("%d runs with %d steps are in %s.", manifest["runs"]["exported"], manifest["rows"], folder)
        return manifest

    def columns(self) -> Columns:
        """Return the columns of a table of steps."""
        return _columns(self.include_messages)

    def _window(self) -> Window:
        from airflow_provider_portkey.log_export.plan import read_window

        window = read_window(self.window_start, self.window_end)
        if window.end.timestamp() > time.time() + _CLOCK_SKEW:
            expected = "a moment that has passed: runs that were created after the export would be in no window"
            raise PortkeyInvalidArgumentError("window_end", window.to_dict()["window_end"], expected)
        return window

    def _ids(self) -> Iterator[str]:
        from airflow_provider_portkey.export.atomic import file_path
        from airflow_provider_portkey.validation import iter_ids
        from airflow_provider_portkey.window_export.thread_ids import read_lines

        if self.thread_ids_path is None:
            return iter(iter_ids("thread_ids", self.thread_ids))
        return read_lines(file_path(self.thread_ids_path, self.object_storage_conn_id, field="thread_ids_path"))

    def _rows(self, hook: PortkeyHook, thread_id: str, run_id: str, on_page: Callable[[int], None]) -> Iterator[Row]:
        steps = hook.iter_run_steps(thread_id, run_id, order="asc", include=self.include, on_page=on_page)
        return _with_texts(hook, steps, thread_id, run_id, "asc") if self.include_messages else steps


def _columns(include_messages: bool) -> Columns:
    from airflow_provider_portkey.jobs.run import STEP_COLUMNS

    return STEP_COLUMNS | ({_MESSAGE_TEXT: "text"} if include_messages else {})


def _with_texts(
    hook: PortkeyHook, steps: Iterator[dict[str, Any]], thread_id: str, run_id: str, order: str
) -> Iterator[Row]:
    from airflow_provider_portkey.export.message_texts import MessageTexts

    texts = MessageTexts(hook, thread_id, run_id, order)
    return ({**step, _MESSAGE_TEXT: texts.of(step)} for step in steps)


def _owner(ti: Any) -> str | None:
    if not hasattr(ti, "task_id"):
        return None
    mapped = f"[{ti.map_index}]" if getattr(ti, "map_index", -1) not in (None, -1) else ""
    return f"{ti.dag_id}.{ti.task_id}{mapped}"
