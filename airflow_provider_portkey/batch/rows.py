"""Rows of a table, read as a stream: jsonl, csv or parquet at any path, or a list."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, time, timedelta
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_portkey.batch.input import read_chunks
from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError, PortkeyLineInvalidError
from airflow_provider_portkey.export.formats import check_installed
from airflow_provider_portkey.export.jsonl import iter_objects, split_lines
from airflow_provider_portkey.export.local_files import path_errors

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

Row = dict[str, Any]

#: The format of a file by the end of its name, before that of its compression.
FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
#: Rows of a parquet file that are in memory at once.
_PARQUET_ROWS = 1_000
#: Bytes of each column that are read at once: a row group may have any size.
_PARQUET_BYTES = 1024 * 1024
#: Characters of a field of csv; Python's own limit is 131,072.
_CSV_FIELD_CHARACTERS = 64 * 1024 * 1024


class Table:
    """
    Rows, and the names of their columns where these are known before the rows are read.

    :param columns: Of csv, parquet and lists; ``None`` for jsonl, where each row has fields of its own.
    :param name: What errors call the table.
    """

    def __init__(self, rows: Iterator[Row], columns: list[str] | None, name: str) -> None:
        self.rows = rows
        self.columns = columns
        self.name = name


def list_table(rows: object) -> Table:
    """
    Return the table of a list of rows.

    :raises PortkeyInvalidArgumentError: for anything but an iterable of mappings.
    """
    expected = "a list of rows, each a mapping of columns to values"
    if isinstance(rows, str | bytes | Mapping) or not hasattr(rows, "__iter__"):
        raise PortkeyInvalidArgumentError("rows", rows, expected)
    found: list[Row] = []
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise PortkeyInvalidArgumentError(f"rows[{number}]", row, expected)
        found.append({str(name): plain(value) for name, value in row.items()})
    columns = list(dict.fromkeys(name for row in found for name in row))
    return Table(iter(found), columns if found else None, "rows")


def format_of(path: str, file_format: str | None = None, *, field: str = "rows_path") -> str:
    """
    Return the format of a file: the one that is given, or that of the end of its name.

    :raises PortkeyInvalidArgumentError: where neither says it.
    """
    if (found := file_format or format_by_name(path)) is None:
        expected = f"a path that ends in {', '.join(FORMATS)}, or a format beside it"
        raise PortkeyInvalidArgumentError(field, path, expected)
    return found


def format_by_name(path: str) -> str | None:
    """Return the format that the end of a file's name stands for, ``None`` for another end."""
    stem = path.lower()
    for ending in _COMPRESSIONS:
        stem = stem.removesuffix(ending)
    return next((kind for ending, kind in FORMATS.items() if stem.endswith(ending)), None)


@contextmanager
def open_table(path: ObjectStoragePath, file_format: str, *, columns: list[str] | None = None) -> Iterator[Table]:
    """
    Open a file of rows; names that end in ``.gz`` and ``.zst`` are compressed.

    :param file_format: ``"jsonl"``, ``"csv"`` or ``"parquet"``.
    :param columns: Columns of a parquet file to read, those of them that are there; ``None`` for all.
    :raises PortkeyPathError: where the file cannot be read.
    :raises PortkeyLineInvalidError: naming the first row that cannot be read.
    """
    name = str(path)
    compression = next((kind for ending, kind in _COMPRESSIONS.items() if name.lower().endswith(ending)), None)
    check_installed(file_format, compression)
    with path_errors(path, "read"), cast("Any", path).open("rb") as file:
        if file_format == "parquet":
            yield _parquet(file, name, columns)
            return
        with _decompressed(file, compression) as content:
            if file_format == "csv":
                yield _csv(content, name)
            else:
                yield Table(map(_finite, iter_objects(split_lines(read_chunks(content)), name)), None, name)


@contextmanager
def _decompressed(file: Any, compression: str | None) -> Iterator[Any]:
    if compression == "gzip":
        with gzip.GzipFile(fileobj=file) as content:
            yield content
    elif compression == "zstd":
        import zstandard

        with zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=False) as content:
            yield content
    else:
        yield file


def plain(value: Any) -> Any:
    """Return a value as JSON has it: dates and times in ISO 8601, decimals as text, bytes in base64."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, list | tuple) else _scalar(value)


def _finite(row: Row) -> Row:
    """Return a row of JSON without the numbers that JSON does not have, which Python writes and reads."""
    if any(isinstance(value, float) and not math.isfinite(value) for value in row.values()):
        return {name: plain(value) for name, value in row.items()}
    return row


def _scalar(value: Any) -> Any:
    if isinstance(value, date | time):  # datetime is a date
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    found = value.item() if hasattr(value, "item") else value  # of numpy and the like
    return str(value) if found is value else plain(found)


def _parquet(file: Any, name: str, columns: list[str] | None) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(file, buffer_size=_PARQUET_BYTES, pre_buffer=False)
    except pyarrow.ArrowInvalid as error:
        raise PortkeyLineInvalidError(f"{name} is no parquet file: {error}") from None
    names = list(table.schema_arrow.names)
    read = names if columns is None else [one for one in names if one in columns]

    def rows() -> Iterator[Row]:
        for batch in table.iter_batches(batch_size=_PARQUET_ROWS, columns=read):
            for row in batch.to_pylist():
                yield {column: plain(value) for column, value in row.items()}

    return Table(rows(), names, name)


def _csv(file: Any, name: str) -> Table:
    csv.field_size_limit(max(csv.field_size_limit(), _CSV_FIELD_CHARACTERS))
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    reader = csv.reader(text, strict=True)
    try:
        header = next(reader, [])
    except (csv.Error, UnicodeDecodeError) as error:
        raise PortkeyLineInvalidError(f"{name}: line 1 cannot be read as csv in UTF-8: {error}") from None
    if twice := sorted({column for column in header if header.count(column) > 1}):
        raise PortkeyLineInvalidError(f"{name}: the header names {', '.join(map(repr, twice))} more than once.")

    def rows() -> Iterator[Row]:
        try:
            for values in reader:
                if len(values) != len(header):
                    if not values:
                        continue  # a blank line
                    raise PortkeyLineInvalidError(
                        f"{name}: line {reader.line_num} has {len(values)} fields, the header has {len(header)}."
                    )
                yield dict(zip(header, values, strict=True))
        except (csv.Error, UnicodeDecodeError) as error:
            raise PortkeyLineInvalidError(
                f"{name}: line {reader.line_num} cannot be read as csv in UTF-8: {error}"
            ) from None

    return Table(rows(), header, name)
