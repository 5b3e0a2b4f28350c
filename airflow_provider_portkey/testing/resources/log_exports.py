"""Log exports, Portkey's own jobs, from the draft to the signed URL and the storage behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from starlette.responses import FileResponse

from airflow_provider_portkey.testing.app import ApiRequest, ApiRoute, WholeFileResponse
from airflow_provider_portkey.testing.faults import STORAGE, bad_request
from airflow_provider_portkey.testing.resources.jobs import Job, Jobs
from airflow_provider_portkey.testing.resources.logs import FIELDS, to_iso
from airflow_provider_portkey.testing.timeline import Statuses


@dataclass(kw_only=True)
class LogExport(Job):
    """
    A log export; further parameters are those of :class:`.Job`, whose ``statuses`` are those after the start.

    :param export_id: ``export_000001`` and so on where not given.
    :param filters: all logs where not given.
    :param requested_data: the fields.
    :param started: whether its statuses begin now; otherwise it is a ``draft`` until a request starts it.
    """

    export_id: str | None = None
    filters: Mapping[str, Any] = field(default_factory=dict)
    requested_data: list[str] = field(default_factory=lambda: ["id", "created_at"])
    workspace_id: str | None = None
    description: str = ""
    started: bool = True
    #: The file with its rows, written at the first download.
    file: Path | None = field(init=False, default=None)

    name = "log_exports"
    kind = "export"
    path = "/v1/logs/exports/{export_id}"
    id_prefix = "export"
    create_paths = ("/v1/logs/exports",)
    endpoints: ClassVar[Mapping[str, str]] = {"POST /start": "begin_export", "GET /download": "get_url"}
    stages: ClassVar[Mapping[str, float]] = {"in_progress": 0, "success": 1}
    final_statuses = frozenset({"success", "failed", "failure", "stopped"})
    cancel_statuses = ("stopped",)
    template: ClassVar[Mapping[str, Any]] = {
        "object": "export",
        "organisation_id": "organisation",
        "created_by": "mock-server",
    }

    @classmethod
    def parse(cls, request: ApiRequest) -> dict[str, Any]:
        given = {name: request.body.get(name) for name in ("filters", "requested_data", "workspace_id")}
        filters, fields = given["filters"], given["requested_data"]
        if not isinstance(filters, Mapping):
            raise bad_request("'filters' is missing.", param="filters")
        request.store.logs.parse_window(filters)
        if not isinstance(fields, list) or not fields or not FIELDS.issuperset(fields):
            raise bad_request(f"'requested_data' has to be a list of {sorted(FIELDS)}.", param="requested_data")
        return {**given, "description": request.body.get("description") or "", "started": False}

    def prepare(self) -> None:
        self._after_start: Statuses = self.statuses or self.stages_of(self.seconds)
        if not self.started:
            self.timeline.replace("draft", self.store.clock())

    def details(self) -> dict[str, Any]:
        names = ("filters", "requested_data", "workspace_id", "description")
        guide = self.store.logs.settings["spelling"] == "guide"
        status = "failure" if guide and self.status == "failed" else self.status
        return {
            **{name: getattr(self, name) for name in names},
            "status": status,
            "created_at": to_iso(self.created * 1000),
        }

    def respond_to_create(self, request: ApiRequest) -> dict[str, Any]:
        # All rows of the window, those beyond the maximum of a job included.
        total = self.store.logs.count(self.store.logs.parse_window(self.filters))
        return {"id": self.id, "total": total, "object": "export"}

    def cancel(self, request: ApiRequest) -> dict[str, Any]:
        super().cancel(request)
        return {"message": "The export was cancelled.", "object": "export"}

    def begin_export(self, request: ApiRequest) -> dict[str, Any]:
        self._require("draft", request)
        self.timeline.replace(self._after_start, request.now, polled=False)
        return {"message": "The export was started.", "object": "export"}

    def get_url(self, request: ApiRequest) -> dict[str, Any]:
        self._require("success", request)
        url = f"{request.origin}{STORAGE}exports/{self.id}.jsonl?signature=mock-signature"
        return {"url" if self.store.logs.settings["spelling"] == "guide" else "signed_url": url}

    def get_rows(self) -> FileResponse:
        self.file = self.file or self.store.write_file(self._lines())
        response_class = FileResponse if self.store.logs.settings["ranges"] else WholeFileResponse
        return response_class(self.file, media_type="application/jsonl")

    def _require(self, status: str, request: ApiRequest) -> None:
        self.update(request.now)
        if self.status != status:
            raise bad_request(f"The export is {self.status}, and not {status}.")

    def _lines(self) -> Iterator[bytes]:
        logs = self.store.logs
        for row in islice(logs.rows(logs.parse_window(self.filters)), logs.settings["max_rows"]):
            line = {name: row.get(name) for name in self.requested_data}
            yield json.dumps(line, ensure_ascii=False).encode() + b"\n"


class LogExports(Jobs[LogExport]):
    """All log exports, with their settings and the storage behind signed URLs."""

    def settings(self, **settings: Any) -> dict[str, Any]:
        """
        Change some settings, and return all of them.

        :param spelling: ``schema`` or ``guide``, where Portkey's schema and guide differ: ``failed`` or ``failure``,
            ``signed_url`` or ``url``.
        :param max_rows: the maximum of one job; further rows are not exported.
        :param end_included: whether a row at the very end of a window belongs to it.
        :param ranges: whether the storage supports ``Range``.
        :raises ValueError: for an unknown name or spelling.
        """
        known = self.store.logs.settings
        if not known.keys() >= settings.keys() or settings.get("spelling", "schema") not in ("schema", "guide"):
            raise ValueError(f"The settings are: {', '.join(known)}")
        known.update(settings)
        return dict(known)

    def routes(self) -> Iterator[ApiRoute]:
        yield from super().routes()
        yield "GET", STORAGE + "exports/{export_id}.jsonl", lambda request: self.find(**request.ids).get_rows()
