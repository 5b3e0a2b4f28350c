"""Lists that are read in pages, by the cursor rules of the list endpoints."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import quote

from airflow_provider_portkey.testing.errors import bad_request, not_found

#: Portkey's schema states no bounds of a limit; the servers behind it reject anything outside these.
DEFAULT_LIMIT, MIN_LIMIT, MAX_LIMIT = 20, 1, 100


class Identified(Protocol):
    """Anything that has an id."""

    id: str


T = TypeVar("T", bound=Identified)


class Record:
    """An item of a list whose object never changes."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.id: str = content["id"]
        self._content = content

    def serialize(self) -> dict[str, Any]:
        """Return the object."""
        return self._content


@dataclass(frozen=True)
class PageQuery:
    """
    The paging parameters of a request.

    :param limit: the maximum number of items on the page, 1 to 100.
    :param order: ``asc`` for the oldest first, ``desc`` for the newest.
    :param after: the id of the item before the page.
    :param before: the id of the item behind the page.
    """

    limit: int = DEFAULT_LIMIT
    order: str = "desc"
    after: str = ""
    before: str = ""

    @classmethod
    def parse(
        cls,
        query: Mapping[str, str],
        *,
        names: Collection[str] = ("limit", "order", "after", "before"),
        default_limit: int = DEFAULT_LIMIT,
    ) -> PageQuery:
        """
        Read the paging parameters of a decoded query string.

        :param names: the parameters that the endpoint knows; it ignores all others.
        :raises ApiError: 400 for a limit outside 1..100 or an order other than ``asc`` and ``desc``.
        """
        given = {name: value for name, value in query.items() if name in names}
        limit = given.pop("limit", str(default_limit))
        if not re.fullmatch("[0-9]{1,9}", limit) or not MIN_LIMIT <= int(limit) <= MAX_LIMIT:
            raise bad_request(f"'limit' has to be {MIN_LIMIT} to {MAX_LIMIT}, not '{limit}'.", param="limit")
        if given.get("order", "desc") not in ("asc", "desc"):
            raise bad_request(f"'order' has to be 'asc' or 'desc', not '{given['order']}'.", param="order")
        return cls(limit=int(limit), **given)


class Items(Generic[T]):
    """Items in the order of their creation, indexed by id. A page costs what its own length costs."""

    def __init__(self) -> None:
        self._items: list[T] = []
        self._positions: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._positions

    def check_new(self, item_id: str) -> None:
        """Raise a ``ValueError`` for an id that is taken."""
        if item_id in self._positions:
            raise ValueError(f"The id '{item_id}' is already taken")

    def add(self, item: T) -> T:
        """Append the newest item; see :meth:`check_new`."""
        self.check_new(item.id)
        self._positions[item.id] = len(self._items)
        self._items.append(item)
        return item

    @property
    def newest(self) -> T:
        """The item that was added last."""
        return self._items[-1]

    def get(self, item_id: str) -> T | None:
        """Find an item by its id."""
        return self._items[self._positions[item_id]] if item_id in self._positions else None

    def find(self, kind: str, item_id: str) -> T:
        """Find an item by its id, which may be stored percent-encoded, or raise a 404 that names its kind."""
        item = self.get(item_id) or self.get(quote(item_id, safe="!*'()"))
        if item is None:
            raise not_found(kind, item_id)
        return item

    def page(self, query: PageQuery) -> tuple[list[T], bool]:
        """
        Return one page, and whether more items follow in the direction of paging.

        ``after`` pages forwards. ``before`` alone returns the page directly in front of that item, still in the
        list's own order, and pages backwards. Both together bound the list at both ends.

        :raises ApiError: 400 for a cursor that is not in this list.
        """
        total = len(self._items)
        start = self._position("after", query.after, query) + 1 if query.after else 0
        stop = self._position("before", query.before, query) if query.before else total
        if query.before and not query.after:
            first, last = max(stop - query.limit, 0), stop
            has_more = first > 0
        else:
            first, last = start, max(start, min(start + query.limit, stop))
            has_more = last < stop
        if query.order == "asc":
            return self._items[first:last], has_more
        return self._items[total - last : total - first][::-1], has_more

    def list_page(self, query: PageQuery, serialize: Callable[[T], dict[str, Any]]) -> dict[str, Any]:
        """Return one page as the list endpoints do; an empty page has null ids."""
        items, has_more = self.page(query)
        data = [serialize(item) for item in items]
        first_id, last_id = (data[0]["id"], data[-1]["id"]) if data else (None, None)
        return {"object": "list", "data": data, "first_id": first_id, "last_id": last_id, "has_more": has_more}

    def _position(self, param: str, item_id: str, query: PageQuery) -> int:
        position = self._positions.get(item_id)
        if position is None:
            raise bad_request(f"'{param}' names '{item_id}', which is not in this list.", param=param)
        return position if query.order == "asc" else len(self._items) - 1 - position
