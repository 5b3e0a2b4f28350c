"""One log export, how it looks on the wire in both of Portkey's spellings, and its signed URL."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

from airflow_provider_portkey.testing.course import ScriptedJob
from airflow_provider_portkey.testing.rooms.log_rows import iso
from airflow_provider_portkey.testing.script import Advance, Statuses
from airflow_provider_portkey.testing.spool import Spool

Spelling: TypeAlias = Literal["schema", "guide"]

#: Where Portkey's guide calls a status otherwise than its schema.
_GUIDE_STATUSES = {"failed": "failure"}

_ORGANISATION = "00000000-0000-4000-8000-0000000000aa"
_USER = "00000000-0000-4000-8000-0000000000bb"


@dataclass(kw_only=True)
class LogExport(ScriptedJob):
    """One export; most of its parameters are those of :meth:`.LogExports.add`.

    :param then: what it goes through once it is started.
    :param make: gives its rows.
    """

    filters: Mapping[str, Any]
    requested_data: list[str]
    workspace_id: str
    description: str
    then: Statuses
    then_advance: Advance
    make: Callable[[LogExport], Iterator[dict[str, Any]]]
    updated_at: float = 0.0

    @cached_property
    def spool(self) -> Spool:
        """Its rows as JSONL; made when somebody first downloads them."""
        rows = ({name: row.get(name) for name in self.requested_data} for row in self.make(self))
        return Spool.filled(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)

    def signature(self, expires: int) -> str:
        """Sign its download; nobody is to guess it, and it needs to be no secret.

        :param expires: until when the URL holds, in seconds since the epoch.
        """
        return hashlib.sha256(f"{self.id}:{expires}".encode()).hexdigest()


def export_object(export: LogExport, spelling: Spelling) -> dict[str, Any]:
    """Show an export as it stood at the last look."""
    status = export.status
    if spelling == "guide":
        status = _GUIDE_STATUSES.get(status, status)
    return {
        "id": export.id,
        "organisation_id": _ORGANISATION,
        "filters": dict(export.filters),
        "requested_data": export.requested_data,
        "status": status,
        "description": export.description,
        "created_at": iso(export.created_at * 1000),
        "last_updated_at": iso(export.updated_at * 1000),
        "created_by": _USER,
        "workspace_id": export.workspace_id,
        "object": "export",
        **export.fields,
    }


def download_object(url: str, spelling: Spelling) -> dict[str, Any]:
    """Show where an export is downloaded."""
    return {"signed_url" if spelling == "schema" else "url": url}
