"""Lists: one page as it came, or every item of every page with one page in task_state."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from airflow_provider_portkey.exceptions import (
    PortkeyInvalidArgumentError,
    PortkeyPaginationError,
    PortkeyUnexpectedResponseError,
)

Item = dict[str, Any]
Query = list[tuple[str, str]]

#: The most items that servers put on one page; they answer 400 to a larger limit.
MAX_LIMIT = 100
#: Items that are remembered to notice one that comes twice. Cursors are all remembered: one for each page.
_REMEMBERED_ITEMS = 10_000


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
    Check what a list call takes and return it as query parameters.

    :param limit: Items on a page, 1 to 100.
    :param order: ``"asc"`` or ``"desc"``, by the time of creation.
    :param ordered: False for a list that takes no order.
    :param after: Id of the item before the page's first one.
    :param before: Id of the item after the page's last one.
    :param include: Names of further fields to include.
    :raises PortkeyInvalidArgumentError: naming the one that is wrong.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_LIMIT:
        raise PortkeyInvalidArgumentError("limit", limit, f"a whole number from 1 to {MAX_LIMIT}")
    if order not in ("asc", "desc"):
        raise PortkeyInvalidArgumentError("order", order, "'asc' or 'desc'")
    query = [("limit", str(limit)), *([("order", order)] if ordered else ())]
    for name, cursor in (("after", after), ("before", before)):
        if cursor is not None:
            if not isinstance(cursor, str) or not cursor.strip():
                raise PortkeyInvalidArgumentError(name, cursor, "the id of an item, or None")
            query.append((name, cursor))
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

    :raises PortkeyUnexpectedResponseError: where it is no list of objects that each have an id.
    """
    items = page.get("data")
    if not isinstance(items, list):
        raise PortkeyUnexpectedResponseError(f"The answer is no list: it has no array 'data', only {sorted(page)}.")
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("id"), str) or not item["id"]:
            what = f"an object with {sorted(item)}" if isinstance(item, dict) else type(item).__name__
            raise PortkeyUnexpectedResponseError(f"The list holds something without an id: {what}.")
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
    Return an iterator over every item, fetching a page when the one before it is used up.

    :param fetch: Fetches one page, given the query parameters.
    :param page_size: Items asked for at once, 1 to 100.
    :param order: ``"asc"`` or ``"desc"``.
    :param ordered: False for a list that takes no order.
    :param after: Start behind the item with this id.
    :param include: Names of further fields to include.
    :param max_items: Stop after so many.
    :param on_page: Called with the number of items of each page that came.
    :raises PortkeyInvalidArgumentError: at the call, before anything is sent.
    :raises PortkeyPaginationError: while iterating, where the server repeats a cursor or an item.
    """
    page_query(limit=page_size, order=order, ordered=ordered, after=after, include=include)
    if max_items is not None and (isinstance(max_items, bool) or not isinstance(max_items, int) or max_items < 0):
        raise PortkeyInvalidArgumentError("max_items", max_items, "a whole number of at least 0, or None")

    def walk(after: str | None, left: int | None) -> Iterator[Item]:
        repeats = RepeatGuard(after)
        while left is None or left > 0:
            limit = page_size if left is None else min(page_size, left)
            page = fetch(page_query(limit=limit, order=order, ordered=ordered, after=after, include=include))
            items = items_of(page)[:left]
            repeats.check(items)
            if on_page:
                on_page(len(items))
            yield from items
            if not items or page.get("has_more") is False:
                return
            # The id of the last item, not the page's last_id: Portkey's own example shows the two differ.
            after = items[-1]["id"]
            left = left and left - len(items)

    return walk(after, max_items)


class RepeatGuard:
    """
    Detects a list that repeats a cursor or one of the latest items, and would never end.

    :param start: The id after which the first page starts; ``None`` for the first item.
    """

    def __init__(self, start: str | None) -> None:
        self._cursors = {start}
        self._recent: set[str] = set()
        self._in_order: deque[str] = deque()

    def check(self, items: list[Item]) -> None:
        """
        Take the items of the next page.

        :raises PortkeyPaginationError: where the page repeats a cursor or an item.
        """
        for item in items:
            if item["id"] in self._recent:
                raise PortkeyPaginationError(
                    f"The server sent item {item['id']!r} twice while its list was read page by page. "
                    "It seems to ignore the parameter 'after'; following it would never end."
                )
            self._recent.add(item["id"])
            self._in_order.append(item["id"])
            if len(self._in_order) > _REMEMBERED_ITEMS:
                self._recent.discard(self._in_order.popleft())
        if items:
            if (cursor := items[-1]["id"]) in self._cursors:
                raise PortkeyPaginationError(
                    f"The server came back to cursor {cursor!r}, from which it was asked to go on before. "
                    "Following it would never end."
                )
            self._cursors.add(cursor)
