"""Lists: the query of one page, the position of the next page, and the only guard against pagination loops."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from airflow_provider_portkey.exceptions import (
    PortkeyInvalidArgumentError,
    PortkeyPaginationError,
    PortkeyUnexpectedResponseError,
)
from airflow_provider_portkey.parameters import PARAMETERS
from airflow_provider_portkey.validation import validate_id, whole_number

Item = dict[str, Any]
Query = list[tuple[str, str]]

#: Items on one page at most; servers respond with 400 to a larger limit (measured).
MAX_LIMIT = 100
#: Latest items that are compared with new ones. Cursors are all kept: one for each page.
_RECENT_ITEMS = 10_000

_check_limit = whole_number(1, MAX_LIMIT)
_check_max_items = whole_number(0, optional=True)


def page_query(
    *,
    limit: int = 20,
    order: str = "desc",
    ordered: bool = True,
    after: str | None = None,
    before: str | None = None,
    include: Sequence[str] | None = None,
) -> Query:
    """
    Check the parameters of a list call and return them as query parameters.

    :param limit: Items on a page, 1 to 100.
    :param order: ``"asc"`` or ``"desc"``, by the time of creation.
    :param ordered: ``False`` for a list without the parameter ``order``.
    :param after: Id of the item before the page's first one.
    :param before: Id of the item after the page's last one.
    :param include: Names of additional fields.
    :raises PortkeyInvalidArgumentError: naming the wrong parameter.
    """
    query = [("limit", str(_check_limit("limit", limit)))]
    order = PARAMETERS["order"]("order", order)
    query += [("order", order)] if ordered else []
    query += [(name, validate_id(name, id_)) for name, id_ in (("after", after), ("before", before)) if id_ is not None]
    if include is not None and (
        isinstance(include, str)
        or not isinstance(include, Sequence)
        or not all(isinstance(name, str) and name for name in include)
    ):
        raise PortkeyInvalidArgumentError("include", include, "a list of field names")
    return query + [("include[]", name) for name in include or ()]


def items_of(page: Mapping[str, Any]) -> list[Item]:
    """
    Return the items of a page.

    :raises PortkeyUnexpectedResponseError: where the page is no list of objects with an id each.
    """
    items = page.get("data")
    if not isinstance(items, list):
        raise PortkeyUnexpectedResponseError(f"The response is no list: it has no array 'data', only {sorted(page)}.")
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("id"), str) or not item["id"]:
            found = f"an object with {sorted(item)}" if isinstance(item, dict) else type(item).__name__
            raise PortkeyUnexpectedResponseError(f"The list has an item without an id: {found}.")
    return items


def iter_items(
    fetch: Callable[[Query], Mapping[str, Any]],
    *,
    page_size: int = MAX_LIMIT,
    order: str = "desc",
    ordered: bool = True,
    after: str | None = None,
    include: Sequence[str] | None = None,
    max_items: int | None = None,
    on_page: Callable[[int], None] | None = None,
) -> Iterator[Item]:
    """
    Return a lazy iterator over every item of every page; one page at a time is in memory.

    :param fetch: Returns one page for query parameters.
    :param page_size: Items for each request, 1 to 100.
    :param order: ``"asc"`` or ``"desc"``, by the time of creation.
    :param ordered: ``False`` for a list without the parameter ``order``.
    :param after: Start after the item with this id.
    :param include: Names of additional fields.
    :param max_items: Stop after this number of items.
    :param on_page: Called with the number of items of each page.
    :raises PortkeyInvalidArgumentError: at the call, before any request.
    :raises PortkeyPaginationError: while iterating, where the server repeats a cursor or an item.
    """
    page_query(limit=page_size, order=order, ordered=ordered, after=after, include=include)
    max_items = _check_max_items("max_items", max_items)

    def walk(after: str | None, remaining: int | None) -> Iterator[Item]:
        guard = LoopGuard(after)
        while remaining is None or remaining > 0:
            limit = page_size if remaining is None else min(page_size, remaining)
            page = fetch(page_query(limit=limit, order=order, ordered=ordered, after=after, include=include))
            items = items_of(page)[:remaining]
            guard.check(items)
            if on_page:
                on_page(len(items))
            yield from items
            if not items or page.get("has_more") is False:
                return
            # Not the page's last_id: in Portkey's own example it differs from the id of the last item.
            after = items[-1]["id"]
            remaining = remaining and remaining - len(items)

    return walk(after, max_items)


class LoopGuard:
    """
    Detects a pagination loop by every cursor and the latest items.

    :param start: Id after which the first page begins.
    """

    def __init__(self, start: str | None = None) -> None:
        self._cursors = {start}
        self._recent: set[str] = set()
        self._in_order: deque[str] = deque()

    def check(self, items: Sequence[Item]) -> None:
        """
        Check the next page's items.

        :raises PortkeyPaginationError: where an item or the last item's id as a cursor is repeated.
        """
        for item in items:
            if item["id"] in self._recent:
                raise PortkeyPaginationError(
                    f"Pagination loop: the server sent item {item['id']!r} twice. "
                    "The server seems to ignore the parameter 'after'."
                )
            self._recent.add(item["id"])
            self._in_order.append(item["id"])
            if len(self._in_order) > _RECENT_ITEMS:
                self._recent.discard(self._in_order.popleft())
        if items:
            if (cursor := items[-1]["id"]) in self._cursors:
                raise PortkeyPaginationError(
                    f"Pagination loop: the server returned to cursor {cursor!r}, after which a page was read before."
                )
            self._cursors.add(cursor)
