"""Encoders: rows to bytes, one row at a time, the same bytes for the same rows."""

from __future__ import annotations

import gzip
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import IO, Any

from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException

from airflow_provider_portkey.jobs.list_spec import OTHER_FIELDS, FixedColumns
from airflow_provider_portkey.jobs.values import read_timestamp
from airflow_provider_portkey.json_values import strict_json

Row = Mapping[str, Any]
#: The declared columns of a table by name, each of a type of ``jobs.list_spec.COLUMN_TYPES``.
Columns = Mapping[str, str]

#: What makes quotes around a field of csv necessary.
_CSV_QUOTED = re.compile(r'[",\r\n]')
#: Maximum rows of a parquet row group: rows in memory are bounded, and groups stay large enough to read well.
_ROW_GROUP_ROWS = 1_000
#: Maximum characters of the strings of a parquet row group, the bound where rows are large.
_ROW_GROUP_CHARACTERS = 16 * 1024 * 1024
#: The first characters of a cell that spreadsheets may run as a formula (OWASP, "CSV Injection").
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
#: Words of a line that may be numbers which JSON does not have.
_NOT_FINITE = re.compile(b"NaN|Infinity")
#: U+2028 and U+2029 end a line to some readers; in JSON they only occur within strings, where an escape is the same.
_LINE_SEPARATORS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"))


class Encoder:
    """Base of the encoders."""

    #: Numbers that JSON does not have (``NaN``, ``Infinity``) and that were written as null.
    non_finite_values = 0

    def write(self, row: Row) -> None:
        """Write a row, or keep it until ``close``."""
        raise NotImplementedError

    def write_line(self, line: bytes, row: Row) -> None:
        """Write a row that was received as a line of JSON."""
        self.write(row)

    def close(self) -> None:
        """Write what was kept."""

    def _json(self, value: Any) -> str:
        """Return a value as strict JSON, and count the numbers that are not finite."""
        text, replaced = strict_json(value)
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
        encoder = _CsvEncoder(stream, columns, csv_formulas) if file_format == "csv" else _JSON[file_format](stream)
        yield encoder
        encoder.close()


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


class _JsonlEncoder(Encoder):
    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def write(self, row: Row) -> None:
        self._stream.write(self._json(row).encode() + b"\n")

    def write_line(self, line: bytes, row: Row) -> None:
        if _NOT_FINITE.search(line):
            before = self.non_finite_values
            encoded = self._json(row).encode()
            line = encoded if self.non_finite_values > before else line  # otherwise the word is in a string
        for separator, escape in _LINE_SEPARATORS:
            line = line.replace(separator, escape)
        self._stream.write(line + b"\n")


class _JsonEncoder(Encoder):
    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._separator = b"[\n"

    def write(self, row: Row) -> None:
        self._stream.write(self._separator + self._json(row).encode())
        self._separator = b",\n"

    def close(self) -> None:
        self._stream.write(b"[]\n" if self._separator == b"[\n" else b"\n]\n")


class _CsvEncoder(Encoder):
    def __init__(self, stream: IO[bytes], columns: Columns, formulas: str) -> None:
        self._stream = stream
        self._columns = columns
        # Only texts can hold a formula: JSON begins with a bracket, a quote, a digit, or the sign of a number.
        self._escaped = [name for name, kind in columns.items() if kind == "text"] if formulas == "escape" else []
        self._write(
            [_without_formula(name) if formulas == "escape" else name for name in (*columns, *_others(columns))]
        )

    def write(self, row: Row) -> None:
        flat = flatten(row, self._columns, self._json)
        for name in self._escaped:
            flat[name] = _without_formula(flat[name])
        self._write(list(flat.values()))

    def _write(self, values: list[Any]) -> None:
        self._stream.write(",".join(map(_csv_field, values)).encode() + b"\n")


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
        self._schema = pyarrow.schema([*fields, *((name, pyarrow.string()) for name in _others(columns))])
        self._columns = columns
        self._writer = pyarrow.parquet.ParquetWriter(stream, self._schema, compression=compression)
        self._rows: list[dict[str, Any]] = []
        self._characters = 0

    def write(self, row: Row) -> None:
        flat = flatten(row, self._columns, self._json)
        self._rows.append(flat)
        self._characters += sum(len(value) for value in flat.values() if isinstance(value, str))
        if len(self._rows) >= _ROW_GROUP_ROWS or self._characters >= _ROW_GROUP_CHARACTERS:
            self._flush()

    def close(self) -> None:
        if self._rows:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        import pyarrow

        self._writer.write_table(pyarrow.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []
        self._characters = 0


_JSON: Mapping[str, Callable[[IO[bytes]], Encoder]] = {"jsonl": _JsonlEncoder, "json": _JsonEncoder}


def flatten(
    row: Row, columns: Columns, to_json: Callable[[Any], str] = lambda value: strict_json(value)[0]
) -> dict[str, Any]:
    """
    Return a row of a table: the declared columns, and all other fields as a JSON string in :data:`OTHER_FIELDS`.

    A value that is not of its column's type is among the other fields, and its column empty.

    :param to_json: Returns a value as JSON.
    """
    flat: dict[str, Any] = dict.fromkeys(columns)
    others = {}
    for name, value in row.items():
        kind = columns.get(name)
        if kind == "json":
            flat[name] = None if value is None else to_json(value)
        elif kind == "text" and isinstance(value, str):
            flat[name] = _encodable(value)
        elif kind == "integer" and type(value) is int and abs(value) < 2**63:
            flat[name] = value
        elif kind == "number" and type(value) in (int, float) and _is_float(value):
            flat[name] = float(value)
        elif kind == "boolean" and isinstance(value, bool):
            flat[name] = value
        elif kind == "timestamp" and (timestamp := read_timestamp(value)):
            flat[name] = timestamp
        elif kind is None or value is not None:
            others[name] = value
    if not isinstance(columns, FixedColumns):
        flat[OTHER_FIELDS] = to_json(others) if others else None
    elif others:
        raise ValueError(f"A table with fixed columns has no place for {sorted(others)}.")
    return flat


def _others(columns: Columns) -> tuple[str, ...]:
    """Return the name of the column of the other fields, if a table has one."""
    return () if isinstance(columns, FixedColumns) else (OTHER_FIELDS,)


def _without_formula(text: Any) -> Any:
    """Return a text with an apostrophe before what begins a formula in spreadsheets."""
    return f"'{text}" if isinstance(text, str) and text.startswith(_FORMULA_STARTS) else text


def _is_float(value: float) -> bool:
    """Return whether a number is finite and has the same value as a float of 64 bits."""
    return math.isfinite(value) if isinstance(value, float) else abs(value) <= 2**53


def _csv_field(value: str | float | datetime | None) -> str:
    """Return a value of a row: null is an empty field, and an empty string is quoted, as in PostgreSQL's ``COPY``."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if text == "" or _CSV_QUOTED.search(text):
        return '"' + text.replace('"', '""') + '"'
    return text


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
