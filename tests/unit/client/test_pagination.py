from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any

import pytest

from airflow_provider_portkey.client.pagination import (
    CursorPager,
    Item,
    PageNumberPager,
    SinglePage,
    items_of,
    iter_items,
)
from airflow_provider_portkey.exceptions import (
    PortkeyInvalidArgumentError,
    PortkeyPaginationError,
    PortkeyUnexpectedResponseError,
)


def items(first: int, last: int) -> list[dict[str, Any]]:
    return [{"id": f"step_{number}"} for number in range(first, last + 1)]


class Server:
    """Serves ``step_1`` to ``step_{count}`` as Portkey pages them; ``change`` may alter each page."""

    def __init__(self, count: int, change: Callable[[dict[str, Any]], Any] = lambda page: page) -> None:
        self.count = count
        self.change = change
        self.requests: list[dict[str, Any]] = []

    def __call__(self, *, limit: int, after: str | None) -> Mapping[str, Any]:
        self.requests.append({"limit": limit, "after": after})
        start = int((after or "step_0").removeprefix("step_"))
        last = min(start + limit, self.count)
        data = items(start + 1, last)
        page = {
            "object": "list",
            "data": data,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
            "has_more": last < self.count,
        }
        self.change(page)
        return page


def walk(
    fetch: Callable[..., Mapping[str, Any]], *, page_size: int = 100, after: str | None = None, **arguments: Any
) -> Iterator[Item]:
    return iter_items(fetch, CursorPager(page_size=page_size, after=after), **arguments)


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 200, 2_345])
@pytest.mark.parametrize("page_size", [1, 7, 100])
def test_every_item_is_yielded_once_and_in_order(count: int, page_size: int) -> None:
    server = Server(count)

    assert list(walk(server, page_size=page_size)) == items(1, count)
    assert len(server.requests) == max(1, -(-count // page_size))
    assert {request["limit"] for request in server.requests} == {page_size}


@pytest.mark.parametrize("count", [0, 5, 10, 12])
@pytest.mark.parametrize("has_more", [True, None, "absent", "false"])
def test_a_list_without_has_more_false_ends_at_an_empty_page(count: int, has_more: Any) -> None:
    def change(page: dict[str, Any]) -> None:
        page["has_more"] = has_more
        if has_more == "absent":
            del page["has_more"]

    server = Server(count, change)

    assert list(walk(server, page_size=5)) == items(1, count)
    assert server.requests[-1]["after"] == (f"step_{count}" if count else None)


def test_a_list_with_has_more_false_is_not_requested_again() -> None:
    server = Server(100, lambda page: page.update(has_more=False))

    assert list(walk(server, page_size=5)) == items(1, 5)
    assert len(server.requests) == 1


@pytest.mark.parametrize("last_id", ["step_1", "step_999", None, "", 5])
def test_the_cursor_is_the_last_items_id_and_not_last_id(last_id: Any) -> None:
    server = Server(12, lambda page: page.update(last_id=last_id))

    assert list(walk(server, page_size=5)) == items(1, 12)
    assert [request["after"] for request in server.requests] == [None, "step_5", "step_10"]


@pytest.mark.parametrize(
    ("max_items", "limits"),
    [(0, []), (1, [1]), (4, [4]), (5, [5]), (6, [5, 1]), (10, [5, 5]), (12, [5, 5, 2])],
)
def test_max_items_limits_the_requested_items(max_items: int, limits: list[int]) -> None:
    server = Server(100)

    assert list(walk(server, page_size=5, max_items=max_items)) == items(1, max_items)
    assert [request["limit"] for request in server.requests] == limits


def test_max_items_above_the_length_of_the_list_yields_the_list() -> None:
    assert list(walk(Server(12), page_size=5, max_items=50)) == items(1, 12)


def test_max_items_holds_for_a_server_that_ignores_limit() -> None:
    def fetch(**_: Any) -> Mapping[str, Any]:
        return {"data": items(1, 50), "has_more": True}

    assert list(walk(fetch, max_items=3)) == items(1, 3)


def test_only_pages_that_are_read_are_requested() -> None:
    server = Server(100)
    lazy = walk(server, page_size=10)
    assert server.requests == []

    assert list(islice(lazy, 10)) == items(1, 10)
    assert len(server.requests) == 1

    assert next(lazy) == {"id": "step_11"}
    assert len(server.requests) == 2


def test_on_page_is_called_with_the_size_of_each_page() -> None:
    sizes: list[int] = []

    list(walk(Server(10, lambda page: page.update(has_more=True)), page_size=4, on_page=sizes.append))

    assert sizes == [4, 4, 2, 0]


def test_unknown_fields_of_items_are_kept() -> None:
    strange = {"id": "step_1", "new": {"deep": [1, None, "ü"]}, "status": "unheard_of"}

    assert list(walk(lambda **_: {"data": [strange], "has_more": False})) == [strange]


def test_a_server_that_ignores_after_is_a_loop_after_its_first_page() -> None:
    found = []
    with pytest.raises(PortkeyPaginationError, match=r"item 'step_1' twice.*ignore the parameter 'after'"):
        for item in walk(lambda **_: {"data": items(1, 5), "has_more": True}, page_size=5):
            found.append(item)

    assert found == items(1, 5)


def test_an_item_on_two_pages_is_a_loop() -> None:
    pages = iter([items(1, 5), items(5, 9)])

    with pytest.raises(PortkeyPaginationError, match="'step_5' twice"):
        list(walk(lambda **_: {"data": next(pages), "has_more": True}))


def test_an_item_twice_on_a_page_is_a_loop() -> None:
    with pytest.raises(PortkeyPaginationError, match="'step_2' twice"):
        list(walk(lambda **_: {"data": [*items(1, 2), *items(2, 3)], "has_more": False}))


def test_a_return_to_the_first_cursor_is_a_loop() -> None:
    with pytest.raises(PortkeyPaginationError, match="cursor 'step_9'"):
        list(walk(lambda **_: {"data": items(5, 9), "has_more": True}, after="step_9"))


def test_a_loop_longer_than_the_recent_items_is_detected() -> None:
    loop = 15_000

    def fetch(*, limit: int, after: str | None) -> Mapping[str, Any]:
        start = int((after or "step_0").removeprefix("step_")) % loop
        return {"data": items(start + 1, start + 100), "has_more": True}

    lazy = walk(fetch)
    assert list(islice(lazy, loop)) == items(1, loop)
    with pytest.raises(PortkeyPaginationError, match="cursor 'step_100'"):
        list(islice(lazy, loop))


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ({}, "no array 'data', only \\[\\]"),
        ({"object": "list", "items": []}, "no array 'data', only \\['items', 'object'\\]"),
        ({"data": None}, "no array 'data'"),
        ({"data": {"id": "step_1"}}, "no array 'data'"),
        ({"data": "step_1"}, "no array 'data'"),
        ({"data": [{"name": "x"}]}, "an item without an id: an object with \\['name'\\]"),
        ({"data": [{"id": "step_1"}, {"id": None}]}, "without an id"),
        ({"data": [{"id": ""}]}, "without an id"),
        ({"data": [{"id": 5}]}, "without an id"),
        ({"data": ["step_1"]}, "no object: str"),
        ({"data": [None]}, "no object: NoneType"),
    ],
)
def test_a_response_that_is_no_list_of_items_is_an_error(page: dict[str, Any], message: str) -> None:
    with pytest.raises(PortkeyUnexpectedResponseError, match=message):
        list(walk(lambda **_: page))
    with pytest.raises(PortkeyUnexpectedResponseError, match=message):
        items_of(page)


