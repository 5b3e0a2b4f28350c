"""The rows of several log exports to one stream, each line checked, counted and compared with Portkey's own count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from airflow_provider_portkey.exceptions import PortkeyUnexpectedResponseError
from airflow_provider_portkey.export.jsonl import read_object, split_lines
from airflow_provider_portkey.log_export.plan import Part, Plan

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath


@dataclass
class Joined:
    """
    What was written.

    :param rows: The lines that came, for each part.
    :param repeated: Lines that were left out because the part before has them, too.
    """

    rows: list[int] = field(default_factory=list)
    repeated: int = 0

    @property
    def written(self) -> int:
        """The lines that were written."""
        return sum(self.rows) - self.repeated

    def differences(self, plan: Plan) -> list[str]:
        """Return in words where it differs from what Portkey had counted."""
        found = [
            f"export {part.export_id!r} has {rows} rows instead of {part.total}"
            for part, rows in zip(plan.parts, self.rows, strict=True)
            if rows != part.total
        ]
        if not found and not plan.low <= self.written <= plan.high:
            whole = f"{plan.low}" if plan.low == plan.high else f"{plan.low} to {plan.high}"
            found.append(f"all exports together have {self.written} rows instead of {whole}")
        return found


def join_parts(plan: Plan, download: Callable[[str], Iterator[bytes]], stream: IO[bytes]) -> Joined:
    """
    Write the rows of all parts in the order of time, as Portkey sent them, one line each.

    Where the parts overlap, a row at a seam is in both of its neighbours; it is written once, by its ``id``. Only then
    the ids of two parts are kept in task_state, otherwise a line at a time is.

    :param download: Gives the JSONL of an export, in pieces of any length.
    :raises PortkeyUnexpectedResponseError: for a line that is not a JSON object, naming its export and its number.
    """
    joined = Joined()
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
            stream.write(line + b"\n")
        joined.rows.append(rows)
        before = ids
    return joined


def write_rows(
    plan: Plan,
    download: Callable[[str], Iterator[bytes]],
    path: ObjectStoragePath,
    *,
    compression: str | None,
    overwrite: bool,
    on_differences: Callable[[list[str]], None],
) -> dict[str, Any]:
    """
    Write the rows of all parts to a file, and return what its manifest says of them.

    :param on_differences: Told what differs from Portkey's count; where it raises, nothing is written.
    """
    from airflow_provider_portkey.export.atomic import atomic_write, uri_of
    from airflow_provider_portkey.export.formats import compressed

    with atomic_write(path, overwrite=overwrite) as written:
        with compressed(written.stream, compression) as stream:
            joined = join_parts(plan, download, stream)
        if differences := joined.differences(plan):
            on_differences(differences)
    return {
        "uri": uri_of(path),
        "format": "jsonl",
        "compression": compression,
        "rows": joined.written,
        "bytes": written.bytes,
        "sha256": written.sha256,
        "parts": [
            {"export_id": part.export_id, **part.window.to_dict(), "total": part.total, "rows": rows}
            for part, rows in zip(plan.parts, joined.rows, strict=True)
        ],
    }


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
