"""Rows as a table: a value for each declared column, and all other fields as JSON in a column of their own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.jobs.list_spec import OTHER_FIELDS, FixedColumns
from airflow_provider_portkey.jobs.values import read_timestamp
from airflow_provider_portkey.json_values import strict_json_of_all

if TYPE_CHECKING:
    from airflow_provider_portkey.export.formats import Columns, Row

Cell = str | float | datetime | None

#: Returns each of some values as JSON.
ToJson = Callable[[Sequence[Any]], Sequence[bytes]]

#: Fewer rows are flattened one by one, which is quicker then.
_FEW = 8


def other_columns(columns: Columns) -> tuple[str, ...]:
    """Return the name of the column of the other fields, if a table has one."""
    return () if isinstance(columns, FixedColumns) else (OTHER_FIELDS,)


def flatten(
    row: Row, columns: Columns, to_json: ToJson = lambda values: strict_json_of_all(values)[0]
) -> dict[str, Cell]:
    """
    Return a row of a table: the declared columns, and all other fields as a JSON string in :data:`OTHER_FIELDS`.

    A value that is not of its column's type is among the other fields, and its column empty.

    :param to_json: Returns each of some values as JSON.
    :raises ValueError: for other fields where the columns are fixed.
    """
    flat: dict[str, Cell] = dict.fromkeys((*columns, *other_columns(columns)))
    nested, others = {}, {}
    for name, value in row.items():
        kind = columns.get(name)
        if kind == "json":
            if value is not None:
                nested[name] = value
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
    if others:
        if isinstance(columns, FixedColumns):
            raise ValueError(f"A table with fixed columns has no place for {sorted(others)}.")
        nested[OTHER_FIELDS] = others
    if nested:
        flat |= zip(nested, map(bytes.decode, to_json(list(nested.values()))), strict=True)
    return flat


def flatten_rows(rows: Sequence[Row], columns: Columns, to_json: ToJson) -> list[list[Cell]]:
    """
    Return the cells that :func:`flatten` returns for each row, column by column: much quicker than row by row.

    :return: A list for each column, the one of the other fields last, with a cell for each row.
    :raises ValueError: for other fields where the columns are fixed.
    """
    if len(rows) >= _FEW and (cells := _by_column(rows, columns, to_json)):
        return cells
    flat = [flatten(row, columns, to_json).values() for row in rows]
    return [list(column) for column in zip(*flat, strict=True)]


def _by_column(rows: Sequence[Row], columns: Columns, to_json: ToJson) -> list[list[Cell]] | None:
    """Return the cells where every value is of its column's type, otherwise ``None``."""
    if not all(type(row) is dict for row in rows):
        return None
    # Types are read before anything becomes JSON: what is not finite is counted once.
    cells: dict[str, list[Any]] = {}
    for name, kind in columns.items():
        values = [row.get(name) for row in rows]
        if (read := values if kind == "json" else _READ[kind](values)) is None:
            return None
        cells[name] = read
    declared = columns.keys()
    others = [
        None if row.keys() <= declared else {name: row[name] for name in row if name not in declared} for row in rows
    ]
    if isinstance(columns, FixedColumns) and any(others):
        return None
    for name, kind in columns.items():
        if kind == "json":
            cells[name] = _json_cells(cells[name], to_json)
    return [*cells.values(), *(_json_cells(others, to_json) for _ in other_columns(columns))]


def _json_cells(values: Sequence[Any], to_json: ToJson) -> list[Cell]:
    texts = map(bytes.decode, to_json([value for value in values if value is not None]))
    return [None if value is None else next(texts) for value in values]


def _texts(values: list[Any]) -> list[Any] | None:
    try:
        "".join(filter(None, values)).encode()
    except (TypeError, UnicodeEncodeError):  # of another type, or half of a surrogate pair
        return None
    return values if _types(values) <= {str} else None


def _integers(values: list[Any]) -> list[Any] | None:
    if not _types(values) <= {int}:
        return None
    numbers = list(filter(None, values))
    return values if not numbers or (max(numbers) < 2**63 and min(numbers) > -(2**63)) else None


def _numbers(values: list[Any]) -> list[Any] | None:
    if _types(values) <= {int, float} and all(_is_float(value) for value in values if value is not None):
        return [None if value is None else float(value) for value in values]
    return None


def _booleans(values: list[Any]) -> list[Any] | None:
    return values if _types(values) <= {bool} else None


def _timestamps(values: list[Any]) -> list[Any] | None:
    read = [None if value is None else read_timestamp(value) for value in values]
    return read if read.count(None) == values.count(None) else None


def _types(values: list[Any]) -> set[type]:
    return set(map(type, values)) - {type(None)}


#: Returns the cells of a column where every value is null or of its type, otherwise ``None``.
_READ: Mapping[str, Callable[[list[Any]], list[Any] | None]] = {
    "text": _texts,
    "integer": _integers,
    "number": _numbers,
    "boolean": _booleans,
    "timestamp": _timestamps,
}


def _is_float(value: float) -> bool:
    """Return whether a number is finite and has the same value as a float of 64 bits."""
    return math.isfinite(value) if isinstance(value, float) else abs(value) <= 2**53


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