def test_a_huge_item_without_an_id_is_cut_in_the_error() -> None:
    with pytest.raises(PortkeyUnexpectedResponseError) as raised:
        items_of({"data": [{"name": "x" * 100_000}]})

    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("wrong", [-1, 1.0, True, "many"])
def test_a_wrong_number_of_items_is_refused_before_any_request(wrong: Any) -> None:
    server = Server(5)

    with pytest.raises(PortkeyInvalidArgumentError, match=r"^max_items="):
        walk(server, max_items=wrong)

    assert server.requests == []


#: Items as providers behind the gateway send them.
NAMELESS: list[dict[str, Any]] = [{"id": "a"}, {"type": "call"}, {"id": None}, {"id": ""}, {"id": 5}]
read_any = partial(items_of, has_ids=False)


def test_items_without_ids_are_kept_in_their_order() -> None:
    assert list(walk(lambda **_: {"data": NAMELESS, "has_more": False}, read=read_any)) == NAMELESS


def test_only_the_cursor_needs_an_id() -> None:
    pages = iter([[*NAMELESS, {"id": "b"}], [{"type": "call"}, {"id": "c"}], NAMELESS[1:]])
    sent = []

    def fetch(**position: Any) -> Mapping[str, Any]:
        sent.append(position["after"])
        return {"data": next(pages), "has_more": len(sent) < 3}

    assert len(list(walk(fetch, read=read_any))) == 12
    assert sent == [None, "b", "c"]


@pytest.mark.parametrize("last", NAMELESS[1:])
def test_an_item_without_an_id_cannot_be_the_cursor(last: dict[str, Any]) -> None:
    found = []
    with pytest.raises(PortkeyUnexpectedResponseError, match="an item without an id"):
        for item in walk(lambda **_: {"data": [{"id": "a"}, last], "has_more": True}, read=read_any):
            found.append(item)

    assert found == [{"id": "a"}, last]
    assert len(list(walk(lambda **_: {"data": [last], "has_more": True}, read=read_any, max_items=1))) == 1


