"""The calls of log exports, Portkey's own jobs, from the draft to the signed URL and the storage behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from airflow_provider_portkey.testing.calls import Call, Endpoint
from airflow_provider_portkey.testing.content import Content
from airflow_provider_portkey.testing.errors import ApiError, bad_request
from airflow_provider_portkey.testing.faults import STORAGE
from airflow_provider_portkey.testing.rooms.desk import Desk
from airflow_provider_portkey.testing.rooms.log_export import LogExport, download_object, export_object
from airflow_provider_portkey.testing.rooms.log_exports import LogExports
from airflow_provider_portkey.testing.rooms.log_filters import checked_fields
from airflow_provider_portkey.testing.script import Script


class LogExportRoutes:
    """The endpoints, over one room.

    :param desk: what the rooms share.
    :param room: what they read and change.
    :param origin: tells the URL at which the storage is reached, without a path.
    """

    def __init__(self, desk: Desk, room: LogExports, *, origin: Callable[[], str]) -> None:
        self._desk = desk
        self._room = room
        self._origin = origin

    def table(self) -> Iterator[tuple[str, str, Endpoint]]:
        """List every endpoint: its method, its path and what answers it."""
        exports = "/logs/exports"
        yield "POST", exports, self._create
        yield "GET", exports, self._list
        yield "GET", exports + "/{export}", self._get
        yield "PUT", exports + "/{export}", self._update
        yield "POST", exports + "/{export}/start", self._start
        yield "POST", exports + "/{export}/cancel", self._cancel
        yield "GET", exports + "/{export}/download", self._download

    def storage_table(self) -> Iterator[tuple[str, str, Endpoint]]:
        """List the endpoints of the storage that signed URLs lead to."""
        yield "GET", "/exports/{export}.jsonl", self._stored

    def _create(self, call: Call) -> dict[str, Any]:
        if not isinstance(call.body.get("filters"), dict):
            raise bad_request("'filters' is missing.", param="filters")
        plan = self._desk.planned("log_exports")
        plan.setdefault("statuses", [("in_progress", 0.0), ("success", self._desk.job_seconds)])
        made = self._room.add(
            filters=call.body["filters"],
            requested_data=checked_fields(call.body.get("requested_data")),
            workspace_id=call.body.get("workspace_id"),
            description=call.body.get("description") or "",
            started=False,
            **plan,
        )
        return self._as_total(self._room.get(made["id"]))

    def _list(self, call: Call) -> dict[str, Any]:
        found = self._room.all(call.query.get("workspace_id"))
        for export in found:
            export.script.settle(call.now)
        data = [export_object(export, self._room.spelling) for export in found]
        return {"object": "list", "total": len(data), "data": data}

    def _get(self, call: Call) -> dict[str, Any]:
        export = self._find(call)
        export.script.look(call.now)
        return export_object(export, self._room.spelling)

    def _update(self, call: Call) -> dict[str, Any]:
        export = self._find(call)
        self._wanted(export, call, "updated", "draft")
        if not isinstance(call.body.get("filters"), dict):
            raise bad_request("'filters' is missing.", param="filters")
        before = export.filters, export.requested_data
        try:
            export.filters = dict(call.body["filters"])
            export.requested_data = checked_fields(call.body.get("requested_data", export.requested_data))
            answer = self._as_total(export)
        except ApiError:
            export.filters, export.requested_data = before
            raise
        export.updated_at = call.now
        return answer

    def _start(self, call: Call) -> dict[str, Any]:
        export = self._find(call)
        self._wanted(export, call, "started", "draft")
        export.script = Script(export.then, advance=export.then_advance, started=call.now)
        export.updated_at = call.now
        return {"message": "The export was started.", "object": "export"}

    def _cancel(self, call: Call) -> dict[str, Any]:
        export = self._find(call)
        self._wanted(export, call, "cancelled", "draft", "in_progress")
        export.script.replace("stopped", call.now)
        export.updated_at = call.now
        return {"message": "The export was cancelled.", "object": "export"}

    def _download(self, call: Call) -> dict[str, Any]:
        export = self._find(call)
        self._wanted(export, call, "downloaded", "success")
        expires = int(call.now) + self._room.url_seconds
        query = f"expires={expires}&signature={export.signature(expires)}"
        return download_object(f"{self._origin()}{STORAGE}/exports/{export.id}.jsonl?{query}", self._room.spelling)

    def _stored(self, call: Call) -> Content:
        export = self._find(call)
        expires = call.query.get("expires", "")
        if not expires.isdigit() or call.query.get("signature") != export.signature(int(expires)):
            raise ApiError(403, "The signature does not match.", code="SignatureDoesNotMatch")
        if call.now >= int(expires):
            raise ApiError(403, "The URL has expired.", code="AccessDenied")
        return Content(export.spool, media_type="application/jsonl", ranges=self._room.ranges)

    def _wanted(self, export: LogExport, call: Call, done: str, *statuses: str) -> None:
        export.script.settle(call.now)
        if export.status not in statuses:
            raise bad_request(f"An export that is {export.status} cannot be {done}.")

    def _as_total(self, export: LogExport) -> dict[str, Any]:
        return {"id": export.id, "total": self._room.total(export), "object": "export"}

    def _find(self, call: Call) -> LogExport:
        return self._room.get(call.ids["export"])
