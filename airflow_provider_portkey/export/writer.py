"""The writer of all exports: rows, encoder, compression, atomic file."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.export.atomic import WrittenFile, atomic_write, names_of
from airflow_provider_portkey.export.formats import Columns, Encoder, Row, encode, unlike_name
from airflow_provider_portkey.export.progress import ExportProgress

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    Line = bytes

log = logging.getLogger(__name__)


@dataclass
class RowWriter:
    """
    Writes rows to one file; made by :func:`open_writer`.

    :param opened: Closes the file and its encoder.
    :param progress: Counts each row as well.
    :param rows: The rows so far.
    """

    path: ObjectStoragePath
    opened: ExitStack
    progress: ExportProgress
    columns: Columns
    file_format: str
    compression: str | None
    overwrite: bool
    csv_formulas: str = "keep"
    rows: int = 0
    _file: WrittenFile | None = None
    _encoder: Encoder | None = None

    def write(self, row: Row) -> None:
        """Write a row."""
        self.write_rows([row])

    def write_rows(self, rows: Sequence[Row]) -> None:
        """Write rows, such as those of a page: quicker than one by one, and the same bytes."""
        if rows:
            self.open().write_rows(rows)
            self.rows += len(rows)
            self.progress.add_rows(len(rows))

    def write_line(self, line: Line, row: Row) -> None:
        """
        Write a row that was received as a line of JSON: the line unchanged in jsonl, the row in other formats.

        :param line: Without its line end.
        """
        self.open().write_line(line, row)
        self.rows += 1
        self.progress.add_rows(1)

    @property
    def bytes(self) -> int:
        """The size as stored, known after the block; 0 without a file."""
        return self._file.bytes if self._file else 0

    @property
    def non_finite_values(self) -> int:
        """The numbers so far that JSON does not have, and that were written as null."""
        return self._encoder.non_finite_values if self._encoder else 0

    @property
    def sha256(self) -> str | None:
        """The hash of the stored bytes in hexadecimal, known after the block; ``None`` without a file."""
        return self._file.sha256 if self._file else None

    def summary(self) -> dict[str, Any]:
        """Return the file's part of a manifest: arguments of ``build_manifest``."""
        return {
            **names_of(self.path),
            "file_format": self.file_format,
            "compression": self.compression,
            "rows": self.rows,
            "bytes": self.bytes,
            "sha256": self.sha256,
            "non_finite_values": self.non_finite_values,
        }

    def open(self) -> Encoder:
        """Open the file at the first call, and return its encoder."""
        if self._encoder is None:
            self._file = self.opened.enter_context(atomic_write(self.path, overwrite=self.overwrite))
            encoder = encode(
                self._file.stream,
                columns=self.columns,
                file_format=self.file_format,
                compression=self.compression,
                csv_formulas=self.csv_formulas,
            )
            self._encoder = self.opened.enter_context(encoder)
        return self._encoder


@contextmanager
def open_writer(
    path: ObjectStoragePath,
    *,
    columns: Columns,
    file_format: str = "jsonl",
    compression: str | None = None,
    csv_formulas: str = "keep",
    overwrite: bool = True,
    skip_empty: bool = False,
    progress: ExportProgress | None = None,
) -> Iterator[RowWriter]:
    """
    Write rows to a file that is at its path after the block, unless the block raised.

    :param columns: The columns of csv and parquet; the other formats write each row as it is.
    :param file_format: ``"jsonl"``, ``"json"``, ``"csv"`` or ``"parquet"``.
    :param compression: ``None``, ``"gzip"`` or ``"zstd"``.
    :param csv_formulas: ``"keep"`` or ``"escape"``.
    :param overwrite: Replace a file that was created at the path meanwhile.
    :param skip_empty: Write no file where there is no row.
    :param progress: Of an export of several files, whose block encloses this one; ``None`` for one file alone.
    :raises PortkeyDestinationExistsError: where a file was created at the path meanwhile and ``overwrite`` is off.
    """
    if unlike := unlike_name(str(path), file_format, compression):
        log.warning("%s: %s.", path, unlike)
    with ExitStack() as opened:
        progress = progress or opened.enter_context(ExportProgress(path))
        writer = RowWriter(path, opened, progress, columns, file_format, compression, overwrite, csv_formulas)
        if not skip_empty:
            writer.open()
        yield writer