def test_a_list_without_ids_still_has_objects() -> None:
    with pytest.raises(PortkeyUnexpectedResponseError, match="no object: str"):
        items_of({"data": ["a"]}, has_ids=False)


def test_the_field_of_the_items_is_given() -> None:
    assert items_of({"output": [{"id": "a"}]}, field="output") == [{"id": "a"}]
    with pytest.raises(PortkeyUnexpectedResponseError, match="no array 'output', only \\['data'\\]"):
        items_of({"data": []}, field="output")


class NumberedServer:
    """Serves rows without ids on numbered pages."""

    def __init__(self, count: int, *, first: int = 0, **more: Any) -> None:
        self.rows = [{"user": f"user {number}", "requests": "1"} for number in range(count)]
        self.first = first
        self.more = more
        self.requests: list[tuple[int, int]] = []

    def __call__(self, *, limit: int, page: int) -> Mapping[str, Any]:
        self.requests.append((page, limit))
        start = (page - self.first) * limit
        return {"object": "list", "data": self.rows[start : start + limit], **self.more}

    def walk(self, page_size: int, **arguments: Any) -> Iterator[Item]:
        return iter_items(self, PageNumberPager(page_size=page_size, page=self.first), read=read_any, **arguments)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("count", [0, 1, 5, 10, 12])
def test_numbered_pages_are_read_up_to_an_empty_one(count: int, first: int) -> None:
    server = NumberedServer(count, first=first)

    assert list(server.walk(5)) == server.rows
    assert server.requests == [(first + number, 5) for number in range(-(-count // 5) + 1)]


@pytest.mark.parametrize("more", [{"total": 10}, {"has_more": False}])
def test_numbered_pages_end_where_the_server_says_so(more: dict[str, Any]) -> None:
    server = NumberedServer(10, **more)

    assert len(list(server.walk(10))) == 10
    assert len(server.requests) == 1


@pytest.mark.parametrize("total", [None, "10", True, 0.5, 11])
def test_only_a_whole_number_of_items_ends_numbered_pages(total: Any) -> None:
    server = NumberedServer(10, total=total)

    assert len(list(server.walk(5))) == 10
    assert len(server.requests) == 3


def test_a_limit_of_the_server_below_the_page_size_loses_nothing() -> None:
    rows = [{"user": str(number)} for number in range(7)]

    def fetch(*, limit: int, page: int) -> Mapping[str, Any]:
        return {"data": rows[page * 3 : page * 3 + 3]}

    assert list(iter_items(fetch, PageNumberPager(page_size=100, page=0), read=read_any)) == rows


def test_max_items_leaves_the_numbered_pages_as_they_are() -> None:
    server = NumberedServer(12)

    assert list(server.walk(5, max_items=7)) == server.rows[:7]
    assert server.requests == [(0, 5), (1, 5)]


def test_a_server_that_ignores_the_number_of_the_page_is_a_loop() -> None:
    found = []
    with pytest.raises(PortkeyPaginationError, match="same page as number 0 and 1"):
        pager = PageNumberPager(page_size=2, page=0)
        for item in iter_items(lambda **_: {"data": [{"n": 1}, {"n": 2}]}, pager, read=read_any):
            found.append(item)

    assert found == [{"n": 1}, {"n": 2}]


def test_an_item_that_moved_to_the_next_numbered_page_is_no_loop() -> None:
    pages = iter([items(1, 2), items(2, 3), []])

    assert len(list(iter_items(lambda **_: {"data": next(pages)}, PageNumberPager(page_size=2, page=0)))) == 4


def test_a_list_of_one_page_is_one_request_without_parameters() -> None:
    sent = []

    def fetch(**position: Any) -> Mapping[str, Any]:
        sent.append(position)
        return {"data": items(1, 3)}

    assert list(iter_items(fetch, SinglePage())) == items(1, 3)
    assert sent == [{}]


def test_a_list_of_one_page_that_has_more_pages_is_an_error() -> None:
    with pytest.raises(PortkeyPaginationError, match="more than one page"):
        list(iter_items(lambda **_: {"data": items(1, 3), "has_more": True}, SinglePage()))


def test_a_long_list_is_read_in_bounded_memory() -> None:
    count = 200_000

    def fetch(*, limit: int, after: str | None) -> Mapping[str, Any]:
        start = int((after or "step_0").removeprefix("step_"))
        page = [{"id": f"step_{number}", "text": "x" * 200} for number in range(start + 1, start + 101)]
        return {"data": page, "has_more": start + 100 < count}

    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        read = sum(1 for _ in walk(fetch))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert read == count
    assert peak - before < 5_000_000
