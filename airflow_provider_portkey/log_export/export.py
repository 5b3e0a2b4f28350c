"""One export of Portkey's logs: the request from a task's parameters, and the file from finished log exports."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError, PortkeyRowsMismatchError
from airflow_provider_portkey.export.atomic import check_destination, file_path
from airflow_provider_portkey.export.formats import check_installed
from airflow_provider_portkey.export.manifest import build_manifest
from airflow_provider_portkey.export.partition import folder_path
from airflow_provider_portkey.export.window import read_window
from airflow_provider_portkey.export.writer import RowWriter, open_writer
from airflow_provider_portkey.jobs.log_export import LOG_COLUMNS
from airflow_provider_portkey.log_export.partitions import DatePartitions
from airflow_provider_portkey.log_export.rows import TABLES, join_parts
from airflow_provider_portkey.log_export.session import LogExportSession, LogRequest

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_portkey.hooks.portkey import PortkeyHook

log = logging.getLogger(__name__)

#: Seconds after which a log is taken to have arrived: collectors of Portkey's logs wait as long.
_ARRIVAL = 300.0
#: Filters that the operator itself sets.
_OWN_FILTERS = frozenset(
    {"time_of_generation_min", "time_of_generation_max", "created_at", "page_size", "current_page"}
)
#: Differences from Portkey's count that a message names.
_DIFFERENCES_SHOWN = 5


@dataclass(kw_only=True)
class LogExportFile:
    """
    The parameters of one export, with those of ``PortkeyLogsToObjectStorageOperator``.

    :raises PortkeyInvalidArgumentError: naming the parameter that is wrong.
    :raises PortkeyDestinationExistsError: where the file exists and ``overwrite`` is off.
    """

    path: str
    window_start: Any
    window_end: Any
    requested_data: Sequence[str] | None
    filters: Mapping[str, Any] | None
    workspace_id: str | None
    object_storage_conn_id: str | None
    file_format: str
    compression: str | None
    csv_formulas: str
    overwrite: bool
    on_mismatch: str
    partition_by: str | None
    description: str

    def __post_init__(self) -> None:
        check_installed(self.file_format, self.compression)
        path_of = file_path if self.partition_by is None else folder_path
        self._path: ObjectStoragePath = path_of(self.path, self.object_storage_conn_id)
        fields = list(LOG_COLUMNS) if self.requested_data is None else self.requested_data
        if isinstance(fields, str) or not fields or not all(isinstance(name, str) for name in fields):
            expected = "a list of fields, such as ['id', 'cost']"
            raise PortkeyInvalidArgumentError("requested_data", fields, expected)
        if self.partition_by and "created_at" not in fields:
            raise PortkeyInvalidArgumentError("requested_data", fields, "created_at among the fields, for partition_by")
        filters = self.filters or {}
        if not isinstance(filters, Mapping) or _OWN_FILTERS & filters.keys():
            own = ", ".join(sorted(_OWN_FILTERS))
            expected = f"filters by name, without those that the operator itself sets ({own})"
            raise PortkeyInvalidArgumentError("filters", filters, expected)
        window = read_window(self.window_start, self.window_end)
        self.request = LogRequest(window, filters, list(fields), self.workspace_id or None, self.description)

    @property
    def columns(self) -> dict[str, str]:
        """The columns of a table of these rows; a field that Portkey's schema does not name is JSON."""
        return {name: LOG_COLUMNS.get(name, "json") for name in self.request.requested_data}

    def check_destination(self) -> None:
        """
        Check, before anything is sent, that the file may be written; warn of a window that is too recent.

        :raises PortkeyDestinationExistsError: where the file exists and ``overwrite`` is off.
        """
        if self.partition_by:
            self._partitions().check_destination()
        else:
            check_destination(self._path, overwrite=self.overwrite)
        end = self.request.window.end
        if end.timestamp() > time.time() - _ARRIVAL:
            log.warning(
                "The window ends at %s, which is not %d minutes ago: logs that arrive later will be missing.",
                end,
                _ARRIVAL // 60,
            )

    def write(self, session: LogExportSession, hook: PortkeyHook) -> dict[str, Any]:
        """
        Write the rows of finished log exports to the file, and return its manifest.

        :raises PortkeyRowsMismatchError: where the rows are not those that Portkey had counted; nothing is written.
        """
        with self._open() as writer:
            joined = join_parts(session.plan, hook.iter_log_export, writer, typed=self.file_format in TABLES)
            if differences := joined.differences(session.plan):
                self._on_differences(differences, session)
            published = writer.publish() if isinstance(writer, DatePartitions) else None
        written = published or writer.summary()  # type: ignore[union-attr]
        session.clear()
        log.info("%d logs (%d bytes) are in %s.", written["rows"], written["bytes"], self.path)
        about: dict[str, Any] = {
            **self.request.window.to_dict(),
            "parts": [
                {"export_id": part.export_id, **part.window.to_dict(), "total": part.total, "rows": rows}
                for part, rows in zip(session.plan.parts, joined.rows, strict=True)
            ],
            "started_at": datetime.fromtimestamp(session.since, tz=UTC).isoformat(timespec="milliseconds"),
        }
        return build_manifest(**written, **about)

    def _open(self) -> AbstractContextManager[RowWriter | DatePartitions]:
        return self._partitions() if self.partition_by else open_writer(self._path, **self._format)

    def _partitions(self) -> DatePartitions:
        return DatePartitions(self._path, self.request.window, **self._format)

    @property
    def _format(self) -> dict[str, Any]:
        return {
            "columns": self.columns,
            "file_format": self.file_format,
            "compression": self.compression,
            "csv_formulas": self.csv_formulas,
            "overwrite": self.overwrite,
        }

    def _on_differences(self, differences: list[str], session: LogExportSession) -> None:
        message = f"The rows are not those that Portkey had counted: {'; '.join(differences[:_DIFFERENCES_SHOWN])}."
        if self.on_mismatch == "warn":
            log.warning("%s", message)
            return
        session.forget()
        raise PortkeyRowsMismatchError(
            f"{message} Nothing was written, and a retry exports again. Logs that arrive late are the usual reason: "
            "let the task start some minutes after the end of its window."
        )
