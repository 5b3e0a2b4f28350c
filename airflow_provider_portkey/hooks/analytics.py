"""The calls of Portkey's analytics: a report as a graph over time, and the groups of a window."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from airflow_provider_portkey.client.pagination import Item, PageNumberPager, Query, iter_items
from airflow_provider_portkey.exceptions import (
    PortkeyInvalidArgumentError,
    PortkeyPaginationError,
    PortkeyRowsMismatchError,
    PortkeyUnexpectedResponseError,
)
from airflow_provider_portkey.hooks.base import BasePortkeyHook
from airflow_provider_portkey.jobs.analytics import FILTERS, Group, find_group, find_report
from airflow_provider_portkey.parameters import MAX_LIMIT

log = logging.getLogger(__name__)


class AnalyticsMixin(BasePortkeyHook):
    """
    The calls of analytics.

    Every call needs the workspace and the window; ``filters`` are those of ``jobs.analytics.FILTERS``.
    """

    def get_analytics_graph(
        self,
        report: str,
        *,
        workspace_slug: str,
        time_of_generation_min: str,
        time_of_generation_max: str,
        filters: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """
        Return a report over a window, with its ``summary`` and its ``data_points``, as Portkey sent it.

        :param report: ``"requests"``, ``"cost"``, ``"tokens"``, ``"errors"`` or ``"latency"``.
        :param workspace_slug: The workspace; Portkey ignores it where the API key is that of a workspace.
        :param time_of_generation_min: The start of the window, ISO 8601.
        :param time_of_generation_max: The end of the window, ISO 8601.
        :raises PortkeyInvalidArgumentError: for an unknown report or filter.
        :raises PortkeyUnexpectedResponseError: for a response without summary or data points.
        """
        path = find_report(report).path
        window = (workspace_slug, time_of_generation_min, time_of_generation_max)
        graph = self._client.get(path, {}, _query(window, filters))
        points = graph.get("data_points")
        is_graph = isinstance(graph.get("summary"), dict) and isinstance(points, list)
        if not is_graph or not all(isinstance(point, dict) for point in points or ()):
            raise PortkeyUnexpectedResponseError(
                f"The response is no analytics graph: an object with {sorted(graph)}, expected an object 'summary' and "
                "an array of objects 'data_points'."
            )
        return graph

    def iter_analytics_groups(
        self,
        group_by: str,
        *,
        workspace_slug: str,
        time_of_generation_min: str,
        time_of_generation_max: str,
        filters: Mapping[str, Any] | None = None,
        page_size: int = MAX_LIMIT,
        on_page: Callable[[int], None] | None = None,
    ) -> Iterator[Item]:
        """
        Return a lazy iterator over the groups of a window, as Portkey sent them; one page at a time is in memory.

        :param group_by: ``"model"``, ``"user"``, or ``"metadata."`` and a key.
        :param page_size: Groups for each request, 1 to 100; other parameters as in :meth:`get_analytics_graph`.
        :param on_page: Called with the number of groups of each page.
        :raises PortkeyInvalidArgumentError: for a group that the API does not list, or an unknown filter.
        :raises PortkeyPaginationError: while iterating, where the server repeats a page or a group.
        :raises PortkeyRowsMismatchError: while iterating, where the groups are not as many as Portkey counts.
        """
        group = find_group(group_by)
        if group is None or group.list_spec is None:
            raise PortkeyInvalidArgumentError("group_by", group_by, "'model', 'user', or 'metadata.' and a key")
        list_spec = group.list_spec
        window = (workspace_slug, time_of_generation_min, time_of_generation_max)
        fixed = _query(window, filters)
        ids = {"metadata_key": group.metadata_key or ""} if list_spec.id_names else {}

        def fetch(**position: Any) -> Mapping[str, Any]:
            return self._client.get(list_spec.path, ids, [*fixed, *list_spec.query(**position)])

        return iter_items(fetch, _GroupPager(group, page_size), read=list_spec.items_of, on_page=on_page)


class _GroupPager:
    """
    Pages by number, of groups without ids: each group once, and as many as Portkey counts.

    A request that arrives while pages are read may move a group to another page: the group would be read twice, or
    not at all. Of each group memory holds 16 bytes.
    """

    def __init__(self, group: Group, page_size: int) -> None:
        self._pages = PageNumberPager(page_size=page_size, page=0)
        self.position = self._pages.position
        self._field = group.value_field
        self._page_size = page_size
        self._seen: set[bytes] = set()
        self._total: int | None = None

    def check(self, items: Sequence[Item]) -> None:
        """
        Compare the groups of a page with all before.

        :raises PortkeyPaginationError: where a group is repeated.
        """
        self._pages.check(items)
        for item in items:
            value = json.dumps(item.get(self._field), sort_keys=True)
            digest = hashlib.blake2b(value.encode(), digest_size=16).digest()
            if digest in self._seen:
                raise PortkeyPaginationError(
                    f"The server sent the group {value:.100} twice. Either the server ignores the number of the page, "
                    "or groups moved between pages while they were read: let the window end some minutes ago."
                )
            self._seen.add(digest)

    def advance(self, page: Mapping[str, Any], items: Sequence[Item]) -> bool:
        """
        Move to the next page.

        :raises PortkeyRowsMismatchError: where the total changes on the way, or differs from the groups at the end.
        """
        total = page.get("total")
        if total == 0 and items:
            # No count, as of a server that makes its responses up from the contract.
            log.warning("Portkey counts no group and sent %d: whether all were sent is unknown.", len(self._seen))
            self._pages.advance({}, items)
            return len(items) >= self._page_size
        if type(total) is int:
            if self._total is not None and total != self._total:
                raise PortkeyRowsMismatchError(
                    f"Portkey counted {self._total} groups, and {total} one page later: the window is still changing. "
                    "A retry reads all pages again; let the window end some minutes ago."
                )
            self._total = total
        has_more = self._pages.advance(page, items)
        if not has_more and self._total is not None and len(self._seen) != self._total:
            raise PortkeyRowsMismatchError(
                f"Portkey counts {self._total} groups and sent {len(self._seen)}. A retry reads all pages again."
            )
        return has_more


def _query(window: tuple[str, str, str], filters: Mapping[str, Any] | None) -> Query:
    workspace_slug, start, end = window
    query = [("workspace_slug", workspace_slug), ("time_of_generation_min", start), ("time_of_generation_max", end)]
    for name, value in (filters or {}).items():
        if name not in FILTERS:
            raise PortkeyInvalidArgumentError("filters", name, f"names among {', '.join(FILTERS)}")
        if value is not None:
            query.append((name, _text(name, value)))
    return query


def _text(name: str, value: Any) -> str:
    """Return a filter as the API takes it: metadata as JSON, a list separated by commas."""
    if isinstance(value, Mapping) and name == "metadata":
        return json.dumps(value, sort_keys=True)
    values = value if isinstance(value, list | tuple) else [value]
    if not values or not all(type(one) in (str, int, float) and str(one).strip() for one in values):
        raise PortkeyInvalidArgumentError(f"filters[{name!r}]", value, "a string, a number, or a list of these")
    return ",".join(map(str, values))
