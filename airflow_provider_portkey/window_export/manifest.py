"""The totals of a window's export, and its manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.exceptions import PortkeyRowsMismatchError, PortkeyThreadsFailedError
from airflow_provider_portkey.export.atomic import atomic_write, uri_of
from airflow_provider_portkey.export.manifest import build_manifest, timestamp_now
from airflow_provider_portkey.jobs.run import TOKENS
from airflow_provider_portkey.jobs.usage import UsageSum
from airflow_provider_portkey.window_export.runs import RunSummary

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_portkey.export.window import Window
    from airflow_provider_portkey.export.writer import RowWriter
    from airflow_provider_portkey.window_export.export import ExportRequest
    from airflow_provider_portkey.window_export.thread_ids import ThreadIndex

#: Maximum runs and threads that XCom names; the manifest file names all.
_MAX_NAMED = 20
#: Maximum characters of an error in XCom.
_MAX_ERROR_LENGTH = 300
#: Fields of the returned manifest that the file leaves out: they may differ between exports of the same runs, or are
#: in its details.
_NOT_IN_FILE = frozenset({"uri", "pages", "started_at", "finished_at", "skipped", "failed_threads"})


@dataclass
class Totals:
    """Counts threads, runs, rows and files during the export."""

    started_at: str = field(default_factory=timestamp_now)
    files: int = 0
    rows: int = 0
    bytes: int = 0
    non_finite_values: int = 0
    seen: int = 0
    exported: int = 0
    skipped: int = 0
    failed: int = 0
    carried_over: int = 0
    usage: UsageSum = field(default_factory=lambda: UsageSum(dict.fromkeys(TOKENS, 0)))
    pages: int = 0
    named_runs: list[dict[str, Any]] = field(default_factory=list)
    named_threads: list[dict[str, str]] = field(default_factory=list)
    failed_threads: list[str] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def add_page(self) -> None:
        """Count a page; called by several threads."""
        with self._lock:
            self.pages += 1

    def add_file(self, writer: RowWriter, runs: Sequence[RunSummary], *, carried_over: int) -> None:
        """Count the runs of a thread and the file that was written, if any."""
        self.exported += len(runs)
        self.carried_over += carried_over
        for run in runs:
            self.usage.add(run.usage)
        self.rows += writer.rows
        self.bytes += writer.bytes
        self.non_finite_values += writer.non_finite_values
        self.files += writer.rows > 0

    def add_skipped(self, thread_id: str, runs: Sequence[Mapping[str, Any]]) -> None:
        """Count the runs of a thread that are carried over to a later window."""
        self.skipped += len(runs)
        named = runs[: _MAX_NAMED - len(self.named_runs)]
        self.named_runs += ({"thread_id": thread_id, **run} for run in named)

    def add_failed_thread(self, thread_id: str, runs: int, error: Exception) -> None:
        """Count a thread that failed, and its runs."""
        self.failed += runs
        self.failed_threads.append(thread_id)
        if len(self.named_threads) < _MAX_NAMED:
            self.named_threads.append({"thread_id": thread_id, "error": str(error)[:_MAX_ERROR_LENGTH]})

    def manifest(
        self, request: ExportRequest, window: Window, folder: ObjectStoragePath, index: ThreadIndex
    ) -> dict[str, Any]:
        """
        Return the manifest.

        :raises PortkeyRowsMismatchError: where a run was seen and is not accounted for.
        """
        if self.seen != self.exported + self.skipped + self.failed:
            raise PortkeyRowsMismatchError(
                f"Of {self.seen} runs {self.exported} were exported, {self.skipped} skipped and {self.failed} failed, "
                "which is not all of them."
            )
        digest = hashlib.sha256()
        for entry in map(json.loads, index.entries()):
            if entry.get("file"):
                digest.update(f"{entry['sha256']}  {entry['file']}\n".encode())
        runs = {name: getattr(self, name) for name in ("seen", "exported", "skipped", "failed", "carried_over")}
        return build_manifest(
            uri=uri_of(folder),
            file_format=request.file_format,
            compression=request.compression,
            rows=self.rows,
            bytes=self.bytes,
            sha256=digest.hexdigest(),
            non_finite_values=self.non_finite_values,
            **window.to_dict(),
            window_by=request.window_by,
            threads=len(index),
            files=self.files,
            runs=runs,
            skipped=self.named_runs,
            failed_threads=self.named_threads,
            pages=self.pages,
            usage=self.usage.to_dict(),
            started_at=self.started_at,
        )

    def failure(self, manifest: Mapping[str, Any]) -> PortkeyThreadsFailedError:
        """Return the error that names the failed threads."""
        names = ", ".join(repr(each["thread_id"]) for each in self.named_threads)
        more = len(self.failed_threads) - len(self.named_threads)
        return PortkeyThreadsFailedError(
            f"{len(self.failed_threads)} of {manifest['threads']} threads failed: {names}"
            f"{f' and {more} more' if more else ''}. The first: {self.named_threads[0]['error']} "
            "The files of all others are written.",
            manifest=manifest,
        )


def write_manifest(path: ObjectStoragePath, manifest: Mapping[str, Any], entries: Iterable[str]) -> None:
    """
    Write the manifest file: the same bytes for the same runs, with an entry for each thread that had runs.

    :param entries: As JSON.
    """
    head = {name: value for name, value in manifest.items() if name not in _NOT_IN_FILE}
    with atomic_write(path) as written:
        written.stream.write(json.dumps(head, indent=1)[:-2].encode() + b',\n "details": [')
        separator = "\n"
        for entry in entries:
            written.stream.write(f"{separator}{entry}".encode())
            separator = ",\n"
        written.stream.write(b"\n]}\n")
