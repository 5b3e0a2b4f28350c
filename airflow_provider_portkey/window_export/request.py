"""What an export of a window is about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_portkey.export.atomic import file_path
from airflow_provider_portkey.validation import iter_ids
from airflow_provider_portkey.window_export.thread_ids import read_id_file

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What to export: the parameters of ``PortkeyThreadStepsToObjectStorageOperator`` under the same names."""

    thread_ids: Iterable[str] | str | None
    thread_ids_path: str | None
    window_start: str | datetime
    window_end: str | datetime
    window_by: str
    on_unfinished: str
    max_run_seconds: float
    max_concurrent_requests: int
    include: Sequence[str] | None
    include_messages: bool
    include_runs: bool
    path: str
    object_storage_conn_id: str | None
    file_format: str
    compression: str | None
    overwrite: bool

    def iter_thread_ids(self) -> Iterable[str]:
        """
        Return an iterable over the threads, each checked as it is taken.

        :raises PortkeyInvalidArgumentError: naming the id, or the line, that is wrong.
        """
        if self.thread_ids_path is None:
            return iter_ids("thread_ids", self.thread_ids)
        return read_id_file(file_path(self.thread_ids_path, self.object_storage_conn_id, field="thread_ids_path"))
