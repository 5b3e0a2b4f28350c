"""The totals of a window's export, and its manifest."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.exceptions import PortkeyRowsMismatchError, PortkeyThreadsFailedError
from airflow_provider_portkey.export.atomic import atomic_write, names_of
from airflow_provider_portkey.export.manifest import build_manifest, timestamp_now
from airflow_provider_portkey.jobs.run import TOKENS
from airflow_provider_portkey.jobs.usage import UsageSum
from airflow_provider_portkey.window_export.layout import RUNS, STEPS
from airflow_provider_portkey.window_export.runs import RunSummary

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_portkey.export.window import Window
    from airflow_provider_portkey.export.writer import RowWriter
    from airflow_provider_portkey.window_export.layout import WindowFolders
    from airflow_provider_portkey.window_export.request import ExportRequest
    from airflow_provider_portkey.window_export.thread_ids import ThreadIndex

#: What the fields of each kind of file begin with, in the manifest and in its entries.
_FIELD_PREFIX = {STEPS: "", RUNS: "runs_"}
#: Maximum runs and threads that XCom names; the manifest file names all.
_MAX_NAMED = 20
#: Maximum characters of an error in XCom.
_MAX_ERROR_LENGTH = 300
#: Fields of the returned manifest that the file leaves out: they may differ between exports of the same runs, or are
#: in its details.
_NOT_IN_FILE = frozenset(
    {"uri", "path", "runs_uri", "runs_path", "pages", "started_at", "finished_at", "skipped", "failed_threads"}
)


@dataclass
class Totals:
    """Counts threads, runs, rows and files during the export."""

    started_at: str = field(default_factory=timestamp_now)
    files: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    non_finite_values: Counter[str] = field(default_factory=Counter)
    status_counts: Counter[str] = field(default_factory=Counter)
    seen: int = 0
    exported: int = 0
    skipped: int = 0
    failed: int = 0
    carried_over: int = 0
    usage: UsageSum = field(default_factory=lambda: UsageSum(dict.fromkeys(TOKENS, 0)))
    named_runs: list[dict[str, Any]] = field(default_factory=list)
    named_threads: list[dict[str, str]] = field(default_factory=list)
    failed_threads: list[str] = field(default_factory=list)

    def add_runs(self, runs: Sequence[RunSummary], *, carried_over: int) -> None:
        """Count the exported runs of a thread."""
        self.exported += len(runs)
        self.carried_over += carried_over
        for run in runs:
            self.usage.add(run.usage)
        self.status_counts.update(run.status for run in runs)

    def add_file(self, kind: str, writer: RowWriter) -> None:
        """Count a file of steps or runs that was written."""
        self.rows[kind] += writer.rows
        self.bytes[kind] += writer.bytes
        self.non_finite_values[kind] += writer.non_finite_values
        self.files[kind] += 1

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
        self, request: ExportRequest, window: Window, folders: WindowFolders, index: ThreadIndex, *, pages: int
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
        runs = {name: getattr(self, name) for name in ("seen", "exported", "skipped", "failed", "carried_over")}
        about = {**self._files(STEPS, folders.steps, index), **window.to_dict()}
        if folders.runs is not None:
            about |= self._files(RUNS, folders.runs, index)
        return build_manifest(
            file_format=request.file_format,
            compression=request.compression,
            **about,
            window_by=request.window_by,
            threads=len(index),
            runs=runs,
            status_counts=dict(sorted(self.status_counts.items())),
            skipped=self.named_runs,
            failed_threads=self.named_threads,
            pages=pages,
            usage=self.usage.to_dict(),
            started_at=self.started_at,
        )

    def _files(self, kind: str, folder: ObjectStoragePath, index: ThreadIndex) -> dict[str, Any]:
        digest = hashlib.sha256()
        prefix = _FIELD_PREFIX[kind]
        for entry in map(json.loads, index.entries()):
            if entry.get(f"{prefix}file"):
                digest.update(f"{entry[f'{prefix}sha256']}  {entry[f'{prefix}file']}\n".encode())
        return {
            **names_of(folder, prefix),
            f"{prefix}files": self.files[kind],
            f"{prefix}rows": self.rows[kind],
            f"{prefix}bytes": self.bytes[kind],
            f"{prefix}sha256": digest.hexdigest(),
            f"{prefix}non_finite_values": self.non_finite_values[kind],
        }

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


def entry_of_file(kind: str, writer: RowWriter | None = None) -> dict[str, Any]:
    """Return a file's part of the entry of its thread, ``None`` and zeros where there is no file."""
    about: dict[str, Any] = {"file": None, "rows": 0, "bytes": 0, "sha256": None}
    if writer and writer.rows:
        about = {"file": writer.path.name, **{name: getattr(writer, name) for name in ("rows", "bytes", "sha256")}}
    return {_FIELD_PREFIX[kind] + name: value for name, value in about.items()}


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
