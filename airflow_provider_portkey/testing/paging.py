"""Lists that are read in pages, by the cursor rules of the list endpoints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar, cast

from airflow_provider_portkey.testing.errors import bad_request

DEFAULT_LIMIT = 20

#: Portkey's schema states no bounds; the servers behind it refuse anything outside these.
MIN_LIMIT, MAX_LIMIT = 1, 100

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,9}")


class Identified(Protocol):
    """Anything that has an id."""

    id: str


T = TypeVar("T", bound=Identified)


@dataclass(frozen=True)
class PageQuery:
    """Which page of a list is wanted.

    :param limit: the most items on the page, 1 to 100.
    :param order: ``asc`` has the oldest first, ``desc`` the newest.
    :param after: the id of the item that the page follows.
    :param before: the id of the item that the page leads up to.
    """

    limit: int = DEFAULT_LIMIT
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    before: str | None = None

    @classmethod
    def parse(cls, query: Mapping[str, str], *, default_limit: int = DEFAULT_LIMIT) -> PageQuery:
        """Read the four paging parameters of a query string; others are left alone.

        :param query: names and values, decoded.
        :param default_limit: the limit of a query that names none.
        :raises ApiError: 400 for a limit outside 1..100 or an order other than ``asc`` and ``desc``.
        """
        limit = query.get("limit", str(default_limit))
        if not _WHOLE_NUMBER.fullmatch(limit):
            raise bad_request(f"'limit' has to be a whole number, not '{limit}'.", param="limit")
        if not MIN_LIMIT <= int(limit) <= MAX_LIMIT:
            raise bad_request(f"'limit' has to be {MIN_LIMIT} to {MAX_LIMIT}, not {limit}.", param="limit")
        order = query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise bad_request(f"'order' has to be 'asc' or 'desc', not '{order}'.", param="order")
        return cls(
            limit=int(limit),
            order=cast('Literal["asc", "desc"]', order),
            after=query.get("after") or None,
            before=query.get("before") or None,
        )


class Shelf(Generic[T]):
    """Items in the order of their creation, each found at once by its id.

    A page costs what its own length costs, however long the list is.
    """

    def __init__(self) -> None:
        self._items: list[T] = []
        self._places: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._places

    def add(self, item: T) -> T:
        """Put an item at the newest end.

        :raises ValueError: where its id is taken already.
        """
        if item.id in self._places:
            raise ValueError(f"The id '{item.id}' is taken already")
        self._places[item.id] = len(self._items)
        self._items.append(item)
        return item

    def get(self, item_id: str) -> T | None:
        """Find an item by its id."""
        place = self._places.get(item_id)
        return None if place is None else self._items[place]

    def page(self, query: PageQuery) -> tuple[list[T], bool]:
        """Take one page, and say whether more follow in the direction of paging.

        ``after`` pages onwards. ``before`` alone gives the page directly in front of that item, still in
        the list's own order, and pages backwards. Both together bound the list at both ends.

        :raises ApiError: 400 for a cursor that is not in this list.
        """
        total = len(self._items)
        start = self._place("after", query.after, query) + 1 if query.after else 0
        stop = self._place("before", query.before, query) if query.before else total
        if query.before and not query.after:
            first, last = max(stop - query.limit, 0), stop
            has_more = first > 0
        else:
            first, last = start, max(start, min(start + query.limit, stop))
            has_more = last < stop
        if query.order == "asc":
            return self._items[first:last], has_more
        return self._items[total - last : total - first][::-1], has_more

    def _place(self, param: str, item_id: str, query: PageQuery) -> int:
        place = self._places.get(item_id)
        if place is None:
            raise bad_request(f"'{param}' names '{item_id}', which is not in this list.", param=param)
        return place if query.order == "asc" else len(self._items) - 1 - place


def as_page(data: list[dict[str, Any]], has_more: bool) -> dict[str, Any]:
    """Wrap one page of objects the way the list endpoints do; an empty page has null ids."""
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }
