"""Log rows in Hive partitions by their day: one file for each day of a window, which the window replaces as a whole."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from airflow_provider_portkey.export.atomic import names_of, refuse_existing
from airflow_provider_portkey.export.jsonl import read_object
from airflow_provider_portkey.export.partition import check_folder_writable, file_name, keep_only, stamp, sweep
from airflow_provider_portkey.export.progress import ExportProgress
from airflow_provider_portkey.export.writer import open_writer
from airflow_provider_portkey.jobs.values import read_timestamp
from airflow_provider_portkey.log_export.rows import TABLES, typed_row

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_portkey.export.formats import Columns
    from airflow_provider_portkey.export.window import Window

log = logging.getLogger(__name__)

#: The partition of rows whose day is not known; readers of Hive partitions take it for null.
NO_DATE = "__HIVE_DEFAULT_PARTITION__"
#: Files of days that are open at once while rows are sorted into days.
_OPEN_FILES = 64


class DatePartitions:
    """
    Sorts rows into days on the worker's disk, and then writes the file of each day, one after the other.

    Memory holds one row while rows are sorted, and the rows of one row group while a file is written. Nothing is at
    its path before all rows are there.

    :param folder: The folder of all partitions.
    :param window: Names the files: another window has other files.
    :param overwrite: As of ``open_writer``.
    """

    def __init__(
        self,
        folder: ObjectStoragePath,
        window: Window,
        *,
        columns: Columns,
        file_format: str,
        compression: str | None,
        csv_formulas: str,
        overwrite: bool,
    ) -> None:
        self._folder = folder
        self._window = window
        self._format: dict[str, Any] = {
            "columns": columns,
            "file_format": file_format,
            "compression": compression,
            "csv_formulas": csv_formulas,
            "overwrite": overwrite,
        }
        self._overwrite = overwrite
        self._stem = f"{stamp(window.start)}-{stamp(window.end)}"
        self._name = file_name(self._stem, file_format, compression)
        self._opened = ExitStack()
        self._sorted: Path | None = None
        self._open: dict[str, IO[bytes]] = {}
        self._dates: set[str] = set()

    def __enter__(self) -> DatePartitions:
        self._sorted = Path(self._opened.enter_context(tempfile.TemporaryDirectory(prefix="portkey-logs-")))
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._close()
        self._opened.close()

    def check_destination(self) -> None:
        """
        Check, before anything is sent, that the files may be written.

        :raises PortkeyDestinationExistsError: where a file of the window exists and ``overwrite`` is off.
        :raises PortkeyPathError: where files cannot be written to the folder.
        """
        check_folder_writable(self._folder)
        if not self._overwrite:
            for date in self._possible_dates():
                refuse_existing(self._path_of(date), overwrite=False)

    def write_line(self, line: bytes, row: Mapping[str, Any]) -> None:
        """Sort a row into its day."""
        timestamp = read_timestamp(row.get("created_at"))
        date = NO_DATE if timestamp is None else timestamp.date().isoformat()
        if (file := self._open.get(date)) is None:
            if len(self._open) >= _OPEN_FILES:
                self._close()
            file = self._open[date] = (cast("Path", self._sorted) / date).open("ab")
            self._dates.add(date)
        file.write(line + b"\n")

    def publish(self) -> dict[str, Any]:
        """
        Write the files, and return their part of the manifest.

        Files of an earlier export of the same window that are not part of this one are removed.

        :raises PortkeyDestinationExistsError: where a file was created meanwhile and ``overwrite`` is off.
        """
        self._close()
        total: dict[str, Any] = {"rows": 0, "bytes": 0, "non_finite_values": 0}
        digest = hashlib.sha256()
        dates = {}
        progress = self._opened.enter_context(ExportProgress(self._folder))
        for date in sorted(self._dates):
            path = self._path_of(date)
            sweep(path.parent, name=path.name)
            with open_writer(path, **self._format, progress=progress) as writer:
                for line, row in self._rows(date):
                    writer.write_line(line, typed_row(row) if self._format["file_format"] in TABLES else row)
            dates[date] = writer.rows
            digest.update(f"{writer.sha256}  date={date}/{self._name}\n".encode())
            for name in total:
                total[name] += getattr(writer, name)
        for date in {*self._possible_dates(), *self._dates}:
            wanted = self._name if date in self._dates else None
            keep_only(
                self._path_of(date).parent,
                lambda name, wanted=wanted: name == wanted or not name.startswith(f"{self._stem}."),  # type: ignore[misc]
            )
        return {
            **names_of(self._folder),
            "file_format": self._format["file_format"],
            "compression": self._format["compression"],
            **total,
            "sha256": digest.hexdigest(),
            "partition_by": "date",
            "file": self._name,
            "files": len(dates),
            "dates": dates,
        }

    def _rows(self, date: str) -> Iterator[tuple[bytes, dict[str, Any]]]:
        with (cast("Path", self._sorted) / date).open("rb") as file:
            for line in file:
                stripped = line.removesuffix(b"\n")
                yield stripped, read_object(stripped)

    def _path_of(self, date: str) -> Any:
        return self._folder / f"date={date}" / self._name

    def _possible_dates(self) -> Iterator[str]:
        """Yield the days of the window, that of its end included, and that of rows without a day."""
        day = self._window.start.date()
        while day <= self._window.end.date():
            yield day.isoformat()
            day += timedelta(days=1)
        yield NO_DATE

    def _close(self) -> None:
        for file in self._open.values():
            file.close()
        self._open.clear()
