"""The export of one window: every thread's runs of it, their steps, one file for each thread, one manifest."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey import exceptions
from airflow_provider_portkey.export.atomic import atomic_write, uri_of
from airflow_provider_portkey.export.formats import encode
from airflow_provider_portkey.export.manifest import SCHEMA_VERSION, moment_now
from airflow_provider_portkey.export.partition import MANIFEST, file_name, keep_only, sweep
from airflow_provider_portkey.window_export.prefetch import Chosen, Queue, WorkerPool, ahead
from airflow_provider_portkey.window_export.runs import SeenRun, runs_of_window, seen, total_usage
from airflow_provider_portkey.window_export.thread_ids import ThreadIndex

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_portkey.export.formats import Columns, Row
    from airflow_provider_portkey.hooks.portkey import PortkeyHook
    from airflow_provider_portkey.log_export.plan import Window
    from airflow_provider_portkey.window_export.state import WindowLedger

log = logging.getLogger(__name__)

#: What is wrong with one thread only. Everything else would meet every thread, and ends the export.
_OF_ONE_THREAD = (
    exceptions.PortkeyNotFoundError,
    exceptions.PortkeyBadRequestError,
    exceptions.PortkeyUnexpectedResponseError,
    exceptions.PortkeyGuardrailDeniedError,
    exceptions.PortkeyPaginationError,
    exceptions.PortkeyRemoteJobNotFinishedError,
)
#: Runs and threads that XCom names; the manifest beside the files names all.
_NAMED = 20
#: Characters that XCom has of an error.
_TEXT = 300


@dataclass(frozen=True, kw_only=True)
class ExportPlan:
    """
    What is to be exported, and how.

    :param folder: The window's own.
    :param rows_of: Makes the rows of a run; the last argument is to be told of each page.
    """

    folder: ObjectStoragePath
    window: Window
    window_by: str
    unfinished: str
    max_run_seconds: float
    max_concurrent_requests: int
    file_format: str
    compression: str | None
    columns: Columns
    rows_of: Callable[[str, str, Callable[[int], None]], Iterator[Row]]


@dataclass
class _Totals:
    started_at: str = field(default_factory=moment_now)
    files: int = 0
    rows: int = 0
    bytes: int = 0
    seen: int = 0
    exported: int = 0
    skipped: int = 0
    failed: int = 0
    picked_up: int = 0
    usage: tuple[int, ...] = (0, 0, 0)
    pages: int = 0
    named_runs: list[dict[str, Any]] = field(default_factory=list)
    named_threads: list[dict[str, str]] = field(default_factory=list)
    failed_threads: list[str] = field(default_factory=list)


class ThreadWindowExport:
    """
    Export a window once.

    :param book: The threads.
    """

    def __init__(self, plan: ExportPlan, hook: PortkeyHook, ledger: WindowLedger, book: ThreadIndex) -> None:
        self._plan = plan
        self._hook = hook
        self._ledger = ledger
        self._book = book
        self._totals = _Totals()
        self._lock = Lock()

    def run(self) -> dict[str, Any]:
        """
        Land the files and the manifest, and return what XCom is to hold.

        :raises PortkeyThreadsFailedError: where threads failed; all others have landed.
        :raises PortkeyRequestError: where something went wrong that would go wrong with every thread.
        :raises PortkeyRowsMismatchError: where a run was seen and is not accounted for.
        """
        sweep(self._plan.folder)
        # Threads that an earlier window left something of are looked at even where nobody asks for them any more.
        self._book.add(self._ledger.record.received)
        with WorkerPool(self._plan.max_concurrent_requests) as lanes:
            queue = Queue(lanes, self._chosen(lanes), lambda *which: self._rows(lanes, *which))
            for chosen in queue.threads():
                self._export(chosen, queue)
        totals = self._totals
        keep_only(self._plan.folder, self._book.knows)
        manifest = self._manifest()
        if totals.seen != totals.exported + totals.skipped + totals.failed:
            raise exceptions.PortkeyRowsMismatchError(
                f"Of {totals.seen} runs {totals.exported} were exported, {totals.skipped} skipped and {totals.failed} "
                "failed, which is not all of them."
            )
        if totals.failed_threads:
            self._ledger.close(totals.failed_threads)
            names = ", ".join(repr(each["thread_id"]) for each in totals.named_threads)
            more = len(totals.failed_threads) - len(totals.named_threads)
            raise exceptions.PortkeyThreadsFailedError(
                f"{len(totals.failed_threads)} of {len(self._book)} threads failed: {names}"
                f"{f' and {more} more' if more else ''}. The first: {totals.named_threads[0]['error']} "
                "The files of all others have landed.",
                manifest=manifest,
            )
        self._land_manifest(manifest)
        self._ledger.close(())
        return manifest

    def _chosen(self, lanes: WorkerPool) -> Iterator[Chosen]:
        for thread_id, listing in ahead(lanes, self._book.ids(), lambda each: self._list(lanes, each)):
            try:
                yield self._choose(thread_id, *listing.result())
            except exceptions.PortkeyError as error:
                if isinstance(error, exceptions.PortkeyExportConflictError):
                    raise
                yield Chosen(thread_id, seen=len(self._ledger.record.to_fetch(thread_id)), error=error)
                if not isinstance(error, _OF_ONE_THREAD):
                    return

    def _list(self, lanes: WorkerPool, thread_id: str) -> tuple[list[SeenRun], list[SeenRun]]:
        plan = self._plan
        runs = self._hook.iter_runs(thread_id, order="desc", on_page=partial(self._page, lanes))
        found = runs_of_window(runs, plan.window, window_by=plan.window_by, max_run_seconds=plan.max_run_seconds)
        fetch = self._ledger.record.to_fetch(thread_id)
        return list(found), [seen(self._hook.get_run(thread_id, run_id)) for run_id in fetch]

    def _choose(self, thread_id: str, runs: list[SeenRun], received: list[SeenRun]) -> Chosen:
        record = self._ledger.record
        known = {*(run.id for run in (*runs, *received)), *record.received.get(thread_id, ())}
        try:
            carry_over, exported, changed = record.decide(thread_id, runs, received, self._plan.unfinished)
        except exceptions.PortkeyRemoteJobNotFinishedError as error:
            return Chosen(thread_id, seen=len(known), error=error)
        if changed:
            self._ledger.save()  # before anything of this thread lands
        return Chosen(thread_id, exported, len(known | carry_over.left.keys()), carry_over.picked_up, carry_over.left)

    def _rows(self, lanes: WorkerPool, chosen: Chosen, run: SeenRun) -> Iterator[Row]:
        return self._plan.rows_of(chosen.thread_id, run.id, partial(self._page, lanes))

    def _page(self, lanes: WorkerPool, count: int) -> None:
        with self._lock:
            self._totals.pages += 1
        lanes.on_page(count)

    def _export(self, chosen: Chosen, queue: Queue) -> None:
        totals, name = self._totals, file_name(chosen.thread_id, self._plan.file_format, self._plan.compression)
        totals.seen += chosen.seen
        try:
            if chosen.error is not None:
                raise chosen.error
            file = self._land(name, chosen, queue)
        except exceptions.PortkeyError as error:
            if not isinstance(error, _OF_ONE_THREAD):
                error.args = (f"The export stopped at thread {chosen.thread_id!r}: {error}", *error.args[1:])
                raise
            log.error("Thread %r failed: %s", chosen.thread_id, error)
            totals.failed += chosen.seen
            totals.failed_threads.append(chosen.thread_id)
            if len(totals.named_threads) < _NAMED:
                totals.named_threads.append({"thread_id": chosen.thread_id, "error": str(error)[:_TEXT]})
            self._book.note(name, {"thread_id": chosen.thread_id})  # so that an earlier file of it stays
            return
        skipped = [
            {"thread_id": chosen.thread_id, "run_id": run_id, **about} for run_id, about in sorted(chosen.left.items())
        ]
        totals.skipped += len(skipped)
        totals.named_runs += skipped[: _NAMED - len(totals.named_runs)]
        if chosen.seen:
            entry = {"thread_id": chosen.thread_id, **file, "runs": len(chosen.runs), "picked_up": chosen.picked_up}
            self._book.note(
                name if file["file"] else f"_{name}",
                {**entry, "skipped": [{name: run[name] for name in run if name != "thread_id"} for run in skipped]},
            )

    def _land(self, name: str, chosen: Chosen, queue: Queue) -> dict[str, Any]:
        plan, totals = self._plan, self._totals
        rows, exported = 0, []
        written = None
        with ExitStack() as files:
            for run in queue.runs():
                for page in run.pages():
                    if page and written is None:
                        written = files.enter_context(atomic_write(plan.folder / name))
                        encoder = files.enter_context(
                            encode(
                                written.stream,
                                columns=plan.columns,
                                file_format=plan.file_format,
                                compression=plan.compression,
                            )
                        )
                    for row in page:
                        encoder.write(row)
                    rows += len(page)
                exported.append(run.run)
        totals.exported += len(exported)
        totals.picked_up += sum(run.id in chosen.picked_up for run in exported)
        totals.usage = tuple(map(sum, zip(totals.usage, *(run.usage for run in exported), strict=True)))
        totals.rows += rows
        if written is None:
            return {"file": None, "rows": 0, "bytes": 0, "sha256": None}
        totals.files += 1
        totals.bytes += written.bytes
        return {"file": name, "rows": rows, "bytes": written.bytes, "sha256": written.sha256}

    def _manifest(self) -> dict[str, Any]:
        plan, totals = self._plan, self._totals
        digest = hashlib.sha256()
        for line in self._book.entries():
            if (entry := json.loads(line)).get("file"):
                digest.update(f"{entry['sha256']}  {entry['file']}\n".encode())
        return {
            "uri": uri_of(plan.folder),
            **plan.window.to_dict(),
            "window_by": plan.window_by,
            "format": plan.file_format,
            "compression": plan.compression,
            "threads": len(self._book),
            "files": totals.files,
            "runs": {
                "seen": totals.seen,
                "exported": totals.exported,
                "skipped": totals.skipped,
                "failed": totals.failed,
                "picked_up": totals.picked_up,
            },
            "rows": totals.rows,
            "bytes": totals.bytes,
            "sha256": digest.hexdigest(),
            "pages": totals.pages,
            "usage": total_usage([totals.usage]),
            "skipped": totals.named_runs,
            "failed_threads": totals.named_threads,
            "started_at": totals.started_at,
            "finished_at": moment_now(),
            "schema_version": SCHEMA_VERSION,
        }

    def _land_manifest(self, manifest: dict[str, Any]) -> None:
        """Write what is the same however often the window is exported, and a line for each thread with runs."""
        of_this_try = {"uri", "pages", "started_at", "finished_at", "skipped", "failed_threads"}
        head = {name: value for name, value in manifest.items() if name not in of_this_try}
        with atomic_write(self._plan.folder / MANIFEST) as written:
            written.stream.write(json.dumps(head, indent=1)[:-2].encode() + b',\n "details": [')
            separator = "\n"
            for line in self._book.entries():
                written.stream.write(f"{separator}{line}".encode())
                separator = ",\n"
            written.stream.write(b"\n]}\n")


def book_of(thread_ids: Iterable[str]) -> ThreadIndex:
    """Return a book of threads; nothing else has happened yet where one of them is wrong."""
    book = ThreadIndex()
    try:
        book.add(thread_ids)
    except BaseException:
        book.__exit__()
        raise
    return book
