"""Outcomes of a batch, read as a stream from what the export wrote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.batch.outcome_columns import parse_line
from airflow_provider_portkey.batch.rows import format_by_name, open_table

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath


def iter_outcomes(path: ObjectStoragePath) -> Iterator[dict[str, Any]]:
    """
    Yield the lines of a file, or the rows of a table; a file whose name says nothing has JSON lines.

    :raises PortkeyPathError: where the file cannot be read.
    :raises PortkeyLineInvalidError: naming the first row that cannot be read.
    """
    with open_table(path, format_by_name(str(path)) or "jsonl") as table:
        yield from map(parse_line, table.rows)
