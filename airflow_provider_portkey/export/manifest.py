"""The manifest: what a storage export returns in place of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_portkey.jobs.values import cost_of
from airflow_provider_portkey.json_values import storable

if TYPE_CHECKING:
    from airflow_provider_portkey.export.progress import ExportProgress

SCHEMA_VERSION = 1


def build_manifest(
    *,
    uri: str,
    path: str,
    file_format: str,
    compression: str | None,
    rows: int,
    bytes: int,
    sha256: str,
    non_finite_values: int,
    started_at: str,
    **parts: Any,
) -> dict[str, Any]:
    """
    Return a manifest, finished now, as Airflow's database can store it.

    ``RowWriter.summary()`` has the fields of a file.

    :param uri: The file, or the folder of several files, for other tools.
    :param path: The same for other tasks, with the id of its Airflow connection.
    :param bytes: The size as stored.
    :param sha256: The hash of the stored bytes, in hexadecimal.
    :param non_finite_values: Numbers that JSON does not have, and that were written as null.
    :param started_at: From :func:`timestamp_now`, when the export began.
    :param parts: Fields that not every export has: ids and status of what was exported, ``first_id``, ``last_id``,
        ``pages``, ``usage``, counts. A manifest with ``usage`` has ``cost``, too: that of the usage, or ``None``.
    """
    if "usage" in parts and "cost" not in parts:
        before = list(parts)[: list(parts).index("usage") + 1]
        parts = {**{name: parts[name] for name in before}, "cost": cost_of(parts["usage"]), **parts}
    manifest = {
        "uri": uri,
        "path": path,
        "format": file_format,
        "compression": compression,
        "rows": rows,
        "bytes": bytes,
        "sha256": sha256,
        "non_finite_values": non_finite_values,
        **parts,
        "started_at": started_at,
        "finished_at": timestamp_now(),
        "schema_version": SCHEMA_VERSION,
    }
    return cast("dict[str, Any]", storable(manifest))


class ExportStats:
    """
    When an export began, its pages, and its first and last row.

    :param progress: Counts the pages.
    """

    def __init__(self, progress: ExportProgress) -> None:
        self.started_at = timestamp_now()
        self.add_page = progress.add_page
        self._progress = progress
        self.first_id: str | None = None
        self.last_id: str | None = None

    def add_rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Note the first and the last id of rows that were written; not every list has ids."""
        ids = [row_id for row in rows if (row_id := row.get("id"))]
        if ids:
            self.first_id = self.first_id or ids[0]
            self.last_id = ids[-1]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of the manifest."""
        names = ("started_at", "first_id", "last_id")
        return {name: getattr(self, name) for name in names} | {"pages": self._progress.pages}


def timestamp_now() -> str:
    """Return the time as manifests write it."""
    return datetime.now(tz=UTC).isoformat(timespec="milliseconds")
