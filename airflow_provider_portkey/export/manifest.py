"""What a storage export hands to the next task instead of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_portkey.export.atomic import WrittenFile

SCHEMA_VERSION = 1


class ExportStats:
    """Counts rows and pages as they go by, and remembers the first and the last id."""

    def __init__(self) -> None:
        self.started_at = moment_now()
        self.rows = 0
        self.pages = 0
        self.first_id: str | None = None
        self.last_id: str | None = None

    def row(self, row: Mapping[str, Any]) -> None:
        """Count a row that was written."""
        self.rows += 1
        self.first_id = self.first_id or row["id"]
        self.last_id = row["id"]

    def page(self, _: int) -> None:
        """Count a page that came."""
        self.pages += 1

    def manifest(
        self, written: WrittenFile, *, uri: str, file_format: str, compression: str | None, **about: Any
    ) -> dict[str, Any]:
        """
        Return the manifest of a file that has landed.

        :param about: What the rows belong to, such as ids, status and usage of a run.
        """
        return {
            "uri": uri,
            "format": file_format,
            "compression": compression,
            "rows": self.rows,
            "bytes": written.bytes,
            "sha256": written.sha256,
            **about,
            "first_id": self.first_id,
            "last_id": self.last_id,
            "pages": self.pages,
            "started_at": self.started_at,
            "finished_at": moment_now(),
            "schema_version": SCHEMA_VERSION,
        }


def moment_now() -> str:
    """Return the time in the way that manifests write it."""
    return datetime.now(tz=UTC).isoformat(timespec="milliseconds")
