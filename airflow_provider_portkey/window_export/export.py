"""The export of one window: the steps, and the runs, of its threads, one file each per thread, one manifest."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey import exceptions
from airflow_provider_portkey.export.atomic import refuse_existing
from airflow_provider_portkey.export.formats import check_installed
from airflow_provider_portkey.export.message_texts import iter_step_rows, step_columns
from airflow_provider_portkey.export.partition import MANIFEST, file_name, folder_path
from airflow_provider_portkey.export.progress import ExportProgress
from airflow_provider_portkey.export.read_ahead import read_page
from airflow_provider_portkey.export.window import read_window
from airflow_provider_portkey.export.worker_pool import WorkerPool
from airflow_provider_portkey.jobs.lists import RUNS as RUNS_LIST
from airflow_provider_portkey.parameters import MAX_LIMIT
from airflow_provider_portkey.window_export.layout import RUNS, STEPS, WindowFolders, window_folders
from airflow_provider_portkey.window_export.manifest import Totals, entry_of_file, write_manifest
from airflow_provider_portkey.window_export.prefetch import prefetch
from airflow_provider_portkey.window_export.request import ExportRequest
from airflow_provider_portkey.window_export.run_buffer import RunBuffer
from airflow_provider_portkey.window_export.runs import RunSummary, runs_of_window, summarize_run
from airflow_provider_portkey.window_export.state import WindowState
from airflow_provider_portkey.window_export.thread_ids import ThreadIndex, iter_thread_ids

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_portkey.export.formats import Row
    from airflow_provider_portkey.export.window import Window
    from airflow_provider_portkey.hooks.portkey import PortkeyHook

log = logging.getLogger(__name__)

#: Seconds that the clock of this machine may be behind the clock of the scheduler.
_CLOCK_SKEW = 60.0
#: Runs that are prefetched for each request that may be in flight. Results are taken in order: with one alone, each
#: slow response would leave the other threads idle.
_DEPTH = 2
#: Errors that concern one thread. Every other error would meet every thread, and ends the export.
_ONE_THREAD_ERRORS = (
    exceptions.PortkeyNotFoundError,
    exceptions.PortkeyBadRequestError,
    exceptions.PortkeyUnexpectedResponseError,
    exceptions.PortkeyGuardrailDeniedError,
    exceptions.PortkeyPaginationError,
    exceptions.PortkeyRemoteJobNotFinishedError,
)


@dataclass(eq=False)
class Selection:
    """
    The runs of one thread that are exported.

    :param runs: In their order.
    :param seen: The number of all runs of the thread that concern the window.
    :param carried_in: Those of ``runs`` that were carried over from earlier windows.
    :param carried_out: Runs that are carried over to a later window, with their status.
    :param buffer: The whole runs, where they are exported.
    :param error: Why the thread failed.
    """

    thread_id: str
    runs: list[RunSummary] = field(default_factory=list)
    seen: int = 0
    carried_in: list[str] = field(default_factory=list)
    carried_out: dict[str, dict[str, Any]] = field(default_factory=dict)
    buffer: RunBuffer | None = None
    error: Exception | None = None


#: The rows of a run, of which the first page is read.
_OpenRun = tuple["Iterator[Row]", "list[Row]"]


def export_window(request: ExportRequest, hook: PortkeyHook, context: Context) -> dict[str, Any]:
    """
    Export a window, and return the manifest.

    :raises PortkeyInvalidArgumentError: naming the parameter that is wrong.
    :raises PortkeyDestinationExistsError: where the window was exported completely and ``overwrite`` is off.
    :raises PortkeyPathError: where the folder or a file cannot be written.
    :raises PortkeyExportConflictError: where another export has the same path.
    :raises PortkeyThreadsFailedError: where threads failed; the files of all others are written.
    :raises PortkeyRequestError: where an error would meet every thread.
    """
    base = folder_path(request.path, request.object_storage_conn_id)
    window = read_window(request.window_start, request.window_end)
    if window.end.timestamp() > time.time() + _CLOCK_SKEW:
        expected = "a timestamp in the past: runs that are created after the export would be in no window"
        raise exceptions.PortkeyInvalidArgumentError("window_end", window.to_dict()["window_end"], expected)
    check_installed(request.file_format, request.compression)
    folders = window_folders(base, window, include_runs=request.include_runs)
    refuse_existing(folders.steps / MANIFEST, overwrite=request.overwrite)
    hook.get_conn()  # the threads of the pool must not look up the connection
    with ThreadIndex() as index:
        index.add(iter_thread_ids(request.thread_ids, request.thread_ids_path, request.object_storage_conn_id))
        folders.check_writable()
        state = WindowState(context, base, folders.steps, window, request.window_by)
        if not state.follows_another:
            log.warning(
                "No complete export of the window before %s is known in %s: runs that had not ended then will be in a "
                "later window. For the first window of all, this is expected.",
                window.start,
                base,
            )
        with ExportProgress(folders.steps) as progress:
            return ThreadWindowExport(request, window, folders, hook, state, index, progress).run()


@dataclass
class ThreadWindowExport:
    """Exports a window once."""

    request: ExportRequest
    window: Window
    folders: WindowFolders
    hook: PortkeyHook
    state: WindowState
    index: ThreadIndex
    progress: ExportProgress
    totals: Totals = field(default_factory=Totals)
    pool: WorkerPool = field(init=False)

    def run(self) -> dict[str, Any]:
        """
        Write the files and the manifest, and return the manifest.

        :raises PortkeyRowsMismatchError: where a run was seen and is not accounted for.
        """
        self.folders.sweep()
        # Threads with runs from an earlier window are exported even if they are no longer among the thread ids.
        self.index.add(self.state.record.carried_in)
        with WorkerPool(self.request.max_concurrent_requests) as self.pool:
            opened = prefetch(self.pool, self._runs(), self._open_run, depth=_DEPTH * self.pool.limit)
            for selection, of_thread in groupby(opened, key=lambda each: each[0][0]):
                self._export(selection, ((run, future) for (_, run), future in of_thread if run))
        self.state.save()  # before a file is removed
        self.folders.keep_only(self.index)
        manifest = self.totals.manifest(self.request, self.window, self.folders, self.index, pages=self.progress.pages)
        failed = self.totals.failed_threads
        if not failed:
            for path in self.folders.manifests():
                write_manifest(path, manifest, self.index.entries())
        self.state.close(failed)
        if failed:
            raise self.totals.failure(manifest)
        return manifest

    def _runs(self) -> Iterator[tuple[Selection, RunSummary | None]]:
        """Yield every run to export with its thread; a thread without runs once, without a run."""
        for selection in self._selections():
            if not selection.runs:
                yield selection, None
            for run in selection.runs:
                if selection.error:  # of an earlier run
                    break
                yield selection, run

    def _selections(self) -> Iterator[Selection]:
        """Yield the selection of every thread, up to the first error that would meet every thread."""
        threads = prefetch(self.pool, self.index.ids(), self._list_runs, depth=self.pool.limit)
        for thread_id, listed in threads:
            try:
                yield self._select(thread_id, *listed.result())
            except exceptions.PortkeyError as error:
                if isinstance(error, exceptions.PortkeyExportConflictError):
                    raise
                yield Selection(thread_id, seen=len(self.state.record.run_ids_carried_in(thread_id)), error=error)
                if not isinstance(error, _ONE_THREAD_ERRORS):
                    return

    def _list_runs(self, thread_id: str) -> tuple[list[RunSummary], list[RunSummary], RunBuffer | None]:
        """Return the thread's runs of the window, those that earlier windows carried over, and all of them whole."""
        request = self.request
        buffer = RunBuffer() if request.include_runs else None

        def summaries(found: Iterable[tuple[RunSummary, Mapping[str, Any]]]) -> list[RunSummary]:
            listed = []
            for summary, run in found:
                if buffer:
                    buffer.add(run)
                listed.append(summary)
            return listed

        runs = self.hook.iter_runs(thread_id, order="desc", on_page=self._on_page)
        found = runs_of_window(runs, self.window, window_by=request.window_by, max_run_seconds=request.max_run_seconds)
        of_window = summaries(found)
        run_ids = self.state.record.run_ids_carried_in(thread_id)
        earlier = (self.hook.get_run(thread_id, run_id) for run_id in run_ids)
        return of_window, summaries((summarize_run(run), run) for run in earlier), buffer

    def _select(
        self, thread_id: str, runs: list[RunSummary], carried_in: list[RunSummary], buffer: RunBuffer | None
    ) -> Selection:
        record = self.state.record
        seen = {*(run.id for run in (*runs, *carried_in)), *record.carried_in.get(thread_id, ())}
        try:
            carry_over, exported = self.state.decide(thread_id, runs, carried_in, self.request.on_unfinished)
        except exceptions.PortkeyRemoteJobNotFinishedError as error:
            if buffer:
                buffer.close()
            return Selection(thread_id, seen=len(seen), error=error)
        seen |= carry_over.carried_out.keys()
        return Selection(thread_id, exported, len(seen), carry_over.carried_in, carry_over.carried_out, buffer)

    def _open_run(self, item: tuple[Selection, RunSummary | None]) -> _OpenRun:
        """Read the first page of a run's rows, in a thread of the pool."""
        selection, run = item
        if run is None:
            return iter(()), []
        rows = iter_step_rows(
            self.hook,
            selection.thread_id,
            run.id,
            order="asc",
            include=self.request.include,
            include_messages=self.request.include_messages,
            on_page=self._on_page,
        )
        return rows, read_page(rows)

    def _pages(self, opened: Future[_OpenRun]) -> Iterator[list[Row]]:
        """Yield the pages of a run's rows; the next page is read while one is written."""
        rows, page = opened.result()
        while page:
            following = self.pool.start(partial(read_page, rows)) if len(page) == MAX_LIMIT else None
            yield page
            page.clear()  # the future refers to the first page as long as the run is written
            page = following.result() if following else []

    def _on_page(self, _: int) -> None:
        self.progress.add_page()
        self.pool.check_running()

    def _export(self, selection: Selection, runs: Iterator[tuple[RunSummary, Future[_OpenRun]]]) -> None:
        totals, thread_id = self.totals, selection.thread_id
        name = file_name(thread_id, self.request.file_format, self.request.compression)
        totals.seen += selection.seen
        try:
            if selection.error is not None:
                raise selection.error
            entry = self._write_files(name, selection, runs) if selection.runs else self._no_files()
        except exceptions.PortkeyError as error:
            if not isinstance(error, _ONE_THREAD_ERRORS):
                error.args = (f"The export stopped at thread {thread_id!r}: {error}", *error.args[1:])
                raise
            log.error("Thread %r failed: %s", thread_id, error)
            selection.error = error
            totals.add_failed_thread(thread_id, selection.seen, error)
            for kind in (STEPS, RUNS):
                self.index.add_file(kind, name)  # so that an earlier file of the thread stays
            return
        skipped = [{"run_id": run_id, **about} for run_id, about in sorted(selection.carried_out.items())]
        totals.add_skipped(thread_id, skipped)
        if selection.seen:
            entry = {"thread_id": thread_id, **entry, "carried_over": selection.carried_in, "skipped": skipped}
            self.index.set_entry(name, entry)

    def _write_files(
        self, name: str, selection: Selection, runs: Iterator[tuple[RunSummary, Future[_OpenRun]]]
    ) -> dict[str, Any]:
        """Write the files of a thread, all or none, and return their part of the thread's entry."""
        exported = []
        columns = {STEPS: step_columns(self.request.include_messages), RUNS: dict(RUNS_LIST.columns)}
        with (
            closing(selection.buffer) if selection.buffer else nullcontext() as buffer,
            self.folders.open_files(
                name,
                columns,
                file_format=self.request.file_format,
                compression=self.request.compression,
                csv_formulas=self.request.csv_formulas,
                progress=self.progress,
            ) as files,
        ):
            for run, opened in runs:
                for page in self._pages(opened):
                    files[STEPS].write_rows(page)
                if buffer:
                    files[RUNS].write(buffer.read(run.id))
                exported.append(run)
            self.state.save_before(selection.thread_id)
        self.totals.add_runs(exported, carried_over=len(selection.carried_in))
        entry: dict[str, Any] = {"runs": len(exported)}
        for kind, writer in files.items():
            if writer.rows:
                self.totals.add_file(kind, writer)
                self.index.add_file(kind, name)
            entry |= entry_of_file(kind, writer)
        return entry

    def _no_files(self) -> dict[str, Any]:
        entry: dict[str, Any] = {"runs": 0}
        for kind in self.folders.kinds:
            entry |= entry_of_file(kind)
        return entry
