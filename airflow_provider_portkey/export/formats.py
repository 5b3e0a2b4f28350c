"""Encoders: rows to bytes, one page at a time, the same bytes for the same rows, whatever the pages."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import accumulate
from typing import IO, Any

from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException

from airflow_provider_portkey.export.tables import Cell, flatten_rows, other_columns
from airflow_provider_portkey.json_values import escape_separators, strict_json_joined, strict_json_of_all

Row = Mapping[str, Any]
#: The declared columns of a table by name, each of a type of ``jobs.list_spec.COLUMN_TYPES``.
Columns = Mapping[str, str]

#: Bytes that are compressed and written at once, so that the pages of rows do not show in the file.
_BLOCK_BYTES = 64 * 1024
#: What makes quotes around a field of csv necessary.
_CSV_QUOTED = ('"', ",", "\r", "\n")
#: Rows that become Arrow's, which take a fraction of the memory of Python's.
_BATCH_ROWS = 1_000
#: Maximum rows of a parquet row group. Of each group the footer has some 10 KB, which are in memory to the end.
_ROW_GROUP_ROWS = 5_000
#: Maximum characters of the strings of a parquet row group, the bound where rows are large.
_ROW_GROUP_CHARACTERS = 4 * 1024 * 1024
#: The first characters of a cell that spreadsheets may run as a formula (OWASP, "CSV Injection").
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
#: Words of a line that may be numbers which JSON does not have.
_NOT_FINITE = re.compile(b"NaN|Infinity")


class Encoder:
    """Base of the encoders."""

    #: Numbers that JSON does not have (``NaN``, ``Infinity``) and that were written as null.
    non_finite_values = 0

    def write_rows(self, rows: Sequence[Row]) -> None:
        """Write rows, or keep some of them until ``close``."""
        raise NotImplementedError

    def write_line(self, line: bytes, row: Row) -> None:
        """Write a row that was received as a line of JSON."""
        self.write_rows([row])

    def close(self) -> None:
        """Write what was kept."""

    def _json(self, values: Sequence[Any]) -> list[bytes]:
        """Return each value as strict JSON, and count the numbers that are not finite."""
        texts, replaced = strict_json_of_all(values)
        self.non_finite_values += replaced
        return texts

    def _joined_json(self, values: Sequence[Any], separator: bytes) -> bytes:
        """Return values as strict JSON with a separator between them, and count the numbers that are not finite."""
        text, replaced = strict_json_joined(values, separator)
        self.non_finite_values += replaced
        return text


def check_installed(file_format: str, compression: str | None) -> None:
    """
    Import the libraries of a format and a compression.

    :raises AirflowOptionalProviderFeatureException: naming the extra to install.
    """
    extra = "parquet" if file_format == "parquet" else "zstd" if compression == "zstd" else None
    try:
        if extra == "parquet":
            import pyarrow.parquet  # noqa: F401
        elif extra == "zstd":
            import zstandard  # noqa: F401
    except ImportError as error:
        raise AirflowOptionalProviderFeatureException(
            f"A library of this export is not installed: pip install 'airflow-provider-portkey[{extra}]'."
        ) from error


def unlike_name(name: str, file_format: str, compression: str | None) -> str | None:
    """Return what the ending of a file's name says that the file is not; ``None`` where it says nothing else."""
    endings = name.lower().rsplit("/", 1)[-1].split(".")[1:]
    ending = endings.pop() if endings else ""
    packed = {"gz": "gzip", "zst": "zstd"}.get(ending)
    if packed:
        ending = endings.pop() if endings else ""
    if packed and packed != compression:
        return f"the name ends in .{'gz' if packed == 'gzip' else 'zst'}, and compression is {compression!r}"
    if ending in ("parquet", "csv", "jsonl") and ending != file_format:
        return f"the name ends in .{ending}, and file_format is {file_format!r}"
    return None


