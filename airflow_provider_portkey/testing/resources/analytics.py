"""Portkey's analytics over requests that a test declares: graphs over time, and groups in pages."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from airflow_provider_portkey.testing.app import ApiRequest, ApiRoute
from airflow_provider_portkey.testing.faults import bad_request
from airflow_provider_portkey.testing.resources.log_exports import Timestamp, to_iso, to_microseconds
from airflow_provider_portkey.testing.store import Store

_PATH = "/v1/analytics"
#: Groups on a page where a request names no number.
_PAGE_SIZE = 50
_GROUPS = {"users": "user", "ai-models": "ai_model", "metadata/{metadata_key}": "metadata_value"}


@dataclass(frozen=True)
class AnalyticsRequest:
    """
    One request that was made through Portkey.

    :param created_at: seconds since the epoch, or ISO 8601.
    :param cost_cents: the cost, in cents.
    :param latency_ms: the duration, in milliseconds.
    :param status: the HTTP status of its response; an error from 400 on.
    :param metadata: its metadata; the user is the value of ``_user``.
    """

    created_at: Timestamp
    provider: str = "openai"
    model: str = "mock-model"
    cost_cents: float = 0.25
    tokens: int = 25
    latency_ms: float = 100
    status: int = 200
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def milliseconds(self) -> int:
        """The time, in milliseconds since the epoch."""
        return to_microseconds(self.created_at) // 1000


class Analytics:
    """All requests that are counted. The end of a window does not belong to it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._requests: list[AnalyticsRequest] = []
        #: The milliseconds of a data point of a graph.
        self.bucket = 3_600_000

    def add(self, requests: Iterable[Mapping[str, Any]] = (), **one: Any) -> dict[str, Any]:
        """
        Add requests that were made through Portkey.

        :param requests: the fields of each.
        :param one: the fields of one more, with the parameters of :class:`AnalyticsRequest`.
        :return: the ``total`` of requests now.
        """
        added = [AnalyticsRequest(**fields) for fields in (*requests, *([one] if one else []))]
        with self._store.lock:
            self._requests += added
            return {"total": len(self._requests)}

    def routes(self) -> Iterator[ApiRoute]:
        """Return the endpoints."""
        for report, points in _GRAPHS.items():
            yield "GET", f"{_PATH}/graphs/{report}", partial(self._graph, points)
        for group, field_name in _GROUPS.items():
            yield "GET", f"{_PATH}/groups/{group}", partial(self._groups, field_name)

    def _graph(self, summarize: Callable[[list[AnalyticsRequest]], dict[str, Any]], request: ApiRequest) -> Any:
        found = self._select(request)
        buckets = defaultdict(list)
        for one in found:
            buckets[one.milliseconds // self.bucket].append(one)
        points = [{"timestamp": to_iso(at * self.bucket), **summarize(buckets[at])} for at in sorted(buckets)]
        return {"summary": summarize(found), "data_points": points, "object": "analytics-graph"}

    def _groups(self, field_name: str, request: ApiRequest) -> dict[str, Any]:
        groups: dict[str, list[AnalyticsRequest]] = defaultdict(list)
        for one in self._select(request):
            value = _value_of(one, field_name, request.ids.get("metadata_key", ""))
            if value is not None:
                groups[value].append(one)
        rows = [_group_row(field_name, value, groups[value]) for value in sorted(groups)]
        rows.sort(key=lambda row: -int(row["requests"]))
        size, page = (_number(request, name, default) for name, default in _PAGING.items())
        data = rows[page * size : (page + 1) * size]
        return {"object": "list", "total": len(rows), "data": data}

    def _select(self, request: ApiRequest) -> list[AnalyticsRequest]:
        """Return the requests of a window that fit ``metadata`` and ``ai_org_model``; other filters are ignored."""
        query = request.query
        bounds = []
        for name in ("time_of_generation_min", "time_of_generation_max"):
            try:
                bounds.append(to_microseconds(query[name]) // 1000)
            except (KeyError, ValueError):
                raise bad_request(f"'{name}' has to be a timestamp, not {query.get(name)!r}.", param=name) from None
        if not query.get("workspace_slug"):
            raise bad_request("'workspace_slug' is missing.", param="workspace_slug")
        metadata = json.loads(query.get("metadata", "{}"))
        models = query["ai_org_model"].split(",") if "ai_org_model" in query else None
        return [
            one
            for one in self._requests
            if bounds[0] <= one.milliseconds < bounds[1]
            and metadata.items() <= one.metadata.items()
            and (models is None or f"{one.provider}__{one.model}" in models)
        ]


_PAGING = {"page_size": _PAGE_SIZE, "current_page": 0}


def _number(request: ApiRequest, name: str, default: int) -> int:
    value = request.query.get(name, str(default))
    if not value.isdecimal():
        raise bad_request(f"'{name}' has to be a number, not '{value}'.", param=name)
    return int(value)


def _value_of(one: AnalyticsRequest, field_name: str, metadata_key: str) -> str | None:
    if field_name == "ai_model":
        return one.model
    return one.metadata.get(metadata_key if field_name == "metadata_value" else "_user")


def _group_row(field_name: str, value: str, found: list[AnalyticsRequest]) -> dict[str, Any]:
    """Return a group with the fields and types of the contract: numbers of users and models are strings."""
    row: dict[str, Any] = {field_name: value, "requests": len(found), "object": "analytics-group"}
    cost = sum(one.cost_cents for one in found)
    if field_name == "metadata_value":
        last_seen = to_iso(max(one.milliseconds for one in found))
        return {**row, "cost": cost, "avg_tokens": _mean(one.tokens for one in found), "last_seen": last_seen}
    return {**row, "requests": str(len(found))} | ({"cost": str(cost)} if field_name == "user" else {})


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values) if values else 0


def _latency(found: list[AnalyticsRequest]) -> dict[str, Any]:
    values = sorted(one.latency_ms for one in found)
    ranks = {f"p{rank}": values[len(values) * rank // 100] if values else 0 for rank in (50, 90, 99)}
    return {"avg": _mean(values), **ranks}


_GRAPHS: Mapping[str, Callable[[list[AnalyticsRequest]], dict[str, Any]]] = {
    "requests": lambda found: {"total": len(found)},
    "cost": lambda found: {
        "total": sum(one.cost_cents for one in found),
        "avg": _mean(one.cost_cents for one in found),
    },
    "tokens": lambda found: {"total": sum(one.tokens for one in found), "avg": _mean(one.tokens for one in found)},
    "errors": lambda found: {"total": sum(one.status >= 400 for one in found)},
    "latency": _latency,
}
