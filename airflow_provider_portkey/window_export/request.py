"""What an export of a window is about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    csv_formulas: str
    overwrite: bool