@contextmanager
def encode(
    target: IO[bytes],
    *,
    columns: Columns,
    file_format: str,
    compression: str | None = None,
    csv_formulas: str = "keep",
) -> Iterator[Encoder]:
    """
    Open an encoder on a stream; the stream itself is left open.

    :param columns: Used by csv and parquet; jsonl and json write each row as it is, its keys sorted.
    :param file_format: ``"jsonl"``, ``"json"``, ``"csv"`` or ``"parquet"``.
    :param compression: ``"gzip"`` or ``"zstd"``: of the whole file, or within the file for parquet, whose own
        default is snappy.
    :param csv_formulas: ``"escape"`` puts an apostrophe before texts of csv that a spreadsheet would run.
    """
    if file_format == "parquet":
        parquet = _ParquetEncoder(target, columns, compression or "snappy")
        try:
            yield parquet
        finally:
            parquet.close()
        return
    with compressed(target, compression) as stream:
        blocks = _Blocks(stream)
        encoder = _CsvEncoder(blocks, columns, csv_formulas) if file_format == "csv" else _JSON[file_format](blocks)
        yield encoder
        encoder.close()
        blocks.flush()


@contextmanager
def compressed(target: IO[bytes], compression: str | None) -> Iterator[IO[bytes]]:
    """Open a stream that compresses into ``target``, which is left open; ``None`` compresses nothing."""
    if compression == "gzip":
        # Neither name nor time in the header: the same rows give the same bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=target, mtime=0) as stream:
            yield stream  # type: ignore[misc]
    elif compression == "zstd":
        import zstandard

        with zstandard.ZstdCompressor().stream_writer(target, closefd=False) as stream:
            yield stream
    else:
        yield target


