"""One report of Portkey's analytics over a window: its requests, and its rows, one for each group and interval."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.analytics.focus import FOCUS_COLUMNS, focus_row
from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError, PortkeyUnexpectedResponseError
from airflow_provider_portkey.export.window import Window, format_timestamp, read_window
from airflow_provider_portkey.jobs.analytics import (
    FILTERS,
    MODEL_SEPARATOR,
    MODELS,
    PROVIDERS,
    REPORTS,
    Group,
    Report,
    find_group,
    find_report,
)
from airflow_provider_portkey.jobs.values import read_number, read_timestamp

if TYPE_CHECKING:
    from airflow_provider_portkey.hooks.portkey import PortkeyHook

log = logging.getLogger(__name__)

#: Seconds of the intervals that a window is cut into.
_SECONDS = {"hour": 3600, "day": 86400}
#: Seconds after which a request is taken to be counted: collectors of Portkey's logs wait as long.
_ARRIVAL = 300.0
#: The columns of every table, before those of the report.
_COLUMNS = {
    "workspace_slug": "text",
    "interval_start": "timestamp",
    "interval_end": "timestamp",
    "group_by": "text",
    "group_value": "text",
}
_MODEL = "models of the form provider__model, such as ['openai__gpt-4o']"


@dataclass(kw_only=True)
class AnalyticsReport:
    """
    The parameters of ``PortkeyAnalyticsToObjectStorageOperator``, checked.

    :raises PortkeyInvalidArgumentError: naming the parameter that is wrong.
    """

    report: str
    group_by: str | None
    window_start: Any
    window_end: Any
    interval: str
    workspace_slug: str | None
    models: Sequence[str] | None
    filters: Mapping[str, Any] | None
    focus: bool
    #: What the manifest says about the report; complete after the last row.
    about: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self._report = find_report(self.report)
        self._group = find_group(self.group_by)
        self._window = _past_window(self.window_start, self.window_end)
        if not isinstance(self.workspace_slug, str) or not self.workspace_slug.strip():
            expected = "the slug of a workspace, here or in the field 'workspace_slug' of the connection's extra"
            raise PortkeyInvalidArgumentError("workspace_slug", self.workspace_slug, expected)
        self._filters = _read_filters(self.filters)
        self._models = check_selection(
            self.report, self.group_by, self.interval, self.models, self._filters, focus=self.focus
        )
        self.about = {
            "report": self.report,
            "group_by": self._group.name if self._group else None,
            "interval": self.interval,
            "workspace_slug": self.workspace_slug,
            **self._window.to_dict(),
            "groups_without_value": 0,
        }

    @property
    def columns(self) -> Mapping[str, str]:
        """The columns of a table of the rows."""
        return FOCUS_COLUMNS if self.focus else _COLUMNS | dict(self._report.columns)

    def rows(self, hook: PortkeyHook, on_page: Callable[[int], None]) -> Iterator[dict[str, Any]]:
        """
        Yield the rows in the order of time, of an interval in Portkey's order of the groups.

        :param on_page: Called for each response, with the number of its rows.
        :raises PortkeyUnexpectedResponseError: where a response lacks what the contract promises.
        """
        self._hook, self._on_page = hook, on_page
        for window in self._intervals():
            yield from self._rows_of(window)

    def _intervals(self) -> Iterator[Window]:
        """Yield the window in parts that end at full hours or days in UTC."""
        seconds = _SECONDS.get("day" if self.focus and self.interval == "auto" else self.interval)
        start = self._window.start
        while start < self._window.end:
            end = self._window.end
            if seconds:
                full = start.timestamp() // seconds * seconds + seconds
                end = min(end, datetime.fromtimestamp(full, tz=UTC))
            yield Window(start, end)
            start = end

    def _rows_of(self, window: Window) -> Iterator[dict[str, Any]]:
        group = self._group
        if group is None:
            yield from self._graph_rows(window, None, self._filters)
        elif self._models is None and group.lists(self._report):
            for item in self._list(group, window):
                yield self._list_row(window, group, item)
        else:
            for value, filters in self._values(group, window):
                yield from self._graph_rows(window, value, filters)

    def _values(self, group: Group, window: Window) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield each group, and the filters that select its requests."""
        if self._models is not None:
            for value, models in self._models.items():
                yield value, {**self._filters, "ai_org_model": models}
            return
        for item in self._list(group, window):
            if filters := self._filters_of(group, item.get(group.value_field)):
                yield item[group.value_field], filters
            else:
                self.about["groups_without_value"] += 1
                log.warning(
                    "Portkey has requests without a %s. They are in no row: no filter selects them.", group.name
                )

    def _filters_of(self, group: Group, value: Any) -> Mapping[str, Any] | None:
        if not isinstance(value, str) or not value or group.metadata_key is None:
            return None
        metadata = {**self._filters.get("metadata", {}), group.metadata_key: value}
        return {**self._filters, "metadata": metadata}

    def _list(self, group: Group, window: Window) -> Iterator[dict[str, Any]]:
        query = self._to_query(window)
        return self._hook.iter_analytics_groups(group.name, **query, filters=self._filters, on_page=self._on_page)

    def _graph(self, report: str, window: Window, filters: Mapping[str, Any]) -> dict[str, Any]:
        graph = self._hook.get_analytics_graph(report, **self._to_query(window), filters=filters)
        self._on_page(len(graph["data_points"]))
        return graph

    def _to_query(self, window: Window) -> dict[str, Any]:
        return {"workspace_slug": str(self.workspace_slug), **window.to_filters()}

    def _graph_rows(self, window: Window, value: str | None, filters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        graph = self._graph(self.report, window, filters)
        if self.interval == "auto" and not self.focus:
            for point in graph["data_points"]:
                yield self._row(_timestamp(point), None, value, self._read(point, self._report.fields))
            return
        found = self._read(graph["summary"], self._report.fields)
        row = self._row(format_timestamp(window.start), format_timestamp(window.end), value, found)
        yield self._to_focus(row, window, filters) if self.focus else row

    def _list_row(self, window: Window, group: Group, item: Mapping[str, Any]) -> dict[str, Any]:
        given = {name: source for name, source in (group.fields or {}).items() if name in self._report.columns}
        value: Any = item.get(group.value_field)
        if value is not None and not isinstance(value, str):
            value = json.dumps(value)
        # The contract requires no field of a row, and has numbers as strings.
        found = {column: item.get(source) for column, source in given.items()}
        if self.focus:
            found = self._read(found, {column: column for column in given})
        else:
            found = {column: _number_of(self._report, column, raw, raw) for column, raw in found.items()}
        row = self._row(format_timestamp(window.start), format_timestamp(window.end), value, found)
        return self._to_focus(row, window, self._filters_of(group, value)) if self.focus else row

    def _to_focus(self, row: Mapping[str, Any], window: Window, filters: Mapping[str, Any] | None) -> dict[str, Any]:
        tokens = 0.0  # no filter selects requests without a group
        if filters is not None:
            fields = {"tokens": REPORTS["tokens"].fields["tokens"]}
            tokens = self._read(self._graph("tokens", window, filters)["summary"], fields)["tokens"] or 0
        return focus_row(row, window=window, tokens=tokens)

    def _row(self, start: str, end: str | None, value: str | None, found: Mapping[str, Any]) -> dict[str, Any]:
        about = (self.workspace_slug, start, end, self._group.name if self._group else None, value)
        columns = dict.fromkeys(self._report.columns)
        return {**dict(zip(_COLUMNS, about, strict=True)), **columns, **found}

    def _read(self, source: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
        """Return numbers by column; the API writes some of them as strings."""
        found = {}
        for column, name in fields.items():
            value = source.get(name, "missing")
            found[column] = _number_of(self._report, column, value, None)
            if found[column] is None and value is not None:
                raise PortkeyUnexpectedResponseError(
                    f"The report {self.report!r} has {name}={value!r:.100}: expected a number. The object has "
                    f"{sorted(source)}."
                )
        return found


def _number_of(report: Report, column: str, value: Any, default: Any) -> Any:
    """Return the number of a column."""
    number = read_number(value)
    if number is None:
        return default
    return int(number) if report.columns.get(column) == "integer" and number == int(number) else number


def _past_window(start: Any, end: Any) -> Window:
    window = read_window(start, end)
    ago = time.time() - window.end.timestamp()
    if ago < 0:
        expected = "a timestamp in the past: later requests would be in no window"
        raise PortkeyInvalidArgumentError("window_end", format_timestamp(window.end), expected)
    if ago < _ARRIVAL:
        log.warning(
            "The window ends at %s, which is not %d minutes ago: requests that are counted later will be missing.",
            window.end,
            _ARRIVAL // 60,
        )
    return window


def _timestamp(point: Mapping[str, Any]) -> str:
    timestamp = read_timestamp(value := point.get("timestamp"))
    if timestamp is None:
        raise PortkeyUnexpectedResponseError(
            f"A data point has timestamp={value!r:.100}: expected a timestamp. The object has {sorted(point)}."
        )
    return format_timestamp(timestamp)


def _read_filters(filters: Any) -> dict[str, Any]:
    if filters is None:
        return {}
    names = ", ".join(FILTERS)
    if not isinstance(filters, Mapping):
        raise PortkeyInvalidArgumentError("filters", filters, f"a dict with names among {names}")
    for name in filters:
        if name not in FILTERS:
            raise PortkeyInvalidArgumentError("filters", name, f"names among {names}")
    found = {name: value for name, value in filters.items() if value is not None}
    if isinstance(metadata := found.get("metadata"), str):
        try:
            found["metadata"] = json.loads(metadata)
        except ValueError:
            found["metadata"] = None
    if "metadata" in found and not isinstance(found["metadata"], Mapping):
        raise PortkeyInvalidArgumentError(
            "filters['metadata']", metadata, 'a dict such as {"team": "data"}, or its JSON'
        )
    return found


def check_selection(
    report: str, group_by: str | None, interval: str, models: Any, filters: Any, *, focus: bool
) -> dict[str, list[str]] | None:
    """
    Check the parameters that depend on each other.

    :return: The groups with the models of each; ``None`` where the API itself lists the groups.
    :raises PortkeyInvalidArgumentError: naming the parameter that is wrong.
    """
    group = find_group(group_by)
    if focus and report != "cost":
        raise PortkeyInvalidArgumentError("report", report, "'cost' for the columns of FOCUS")
    if focus and interval == "window":
        raise PortkeyInvalidArgumentError("interval", interval, "'day' or 'hour' for the columns of FOCUS")
    by_filter = group is not None and group.name in (MODELS.name, PROVIDERS.name)
    if models is None:
        if group is not None and by_filter and not group.lists(REPORTS[report]):
            expected = f"{_MODEL}: Portkey's API lists no {group.name}s with {report}, it only filters by them"
            raise PortkeyInvalidArgumentError("models", models, expected)
        return None
    if group is None or not by_filter:
        raise PortkeyInvalidArgumentError("models", models, "None, unless group_by is 'model' or 'provider'")
    if "ai_org_model" in (filters or {}):
        raise PortkeyInvalidArgumentError("filters", "ai_org_model", "no such filter where models are given")
    if isinstance(models, str) or not isinstance(models, Sequence) or not models:
        raise PortkeyInvalidArgumentError("models", models, _MODEL)
    groups: dict[str, list[str]] = {}
    for model in dict.fromkeys(models):
        provider, separator, name = str(model).partition(MODEL_SEPARATOR)
        if not isinstance(model, str) or not separator or not provider.strip() or not name.strip() or "," in model:
            raise PortkeyInvalidArgumentError("models", model, _MODEL)
        groups.setdefault(provider if group.name == PROVIDERS.name else model, []).append(model)
    return groups
