"""Log exports, Portkey's own jobs, from the draft to the signed URL and the storage behind it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from starlette.responses import FileResponse, Response

from airflow_provider_portkey.testing.app import ApiRequest, ApiRoute, WholeFileResponse
from airflow_provider_portkey.testing.errors import ApiError, bad_request
from airflow_provider_portkey.testing.faults import STORAGE
from airflow_provider_portkey.testing.paging import Items
from airflow_provider_portkey.testing.resources import logs
from airflow_provider_portkey.testing.resources.base import JobResource
from airflow_provider_portkey.testing.scenario import Job
from airflow_provider_portkey.testing.store import Store
from airflow_provider_portkey.testing.timeline import Timeline

Spelling: TypeAlias = Literal["schema", "guide"]

#: The statuses that Portkey's guide spells otherwise than its schema.
_GUIDE_STATUSES = {"failed": "failure"}

_UUID = "00000000-0000-4000-8000-0000000000"


@dataclass(kw_only=True)
class LogExport(Job):
    """
    A log export; further parameters are those of :class:`.Job`, whose ``statuses`` are those after the start.

    :param export_id: counted, in the form of a UUID, where not given.
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
    #: The statuses after the start of a draft.
    after_start: Timeline = field(init=False)
    updated_at: float = field(init=False)
    #: The file with its rows, written at the first download.
    path: Path | None = field(init=False, default=None)


