"""Portkey's logs, and their export: from the draft to the signed URL and the storage behind it."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from starlette.responses import FileResponse, Response

from airflow_provider_portkey.testing.app import ApiRequest, ApiRoute
from airflow_provider_portkey.testing.faults import STORAGE, bad_request
from airflow_provider_portkey.testing.resources.jobs import Job, Jobs
from airflow_provider_portkey.testing.store import Store
from airflow_provider_portkey.testing.timeline import Statuses

#: Seconds since the epoch, or ISO 8601 (UTC without an offset).
Timestamp: TypeAlias = float | str | datetime

#: Later than any log: the year 2286, in seconds since the epoch.
_END_OF_TIME = 10_000_000_000

_ROW = {
    **{"ai_org": "openai", "ai_model": "mock-model", "mode": "SINGLE", "config": None, "prompt_slug": None},
    **{"req_units": 20, "cost": 0.25, "cost_currency": "USD"},
    "request_url": "https://provider.test/v1/chat/completions",
}


def to_microseconds(timestamp: Timestamp) -> int:
    """Convert a timestamp into microseconds since the epoch."""
    if isinstance(timestamp, str):
        timestamp = datetime.fromisoformat(timestamp)
    if isinstance(timestamp, datetime):
        timestamp = (timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)).timestamp()
    return round(timestamp * 1_000_000)


def to_iso(milliseconds: float) -> str:
    """Convert milliseconds since the epoch into Portkey's notation."""
    timestamp = datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
    return timestamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Logs:
    """All log rows, in the order of time, and the settings of their export; see :meth:`.LogExports.settings`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        #: Milliseconds, number of the call that added it, number within that call, given fields.
        self._entries: list[tuple[int, int, int, Mapping[str, Any]]] = []
        self._calls = 0
        self.settings: dict[str, Any] = {"spelling": "schema", "max_rows": 50_000, "end_included": True, "ranges": True}

    def add(
        self,
        count: int = 0,
        start: Timestamp = 0,
        end: Timestamp | None = None,
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
        with self._store.lock:
            first, stop = (to_microseconds(self._store.clock() if at is None else at) // 1000 for at in (start, end))
            if count and stop < first:
                raise ValueError("The end must not be before the start")
            self._add((first + number * (stop - first) // count, {}) for number in range(count))
            self._add((to_microseconds(row["created_at"]) // 1000, row) for row in rows)
            return {"total": len(self._entries)}

    def row(self, position: int) -> dict[str, Any]:
        """Return one row."""
        milliseconds, call, number, fields = self._entries[position]
        return {**_generated_row(f"log-{call}-{number:08d}", number, milliseconds), **fields}

    def select(self, filters: Mapping[str, Any]) -> Sequence[int]:
        """
        Return the positions of the rows of a window of time, the oldest first.

        Of the other filters ``metadata`` counts: only rows whose metadata has these pairs.
        """
        bounds = []
        for name, default in (("time_of_generation_min", 0), ("time_of_generation_max", _END_OF_TIME)):
            try:
                bounds.append(to_microseconds(filters.get(name, default)))
            except (TypeError, ValueError):
                raise bad_request(f"'{name}' has to be a timestamp, not {filters[name]!r}.", param="filters") from None
        # Rows have whole milliseconds, but a window may begin and end between two of them.
        first, behind = -(-bounds[0] // 1000), -(-bounds[1] // 1000)
        if self.settings["end_included"]:
            behind = bounds[1] // 1000 + 1
        start, stop = (bisect_left(self._entries, bound, key=lambda entry: entry[0]) for bound in (first, behind))
        positions = range(start, max(start, stop))
        wanted = filters.get("metadata")
        if not wanted:
            return positions
        if not isinstance(wanted, Mapping):
            raise bad_request(f"'metadata' has to be an object, not {wanted!r}.", param="filters")
        return [position for position in positions if wanted.items() <= dict(self.row(position)["metadata"]).items()]

    def _add(self, rows: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
        timed = sorted(rows, key=lambda row: row[0])
        self._calls += bool(timed)
        self._entries += [(time, self._calls, number, fields) for number, (time, fields) in enumerate(timed)]
        self._entries.sort(key=lambda entry: entry[:3])


def _generated_row(row_id: str, number: int, milliseconds: int) -> dict[str, Any]:
    """Return a row; every hundredth is a failed request."""
    failed = number % 100 == 99
    message = {"role": "assistant", "content": f"Output {number}."}
    body = {"error": {"message": "Overloaded"}} if failed else {"choices": [{"index": 0, "message": message}]}
    messages = [{"role": "user", "content": f"Question {number}."}]
    return {
        **_ROW,
        **{"id": row_id, "trace_id": f"trace-{number // 2:08d}", "created_at": to_iso(milliseconds)},
        **{"request": {"body": {"model": "mock-model", "messages": messages}}, "response": {"body": body}},
        **{"is_success": 0 if failed else 1, "response_status_code": 503 if failed else 200},
        **{"res_units": 0 if failed else 5, "total_units": 20 if failed else 25},
        **{"response_time": 100 + number % 50, "metadata": {"number": str(number)}},
    }


#: The fields that an export can contain, as in Portkey's schema.
FIELDS = frozenset(_generated_row("", 0, 0))


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
    endpoints: ClassVar[Mapping[str, str]] = {"PUT": "change", "POST /start": "start_draft", "GET /download": "get_url"}
    stages: ClassVar[Mapping[str, float]] = {"in_progress": 0, "success": 1}
    final_statuses = frozenset({"success", "failed", "failure", "stopped"})
    cancel_statuses = ("stopped",)
    template: ClassVar[Mapping[str, Any]] = {"object": "export", "organisation_id": "org-1", "created_by": "user-1"}

    @classmethod
    def parse(cls, request: ApiRequest) -> dict[str, Any]:
        given = {name: request.body.get(name) for name in ("filters", "requested_data", "workspace_id")}
        filters, fields = given["filters"], given["requested_data"]
        if not isinstance(filters, Mapping):
            raise bad_request("'filters' is missing.", param="filters")
        request.store.logs.select(filters)
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
        shown = {"status": "failure" if guide and self.status == "failed" else self.status}
        return {**{name: getattr(self, name) for name in names}, **shown, "created_at": to_iso(self.created * 1000)}

    def respond_to_create(self, request: ApiRequest) -> dict[str, Any]:
        # All rows of the window, those beyond the maximum of a job included.
        total = len(self.store.logs.select(self.filters))
        return {"id": self.id, "total": total, "object": "export"}

    def cancel(self, request: ApiRequest) -> dict[str, Any]:
        super().cancel(request)
        return {"message": "The export was cancelled.", "object": "export"}

    def change(self, request: ApiRequest) -> dict[str, Any]:
        self._require("draft", request)
        body = {"requested_data": self.requested_data, **request.body}
        given = self.parse(replace(request, body=body))
        self.filters, self.requested_data = given["filters"], given["requested_data"]
        return self.respond_to_create(request)

    def start_draft(self, request: ApiRequest) -> dict[str, Any]:
        self._require("draft", request)
        self.timeline.replace(self._after_start, request.now, polled=False)
        return {"message": "The export was started.", "object": "export"}

    def get_url(self, request: ApiRequest) -> dict[str, Any]:
        self._require("success", request)
        url = f"{request.origin}{STORAGE}exports/{self.id}.jsonl?signature=mock-signature"
        return {"url" if self.store.logs.settings["spelling"] == "guide" else "signed_url": url}

    def get_rows(self) -> Response:
        self.file = self.file or self.store.write_file(self._lines())
        if self.store.logs.settings["ranges"]:
            return FileResponse(self.file, media_type="application/jsonl")
        return Response(self.file.read_bytes(), media_type="application/jsonl")

    def _require(self, status: str, request: ApiRequest) -> None:
        self.update(request.now)
        if self.status != status:
            raise bad_request(f"The export is {self.status}, and not {status}.")

    def _lines(self) -> Iterator[bytes]:
        logs = self.store.logs
        for position in logs.select(self.filters)[: logs.settings["max_rows"]]:
            row = logs.row(position)
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
