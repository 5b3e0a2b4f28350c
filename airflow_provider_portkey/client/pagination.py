"""Lists: their items, the walk over their pages, and the only guards against pagination loops."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

from airflow_provider_portkey.exceptions import PortkeyPaginationError, PortkeyUnexpectedResponseError
from airflow_provider_portkey.parameters import PARAMETERS

Item = dict[str, Any]
Query = list[tuple[str, str]]

#: Latest items that are compared with new ones. Cursors are all kept: one for each page.
_RECENT_ITEMS = 10_000


def items_of(page: Mapping[str, Any], *, field: str = "data", has_ids: bool = True) -> list[Item]:
    """
    Return the items of a page.

    :param field: The field of the page with the items.
    :param has_ids: Whether every item must have an id.
    :raises PortkeyUnexpectedResponseError: where the page is no list of objects, with an id each if they have ids.
    """
    items = page.get(field)
    if not isinstance(items, list):
        found = sorted(page)
        raise PortkeyUnexpectedResponseError(f"The response is no list: it has no array {field!r}, only {found}.")
    are_objects = set(map(type, items)) <= {dict}
    if are_objects and (not has_ids or len(_ids_of(items)) == len(items)):
        return items
    for item in items:
        if not isinstance(item, dict):
            raise PortkeyUnexpectedResponseError(f"The list has an item that is no object: {type(item).__name__}.")
        if has_ids:
            _require_id(item)
    return items


class Pager(Protocol):
    """Where a walk over the pages of a list stands."""

    def position(self, remaining: int | None) -> Mapping[str, Any]:
        """
        Return the parameters of the next request.

        :param remaining: The number of items that are still wanted.
        """

    def check(self, items: Sequence[Item]) -> None:
        """
        Check the items of a page.

        :raises PortkeyPaginationError: where the page shows that the list is a loop.
        """

    def advance(self, page: Mapping[str, Any], items: Sequence[Item]) -> bool:
        """Move behind a page; return whether there may be another one."""


def iter_items(
    fetch: Callable[..., Mapping[str, Any]],
    pager: Pager,
    *,
    read: Callable[[Mapping[str, Any]], list[Item]] = items_of,
    max_items: int | None = None,
    on_page: Callable[[int], None] | None = None,
) -> Iterator[Item]:
    """
    Return a lazy iterator over every item of every page; one page at a time is in memory.

    :param fetch: Returns one page for the parameters of a pager's position.
    :param pager: At the first page.
    :param read: Returns the items of a page.
    :param max_items: Stop after this number of items.
    :param on_page: Called with the number of items of each page.
    :raises PortkeyInvalidArgumentError: at the call, before any request.
    :raises PortkeyUnexpectedResponseError: while iterating, where a page is no page of the list.
    :raises PortkeyPaginationError: while iterating, where the server repeats a cursor, an item or a page.
    """
    remaining = PARAMETERS["max_items"]("max_items", max_items)

    def walk(remaining: int | None) -> Iterator[Item]:
        while remaining is None or remaining > 0:
            page = fetch(**pager.position(remaining))
            items = read(page)
            pager.check(items)
            wanted = items[:remaining]
            if on_page:
                on_page(len(wanted))
            yield from wanted
            remaining = None if remaining is None else remaining - len(wanted)
            if remaining == 0 or not pager.advance(page, items):
                return

    return walk(remaining)


class CursorPager:
    """
    Each page begins after the last item of the page before.

    :param page_size: Items for each request.
    :param after: Id after which the first page begins.
    """

    def __init__(self, *, page_size: int, after: str | None = None) -> None:
        self._page_size = page_size
        self._after = after
        self.check = LoopGuard(after).check

    def position(self, remaining: int | None) -> Mapping[str, Any]:
        """Return the number of items, and the cursor."""
        limit = self._page_size if remaining is None else min(self._page_size, remaining)
        return {"limit": limit, "after": self._after}

    def advance(self, page: Mapping[str, Any], items: Sequence[Item]) -> bool:
        """
        Move the cursor to the last item.

        :raises PortkeyUnexpectedResponseError: where that item has no id.
        """
        if not items or page.get("has_more") is False:
            return False
        # Not the page's last_id: in Portkey's own example it differs from the id of the last item.
        self._after = _require_id(items[-1])
        return True


class PageNumberPager:
    """
    Pages have numbers; the list ends at an empty page, at ``has_more: false``, or after ``total`` items.

    :param page_size: Items for each request.
    :param page: The number of the first page.
    """

    def __init__(self, *, page_size: int, page: int) -> None:
        self._page_size = page_size
        self._page = page
        self._seen = 0
        self._previous = b""

    def position(self, remaining: int | None) -> Mapping[str, Any]:
        """Return the number of the page and of its items, which must not change on the way."""
        return {"limit": self._page_size, "page": self._page}

    def check(self, items: Sequence[Item]) -> None:
        """Compare the page with the one before: items may have no ids, and may move to the next page meanwhile."""
        digest = hashlib.sha256(json.dumps(items, sort_keys=True).encode()).digest()
        if items and digest == self._previous:
            raise PortkeyPaginationError(
                f"Pagination loop: the server sent the same page as number {self._page - 1} and {self._page}. "
                "The server seems to ignore the number of the page."
            )
        self._previous = digest

    def advance(self, page: Mapping[str, Any], items: Sequence[Item]) -> bool:
        """Move to the next number."""
        self._page += 1
        self._seen += len(items)
        total = page.get("total")
        all_seen = type(total) is int and self._seen >= total
        return bool(items) and not all_seen and page.get("has_more") is not False


class SinglePage:
    """The list is one page."""

    def position(self, remaining: int | None) -> Mapping[str, Any]:
        """Return no parameters."""
        return {}

    def check(self, items: Sequence[Item]) -> None:
        """Check nothing: there is no second request."""

    def advance(self, page: Mapping[str, Any], items: Sequence[Item]) -> bool:
        """
        End the walk.

        :raises PortkeyPaginationError: where the server says that there is more: items would be missing.
        """
        if page.get("has_more") is True:
            raise PortkeyPaginationError("The list has more than one page, but is declared with paging='none'.")
        return False


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
        Check the next page's items; an item without an id cannot be compared.

        :raises PortkeyPaginationError: where an item or the last item's id as a cursor is repeated.
        """
        ids = _ids_of(items)
        new = set(ids)
        if len(new) < len(ids) or not self._recent.isdisjoint(new):
            repeated = next(item_id for at, item_id in enumerate(ids) if item_id in self._recent or item_id in ids[:at])
            raise PortkeyPaginationError(
                f"Pagination loop: the server sent item {repeated!r} twice. "
                "The server seems to ignore the parameter 'after'."
            )
        self._recent |= new
        self._in_order += ids
        while len(self._in_order) > _RECENT_ITEMS:
            self._recent.discard(self._in_order.popleft())
        if items and (cursor := _id_of(items[-1])):
            if cursor in self._cursors:
                raise PortkeyPaginationError(
                    f"Pagination loop: the server returned to cursor {cursor!r}, after which a page was read before."
                )
            self._cursors.add(cursor)


def _ids_of(items: Sequence[Item]) -> list[str]:
    """Return the ids of the items that have one."""
    ids = [item.get("id") for item in items]
    if set(map(type, ids)) == {str} and "" not in ids:  # as of nearly every page
        return cast("list[str]", ids)
    return [item_id for item in items if (item_id := _id_of(item))]


def _id_of(item: Item) -> str | None:
    item_id = item.get("id")
    return item_id if isinstance(item_id, str) and item_id else None


def _require_id(item: Item) -> str:
    if item_id := _id_of(item):
        return item_id
    raise PortkeyUnexpectedResponseError(f"The list has an item without an id: an object with {sorted(item)}.")
