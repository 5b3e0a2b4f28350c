"""The logs there are, and the exports of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Unpack, get_args

from airflow_provider_portkey.testing.course import Course, begin
from airflow_provider_portkey.testing.errors import not_found
from airflow_provider_portkey.testing.rooms.desk import Desk
from airflow_provider_portkey.testing.rooms.log_export import (
    LogExport,
    Spelling,
    export_object,
)
from airflow_provider_portkey.testing.rooms.log_filters import checked_fields, page, window
from airflow_provider_portkey.testing.rooms.log_store import LogStore, Moment, milliseconds
from airflow_provider_portkey.testing.script import Script

_WORKSPACE = "00000000-0000-4000-8000-0000000000cc"


class LogExports:
    """Every log and every export there is.

    Its attributes may be set at any time: ``spelling`` (whose words it uses, those of Portkey's schema or
    those of its guide: ``failed`` or ``failure``, ``signed_url`` or ``url``; in filters it takes both),
    ``max_rows`` (the most of a job, further ones are not exported), ``end_included`` (whether a row at the
    very end of a window belongs to it), ``url_seconds`` (how long a signed URL holds) and ``ranges``
    (whether the storage sends parts of a file; one that does not sends the whole).

    :param desk: what it shares with the other rooms.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._store = LogStore()
        self._exports: dict[str, LogExport] = {}
        self.spelling: Spelling = "schema"
        self.max_rows = 50_000
        self.end_included = True
        self.url_seconds = 600
        self.ranges = True

    def settings(self, **settings: Any) -> dict[str, Any]:
        """Set some of the attributes above by name, and give them all: for another process."""
        names = ("spelling", "max_rows", "end_included", "url_seconds", "ranges")
        if set(settings) - set(names) or settings.get("spelling", "schema") not in get_args(Spelling):
            raise ValueError(f"These are the settings: {', '.join(names)}")
        for name, value in settings.items():
            setattr(self, name, value)
        return {name: getattr(self, name) for name in names}

    def add_logs(
        self,
        count: int = 0,
        start: Moment = 0,
        end: Moment | None = None,
        *,
        rows: Iterable[Mapping[str, Any]] = (),
    ) -> dict[str, Any]:
        """Log rows.

        :param count: how many are spread evenly over the time; they are made only when they are exported.
        :param start: when the first of them is logged: seconds since the epoch, or ISO 8601.
        :param end: where one more would be logged; ``start`` has all of them at one moment. Now where not
            given.
        :param rows: rows of their own, each with its ``created_at``; what else they lack is generated.
        :return: how many rows there are now.
        :raises ValueError: for a time that goes backwards.
        """
        with self._desk.lock:
            if count:
                stop = milliseconds(self._desk.clock() if end is None else end)
                self._store.add_even(count, milliseconds(start), stop)
            if rows:
                self._store.add_rows(rows)
            return {"total": self._store.count(window({}, end_included=True))}

    def add(
        self,
        *,
        export_id: str | None = None,
        filters: Mapping[str, Any] | None = None,
        requested_data: list[str] | None = None,
        workspace_id: str | None = None,
        description: str = "",
        started: bool = True,
        **course: Unpack[Course],
    ) -> dict[str, Any]:
        """Create an export.

        :param export_id: counted, in the form of a UUID, where not given.
        :param filters: which logs; all of them where not given.
        :param requested_data: which fields; ``id`` and ``created_at`` where not given.
        :param started: whether its statuses begin now; one that is not started is a ``draft`` until then.
        :param course: its way; see :class:`.Course`. Its ``statuses`` are those after the start.
        :return: the export's object.
        :raises ValueError: for an id that is taken already, and for a script that makes no sense.
        """
        with self._desk.lock:
            now = self._desk.clock()
            if export_id is None:
                export_id = self._desk.ids.new("export").replace("export_", "00000000-0000-4000-8000-000000")
            if export_id in self._exports:
                raise ValueError(f"The id '{export_id}' is taken already")
            then = course.setdefault("statuses", "success")
            begun = begin(now, **course)
            if not started:
                begun["script"] = Script("draft", started=now)
            export = LogExport(
                id=export_id,
                filters=dict(filters or {}),
                requested_data=checked_fields(requested_data or ["id", "created_at"]),
                workspace_id=workspace_id or _WORKSPACE,
                description=description,
                then=then,
                then_advance=course.get("advance", "time"),
                make=self._rows,
                updated_at=now,
                **begun,
            )
            self.total(export)
            export.script.settle(now)
            self._exports[export_id] = export
            return export_object(export, self.spelling)

    def get(self, export_id: str) -> LogExport:
        """Find an export.

        :raises ApiError: 404 where there is none.
        """
        if export_id not in self._exports:
            raise not_found("export", export_id)
        return self._exports[export_id]

    def all(self, workspace_id: str | None) -> list[LogExport]:
        """Give the exports of a workspace, or all of them, the newest first."""
        found = [one for one in self._exports.values() if workspace_id in (None, one.workspace_id)]
        return found[::-1]

    def total(self, export: LogExport) -> int:
        """Count the rows of its window, those beyond the most of a job too.

        :raises ApiError: 400 for filters that make no sense.
        """
        page(export.filters, self.max_rows)
        return self._store.count(self._window(export))

    def _window(self, export: LogExport) -> tuple[int, int]:
        return window(export.filters, end_included=self.end_included)

    def _rows(self, export: LogExport) -> Iterator[dict[str, Any]]:
        skip, most = page(export.filters, self.max_rows)
        return self._store.rows(self._window(export), skip=skip, most=most)
