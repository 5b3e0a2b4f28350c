from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

import pytest

from airflow_provider_portkey.client.pagination import Query, items_of, iter_items, page_query
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
        self.queries: list[dict[str, str]] = []

    def __call__(self, query: Query) -> Mapping[str, Any]:
        given = dict(query)
        self.queries.append(given)
        start = int(given.get("after", "step_0").removeprefix("step_"))
        last = min(start + int(given["limit"]), self.count)
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


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 200, 2_345])
@pytest.mark.parametrize("page_size", [1, 7, 100])
def test_every_item_is_yielded_once_and_in_order(count: int, page_size: int) -> None:
    server = Server(count)

    assert list(iter_items(server, page_size=page_size)) == items(1, count)
    assert len(server.queries) == max(1, -(-count // page_size))
    assert {query["limit"] for query in server.queries} == {str(page_size)}


@pytest.mark.parametrize("count", [0, 5, 10, 12])
@pytest.mark.parametrize("has_more", [True, None, "absent", "false"])
def test_a_list_without_has_more_false_ends_at_an_empty_page(count: int, has_more: Any) -> None:
    def change(page: dict[str, Any]) -> None:
        page["has_more"] = has_more
        if has_more == "absent":
            del page["has_more"]

    server = Server(count, change)

    assert list(iter_items(server, page_size=5)) == items(1, count)
    assert server.queries[-1].get("after") == (f"step_{count}" if count else None)


def test_a_list_with_has_more_false_is_not_requested_again() -> None:
    server = Server(100, lambda page: page.update(has_more=False))

    assert list(iter_items(server, page_size=5)) == items(1, 5)
    assert len(server.queries) == 1


@pytest.mark.parametrize("last_id", ["step_1", "step_999", None, "", 5])
def test_the_cursor_is_the_last_items_id_and_not_last_id(last_id: Any) -> None:
    server = Server(12, lambda page: page.update(last_id=last_id))

    assert list(iter_items(server, page_size=5)) == items(1, 12)
    assert [query.get("after") for query in server.queries] == [None, "step_5", "step_10"]


def test_order_after_and_include_are_sent_with_every_page() -> None:
    sent: list[Query] = []
    server = Server(12)

    def fetch(query: Query) -> Mapping[str, Any]:
        sent.append(query)
        return server([pair for pair in query if pair[0] != "include[]"])

    found = list(iter_items(fetch, page_size=5, order="asc", after="step_2", include=["a[*].b", "c"]))

    assert found == items(3, 12)
    include = [("include[]", "a[*].b"), ("include[]", "c")]
    assert sent == [
        [("limit", "5"), ("order", "asc"), ("after", "step_2"), *include],
        [("limit", "5"), ("order", "asc"), ("after", "step_7"), *include],
    ]


@pytest.mark.parametrize(
    ("max_items", "limits"),
    [(0, []), (1, ["1"]), (4, ["4"]), (5, ["5"]), (6, ["5", "1"]), (10, ["5", "5"]), (12, ["5", "5", "2"])],
)
def test_max_items_limits_the_requested_items(max_items: int, limits: list[str]) -> None:
    server = Server(100)

    assert list(iter_items(server, page_size=5, max_items=max_items)) == items(1, max_items)
    assert [query["limit"] for query in server.queries] == limits


def test_a_list_without_the_parameter_order_gets_none() -> None:
    server = Server(12)

    assert list(iter_items(server, page_size=5, ordered=False)) == items(1, 12)
    assert [query.keys() for query in server.queries] == [{"limit"}, {"limit", "after"}, {"limit", "after"}]


def test_max_items_above_the_length_of_the_list_yields_the_list() -> None:
    assert list(iter_items(Server(12), page_size=5, max_items=50)) == items(1, 12)


def test_max_items_holds_for_a_server_that_ignores_limit() -> None:
    def fetch(query: Query) -> Mapping[str, Any]:
        return {"data": items(1, 50), "has_more": True}

    assert list(iter_items(fetch, max_items=3)) == items(1, 3)


def test_only_pages_that_are_read_are_requested() -> None:
    server = Server(100)
    lazy = iter_items(server, page_size=10)
    assert server.queries == []

    assert list(islice(lazy, 10)) == items(1, 10)
    assert len(server.queries) == 1

    assert next(lazy) == {"id": "step_11"}
    assert len(server.queries) == 2


def test_on_page_is_called_with_the_size_of_each_page() -> None:
    sizes: list[int] = []

    list(iter_items(Server(10, lambda page: page.update(has_more=True)), page_size=4, on_page=sizes.append))

    assert sizes == [4, 4, 2, 0]


def test_unknown_fields_of_items_are_kept() -> None:
    strange = {"id": "step_1", "new": {"deep": [1, None, "ü"]}, "status": "unheard_of"}

    assert list(iter_items(lambda query: {"data": [strange], "has_more": False})) == [strange]


def test_a_server_that_ignores_after_is_a_loop_after_its_first_page() -> None:
    found = []
    with pytest.raises(PortkeyPaginationError, match=r"item 'step_1' twice.*ignore the parameter 'after'"):
        for item in iter_items(lambda query: {"data": items(1, 5), "has_more": True}, page_size=5):
            found.append(item)

    assert found == items(1, 5)


def test_an_item_on_two_pages_is_a_loop() -> None:
    pages = iter([items(1, 5), items(5, 9)])

    with pytest.raises(PortkeyPaginationError, match="'step_5' twice"):
        list(iter_items(lambda query: {"data": next(pages), "has_more": True}))


def test_an_item_twice_on_a_page_is_a_loop() -> None:
    with pytest.raises(PortkeyPaginationError, match="'step_2' twice"):
        list(iter_items(lambda query: {"data": [*items(1, 2), *items(2, 3)], "has_more": False}))


def test_a_return_to_the_first_cursor_is_a_loop() -> None:
    with pytest.raises(PortkeyPaginationError, match="cursor 'step_9'"):
        list(iter_items(lambda query: {"data": items(5, 9), "has_more": True}, after="step_9"))


def test_a_loop_longer_than_the_recent_items_is_detected() -> None:
    loop = 15_000

    def fetch(query: Query) -> Mapping[str, Any]:
        start = int(dict(query).get("after", "step_0").removeprefix("step_")) % loop
        return {"data": items(start + 1, start + 100), "has_more": True}

    lazy = iter_items(fetch)
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
        ({"data": ["step_1"]}, "without an id"),
        ({"data": [None]}, "without an id"),
    ],
)
def test_a_response_that_is_no_list_of_items_is_an_error(page: dict[str, Any], message: str) -> None:
    with pytest.raises(PortkeyUnexpectedResponseError, match=message):
        list(iter_items(lambda query: page))
    with pytest.raises(PortkeyUnexpectedResponseError, match=message):
        items_of(page)