class _Blocks:
    """Writes blocks of one size, whatever the sizes that come."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._kept = bytearray()

    def write(self, data: bytes) -> None:
        self._kept += data
        if len(self._kept) >= _BLOCK_BYTES:
            end = len(self._kept) - len(self._kept) % _BLOCK_BYTES
            for start in range(0, end, _BLOCK_BYTES):
                self._stream.write(self._kept[start : start + _BLOCK_BYTES])
            del self._kept[:end]

    def flush(self) -> None:
        self._stream.write(self._kept)
        self._kept.clear()


class _JsonlEncoder(Encoder):
    def __init__(self, stream: _Blocks) -> None:
        self._stream = stream

    def write_rows(self, rows: Sequence[Row]) -> None:
        self._stream.write(self._joined_json(rows, b"\n") + b"\n")

    def write_line(self, line: bytes, row: Row) -> None:
        if _NOT_FINITE.search(line):
            before = self.non_finite_values
            (encoded,) = self._json([row])
            line = encoded if self.non_finite_values > before else line  # otherwise the word is in a string
        self._stream.write(escape_separators(line) + b"\n")


class _JsonEncoder(Encoder):
    def __init__(self, stream: _Blocks) -> None:
        self._stream = stream
        self._separator = b"[\n"

    def write_rows(self, rows: Sequence[Row]) -> None:
        self._stream.write(self._separator + self._joined_json(rows, b",\n"))
        self._separator = b",\n"

    def close(self) -> None:
        self._stream.write(b"[]\n" if self._separator == b"[\n" else b"\n]\n")


class _CsvEncoder(Encoder):
    def __init__(self, stream: _Blocks, columns: Columns, formulas: str) -> None:
        self._stream = stream
        self._columns = columns
        # Only texts can hold a formula: JSON begins with a bracket, a quote, a digit, or the sign of a number.
        self._escaped = [kind == "text" and formulas == "escape" for kind in columns.values()]
        self._escaped += [False for _ in other_columns(columns)]
        names = (*columns, *other_columns(columns))
        self._write([[_without_formula(name) if formulas == "escape" else name] for name in names])

    def write_rows(self, rows: Sequence[Row]) -> None:
        columns = flatten_rows(rows, self._columns, self._json)
        self._write(
            [
                list(map(_without_formula, cells)) if is_escaped else cells
                for cells, is_escaped in zip(columns, self._escaped, strict=True)
            ]
        )

    def _write(self, columns: Sequence[Sequence[Cell]]) -> None:
        lines = map(",".join, zip(*map(_csv_column, columns), strict=True))
        self._stream.write("".join(f"{line}\n" for line in lines).encode())


class _ParquetEncoder(Encoder):
    def __init__(self, stream: IO[bytes], columns: Columns, compression: str) -> None:
        import pyarrow
        import pyarrow.parquet

        types = {
            "text": pyarrow.string(),
            "integer": pyarrow.int64(),
            "number": pyarrow.float64(),
            "boolean": pyarrow.bool_(),
            "timestamp": pyarrow.timestamp("us", tz="UTC"),
            "json": pyarrow.string(),
        }
        fields = [(name, types[kind]) for name, kind in columns.items()]
        self._schema = pyarrow.schema([*fields, *((name, pyarrow.string()) for name in other_columns(columns))])
        self._columns = columns
        self._writer = pyarrow.parquet.ParquetWriter(stream, self._schema, compression=compression)
        self._are_texts = [field.type == pyarrow.string() for field in self._schema]
        self._batches: list[Any] = []
        self._kept: list[list[Cell]] = [[] for _ in self._schema]
        self._rows = self._characters = 0

    def write_rows(self, rows: Sequence[Row]) -> None:
        columns = flatten_rows(rows, self._columns, self._json)
        start = 0
        while start < len(rows):
            end = self._end_of_batch(columns, start, len(rows))
            for kept, cells in zip(self._kept, columns, strict=True):
                kept.extend(cells[start:end])
            self._rows += end - start
            start = end
            is_full = self._rows >= _ROW_GROUP_ROWS or self._characters >= _ROW_GROUP_CHARACTERS
            if is_full or self._rows % _BATCH_ROWS == 0:
                self._add_batch()
            if is_full:
                self._flush()

    def close(self) -> None:
        if self._rows % _BATCH_ROWS:
            self._add_batch()
        if self._batches:
            self._flush()
        self._writer.close()

    def _end_of_batch(self, columns: list[list[Cell]], start: int, end: int) -> int:
        """Return the end of the rows that belong to the present batch and row group, and count their characters."""
        end = min(end, start + _BATCH_ROWS - self._rows % _BATCH_ROWS)
        texts: list[Any] = [cells for cells, is_text in zip(columns, self._are_texts, strict=True) if is_text]
        characters = sum(sum(map(len, filter(None, cells[start:end]))) for cells in texts)
        if self._characters + characters >= _ROW_GROUP_CHARACTERS:
            of_rows = (sum(len(cells[at] or "") for cells in texts) for at in range(start, end))
            for at, total in enumerate(accumulate(of_rows, initial=self._characters), start):
                if total >= _ROW_GROUP_CHARACTERS:
                    self._characters = total
                    return at
        self._characters += characters
        return end

    def _add_batch(self) -> None:
        import pyarrow

        arrays = [pyarrow.array(cells, type=field.type) for cells, field in zip(self._kept, self._schema, strict=True)]
        self._batches.append(pyarrow.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._kept = [[] for _ in self._schema]

    def _flush(self) -> None:
        import pyarrow

        self._writer.write_table(pyarrow.Table.from_batches(self._batches))
        self._batches = []
        self._rows = self._characters = 0


_JSON: Mapping[str, Callable[[_Blocks], Encoder]] = {"jsonl": _JsonlEncoder, "json": _JsonEncoder}


def _without_formula(text: Cell) -> Cell:
    """Return a text with an apostrophe before what begins a formula in spreadsheets."""
    return f"'{text}" if isinstance(text, str) and text.startswith(_FORMULA_STARTS) else text


def _csv_column(cells: Sequence[Cell]) -> Sequence[str]:
    """Return the fields of a column; those of most columns need no quotes, as one scan of all of them shows."""
    if set(map(type, cells)) <= {str, type(None)}:
        together = "".join(filter(None, cells))  # type: ignore[arg-type]
        if "" not in cells and not any(mark in together for mark in _CSV_QUOTED):
            return [cell or "" for cell in cells]  # type: ignore[misc]
    return list(map(_csv_field, cells))


def _csv_field(value: Cell) -> str:
    """Return a value of a row: null is an empty field, and an empty string is quoted, as in PostgreSQL's ``COPY``."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if not isinstance(value, str):
        return str(value).lower() if isinstance(value, bool) else str(value)
    if not value or any(mark in value for mark in _CSV_QUOTED):
        return '"' + value.replace('"', '""') + '"'
    return value