class LogExports(JobResource[LogExport]):
    """
    All logs and exports.

    These attributes may be set at any time: ``spelling`` (``schema`` or ``guide``, where Portkey's schema and guide
    differ: ``failed`` or ``failure``, ``signed_url`` or ``url``; filters are accepted in both), ``max_rows`` (the
    maximum of one job; further rows are not exported), ``end_included`` (whether a row at the very end of a window
    belongs to it), ``url_seconds`` (the lifetime of a signed URL) and ``ranges`` (whether the storage supports
    ``Range``).

    :param origin: returns the URL of the mock server, without a path.
    """

    job_class = LogExport
    name = "log_exports"
    kind = "export"
    path = "/logs/exports/{export_id}"
    id_prefix = "export"
    default_statuses = "success"
    cancel_statuses = "stopped"
    not_cancellable = frozenset({"success", "failed", "failure", "stopped"})

    def __init__(self, store: Store, *, origin: Callable[[], str]) -> None:
        super().__init__(store)
        self._origin = origin
        self._logs = logs.Logs()
        self.spelling: Spelling = "schema"
        self.max_rows = 50_000
        self.end_included = True
        self.url_seconds = 600
        self.ranges = True

    def settings(self, **settings: Any) -> dict[str, Any]:
        """
        Set some of the attributes above, and return all of them.

        :raises ValueError: for an unknown name or spelling.
        """
        names = ("spelling", "max_rows", "end_included", "url_seconds", "ranges")
        if set(settings) - set(names) or settings.get("spelling", "schema") not in get_args(Spelling):
            raise ValueError(f"The settings are: {', '.join(names)}")
        for name, value in settings.items():
            setattr(self, name, value)
        return {name: getattr(self, name) for name in names}

    def add_logs(
        self,
        count: int = 0,
        start: logs.Timestamp = 0,
        end: logs.Timestamp | None = None,
        *,
        rows: Iterable[Mapping[str, Any]] = (),
    ) -> dict[str, Any]:
        """
        Add log rows.

        :param count: the number of generated rows, evenly spread over the time.
        :param start: the timestamp of the first of them: seconds since the epoch, or ISO 8601.
        :param end: the timestamp of one row more; equal to ``start`` for rows of one timestamp. Now where not given.
        :param rows: rows with a ``created_at`` each; missing fields are generated.
        :return: the ``total`` of rows now.
        :raises ValueError: for an end before the start.
        """
        with self.store.lock:
            if count:
                stop = logs.to_milliseconds(self.store.clock() if end is None else end)
                self._logs.add_even(count, logs.to_milliseconds(start), stop)
            if rows:
                self._logs.add_rows(rows)
            return {"total": len(self._logs)}

    def new_id(self, taken: Items[LogExport]) -> str:
        return super().new_id(taken).replace("export_", _UUID[:-4])

    def prepare(self, job: LogExport) -> None:
        _check(job.filters, job.requested_data)
        job.workspace_id = job.workspace_id or f"{_UUID}cc"
        job.updated_at = self.store.clock()
        if not job.started:
            job.after_start, job.timeline = job.timeline, Timeline("draft", started=job.updated_at)

    def serialize(self, job: LogExport) -> dict[str, Any]:
        return {
            "id": job.id,
            "organisation_id": f"{_UUID}aa",
            "filters": dict(job.filters),
            "requested_data": job.requested_data,
            "status": _GUIDE_STATUSES.get(job.status, job.status) if self.spelling == "guide" else job.status,
            "description": job.description,
            "created_at": logs.to_iso(job.created * 1000),
            "last_updated_at": logs.to_iso(job.updated_at * 1000),
            "created_by": f"{_UUID}bb",
            "workspace_id": job.workspace_id,
            "object": "export",
            **job.fields,
        }

    def routes(self) -> Iterator[ApiRoute]:
        yield from super().routes()
        yield "POST", self.list_path, self._create
        yield "GET", self.list_path, self._list_workspace
        yield "PUT", self.path, self._update
        yield "POST", self.path + "/start", self._start
        yield "GET", self.path + "/download", self._download

    def storage_routes(self) -> Iterator[ApiRoute]:
        """Return the endpoints of the storage behind signed URLs."""
        yield "GET", "/exports/{export_id}.jsonl", self._stored

    def _create(self, request: ApiRequest) -> dict[str, Any]:
        given = {name: request.body.get(name) for name in ("filters", "requested_data", "workspace_id")}
        statuses = [("in_progress", 0.0), ("success", self.store.job_seconds)]
        description = request.body.get("description") or ""
        return self._total(self.create({}, started=False, statuses=statuses, description=description, **given))

    def _list_workspace(self, request: ApiRequest) -> dict[str, Any]:
        workspace_id = request.query.get("workspace_id")
        found = [export for export in self.jobs() if workspace_id in (None, export.workspace_id)]
        for export in found:
            export.update(request.now)
        return {"object": "list", "total": len(found), "data": [self.serialize(export) for export in found[::-1]]}

    def _update(self, request: ApiRequest) -> dict[str, Any]:
        export = self._find_in(request, "draft", action="updated")
        filters, fields = request.body.get("filters"), request.body.get("requested_data", export.requested_data)
        _check(filters, fields)
        export.filters, export.requested_data, export.updated_at = filters or {}, fields, request.now
        return self._total(export)

    def _start(self, request: ApiRequest) -> dict[str, Any]:
        export = self._find_in(request, "draft", action="started")
        export.timeline = export.after_start
        export.timeline.started = export.updated_at = request.now
        return {"message": "The export was started.", "object": "export"}

    def _cancel(self, request: ApiRequest) -> dict[str, Any]:
        super()._cancel(request)
        self.find(request.ids).updated_at = request.now
        return {"message": "The export was cancelled.", "object": "export"}

    def _download(self, request: ApiRequest) -> dict[str, Any]:
        export = self._find_in(request, "success", action="downloaded")
        expires = int(request.now) + self.url_seconds
        query = f"expires={expires}&signature={_signature(export, expires)}"
        url = f"{self._origin()}{STORAGE}/exports/{export.id}.jsonl?{query}"
        return {"signed_url" if self.spelling == "schema" else "url": url}

    def _stored(self, request: ApiRequest) -> Response:
        export = self.find(request.ids)
        expires = request.query.get("expires", "")
        if not expires.isdigit() or request.query.get("signature") != _signature(export, int(expires)):
            raise ApiError(403, "The signature does not match.", code="SignatureDoesNotMatch")
        if request.now >= int(expires):
            raise ApiError(403, "The URL has expired.", code="AccessDenied")
        if export.path is None:
            export.path = self.store.write_file(self._lines(export))
        response_class = FileResponse if self.ranges else WholeFileResponse
        return response_class(export.path, media_type="application/jsonl")

    def _find_in(self, request: ApiRequest, status: str, *, action: str) -> LogExport:
        export = self.find(request.ids)
        export.update(request.now)
        if export.status != status:
            raise bad_request(f"An export that is {export.status} cannot be {action}.")
        return export

    def _total(self, export: LogExport) -> dict[str, Any]:
        # All rows of the window, those beyond the maximum of a job included.
        total = self._logs.count(logs.parse_window(export.filters, end_included=self.end_included))
        return {"id": export.id, "total": total, "object": "export"}

    def _lines(self, export: LogExport) -> Iterator[bytes]:
        skip, limit = logs.parse_page(export.filters, self.max_rows)
        window = logs.parse_window(export.filters, end_included=self.end_included)
        for row in self._logs.rows(window, skip=skip, limit=limit):
            line = {name: row.get(name) for name in export.requested_data}
            yield json.dumps(line, ensure_ascii=False).encode() + b"\n"


def _signature(export: LogExport, expires: int) -> str:
    # It needs to be no secret.
    return hashlib.sha256(f"{export.id}:{expires}".encode()).hexdigest()


def _check(filters: Any, fields: Any) -> None:
    if not isinstance(filters, Mapping):
        raise bad_request("'filters' is missing.", param="filters")
    logs.parse_page(filters, 1)
    logs.parse_window(filters, end_included=True)
    if not isinstance(fields, list) or not fields:
        raise bad_request("'requested_data' has to be a list of fields.", param="requested_data")
    if unknown := sorted(set(fields) - logs.FIELDS):
        raise bad_request(f"'requested_data' names unknown fields: {unknown}.", param="requested_data")
