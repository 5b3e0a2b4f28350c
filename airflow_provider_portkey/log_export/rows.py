"""The rows of several log exports in one stream, each line checked, counted and compared with Portkey's own count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from airflow_provider_portkey.exceptions import PortkeyUnexpectedResponseError
from airflow_provider_portkey.export.jsonl import read_object, split_lines
from airflow_provider_portkey.jobs.log_export import LOG_COLUMNS
from airflow_provider_portkey.jobs.values import read_number
from airflow_provider_portkey.log_export.plan import Part, Plan

#: The formats that have columns.
TABLES = ("csv", "parquet")
_BOOLEANS = {0: False, 1: True, "0": False, "1": True, "false": False, "true": True}


class LineWriter(Protocol):
    """Takes the rows."""

    def write_line(self, line: bytes, row: dict[str, Any]) -> None:
        """Write a row that was received as a line of JSON."""


@dataclass
class JoinedRows:
    """
    The counts of what was downloaded.

    :param rows: The lines of each part.
    :param repeated: Lines that were left out because the part before has them too.
    """

    rows: list[int] = field(default_factory=list)
    repeated: int = 0

    @property
    def written(self) -> int:
        """The lines that were written."""
        return sum(self.rows) - self.repeated

    def differences(self, plan: Plan) -> list[str]:
        """Return in words where the counts differ from Portkey's own."""
        found = [
            f"export {part.export_id!r} has {rows} rows instead of {part.total}"
            for part, rows in zip(plan.parts, self.rows, strict=True)
            if rows != part.total
        ]
        if not found and not plan.low <= self.written <= plan.high:
            whole = f"{plan.low}" if plan.low == plan.high else f"{plan.low} to {plan.high}"
            found.append(f"all exports together have {self.written} rows instead of {whole}")
        return found


def join_parts(
    plan: Plan, download: Callable[[str], Iterator[bytes]], writer: LineWriter, *, typed: bool = False
) -> JoinedRows:
    """
    Write the rows of all parts in the order of time, in jsonl each line as Portkey sent it.

    Where the parts overlap, a row at a boundary is in two parts; it is written once, by its ``id``. Only then memory
    holds the ids of two parts, otherwise one line at a time.

    :param download: Returns the JSONL of an export, in chunks of any length.
    :param typed: Whether the writer gets rows for a table, see :func:`typed_row`.
    :raises PortkeyUnexpectedResponseError: for a line that is not a JSON object, naming its export and its number.
    """
    joined = JoinedRows()
    before: set[str] = set()
    for part in plan.parts:
        ids: set[str] = set()
        rows = 0
        for line, row in _rows(part, download(part.export_id)):
            rows += 1
            if plan.overlaps and isinstance(row_id := row.get("id"), str):
                ids.add(row_id)
                if row_id in before:
                    joined.repeated += 1
                    continue
            writer.write_line(line, typed_row(row) if typed else row)
        joined.rows.append(rows)
        before = ids
    return joined


def typed_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row whose numbers and booleans are such where Portkey sent them as text or as 0 and 1."""
    typed = dict(row)
    for name in typed.keys() & LOG_COLUMNS.keys():
        kind, value = LOG_COLUMNS[name], typed[name]
        if kind in ("integer", "number") and isinstance(value, str):
            number = read_number(value)
            typed[name] = value if number is None else number
        elif kind == "boolean" and isinstance(value, int | str):
            typed[name] = _BOOLEANS.get(value.lower() if isinstance(value, str) else value, value)
    return typed


def _rows(part: Part, chunks: Iterable[bytes]) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Yield each line as Portkey sent it, without its line end, with the row on it; blank lines are skipped."""
    for number, line in enumerate(split_lines(chunks), 1):
        if not line.strip():
            continue
        try:
            row = read_object(line)
        except ValueError as error:
            # Without the line itself: a log row holds prompts.
            raise PortkeyUnexpectedResponseError(
                f"Log export {part.export_id!r}: line {number} {error} ({len(line)} bytes)."
            ) from None
        yield line.removesuffix(b"\r"), row