def test_a_huge_item_without_an_id_is_cut_in_the_error() -> None:
    with pytest.raises(PortkeyUnexpectedResponseError) as raised:
        items_of({"data": [{"name": "x" * 100_000}]})

    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *[("limit", value) for value in (0, -1, 101, 1.5, "many", None, True)],
        *[("order", value) for value in ("", "ASC", "newest", None, 1, ["asc"])],
        *[(name, value) for name in ("after", "before") for value in ("", " ", 5, ["step_1"], True)],
        *[("include", value) for value in ("step_details", [""], [5], [None], b"ab")],
        ("include", 5),
    ],
)
def test_the_parameters_of_a_list_call_are_checked(name: str, wrong: Any) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=f"^{name}="):
        page_query(**{name: wrong})


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"page_size": 0}, "limit"),
        ({"page_size": 101}, "limit"),
        ({"order": "up"}, "order"),
        ({"after": ""}, "after"),
        ({"include": "one"}, "include"),
        ({"max_items": -1}, "max_items"),
        ({"max_items": 1.0}, "max_items"),
        ({"max_items": True}, "max_items"),
    ],
)
def test_an_iterator_refuses_wrong_arguments_before_any_request(arguments: dict[str, Any], name: str) -> None:
    server = Server(5)

    with pytest.raises(PortkeyInvalidArgumentError, match=f"^{name}="):
        iter_items(server, **arguments)

    assert server.queries == []


@pytest.mark.parametrize(
    ("arguments", "query"),
    [
        ({}, [("limit", "20"), ("order", "desc")]),
        ({"limit": 1, "order": "asc"}, [("limit", "1"), ("order", "asc")]),
        (
            {"limit": 100, "after": "a", "before": "b", "include": ("x", "y")},
            [
                ("limit", "100"),
                ("order", "desc"),
                ("after", "a"),
                ("before", "b"),
                ("include[]", "x"),
                ("include[]", "y"),
            ],
        ),
        ({"include": []}, [("limit", "20"), ("order", "desc")]),
        ({"ordered": False, "after": "a"}, [("limit", "20"), ("after", "a")]),
    ],
)
def test_the_parameters_of_a_list_call_become_its_query(arguments: dict[str, Any], query: Query) -> None:
    assert page_query(**arguments) == query


def test_a_long_list_is_read_in_bounded_memory() -> None:
    count = 200_000

    def fetch(query: Query) -> Mapping[str, Any]:
        start = int(dict(query).get("after", "step_0").removeprefix("step_"))
        page = [{"id": f"step_{number}", "text": "x" * 200} for number in range(start + 1, start + 101)]
        return {"data": page, "has_more": start + 100 < count}

    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        read = sum(1 for _ in iter_items(fetch))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert read == count
    assert peak - before < 5_000_000
