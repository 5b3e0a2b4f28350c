from __future__ import annotations

from dataclasses import dataclass

import pytest

from airflow_provider_portkey.testing.errors import ApiError
from airflow_provider_portkey.testing.paging import Items, PageQuery


@dataclass
class Item:
    id: str


def items_of(count: int) -> Items[Item]:
    listed: Items[Item] = Items()
    for number in range(count):
        listed.add(Item(f"i{number}"))
    return listed


def walk(listed: Items[Item], **query: str) -> list[list[str]]:
    """Read every page, following the last item's id."""
    pages: list[list[str]] = []
    while True:
        items, has_more = listed.page(PageQuery.parse(query))
        pages.append([item.id for item in items])
        if not has_more:
            return pages
        query["after"] = items[-1].id


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_every_item_comes_once_and_in_order(order: str) -> None:
    pages = walk(items_of(2345), order=order, limit="100")
    expected = [f"i{number}" for number in range(2345)]
    if order == "desc":
        expected.reverse()
    assert [item for page in pages for item in page] == expected
    assert [len(page) for page in pages] == [100] * 23 + [45]


def test_defaults_are_twenty_newest_first() -> None:
    items, has_more = items_of(25).page(PageQuery.parse({}))
    assert [item.id for item in items] == [f"i{number}" for number in range(24, 4, -1)]
    assert has_more


def test_a_full_last_page_has_no_more() -> None:
    assert walk(items_of(40)) == [
        [f"i{number}" for number in range(39, 19, -1)],
        [f"i{number}" for number in range(19, -1, -1)],
    ]


def test_after_the_last_item_the_page_is_empty() -> None:
    items, has_more = items_of(3).page(PageQuery(after="i0"))
    assert (items, has_more) == ([], False)
    page = items_of(3).list_page(PageQuery(after="i0"), vars)
    assert page == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


def test_a_page_names_its_first_and_last() -> None:
    page = items_of(5).list_page(PageQuery(limit=3, order="asc"), vars)
    assert page["data"] == [{"id": "i0"}, {"id": "i1"}, {"id": "i2"}]
    assert (page["first_id"], page["last_id"], page["has_more"]) == ("i0", "i2", True)


@pytest.mark.parametrize(
    ("order", "before", "expected", "has_more"),
    [
        ("asc", "i5", ["i3", "i4"], True),
        ("asc", "i2", ["i0", "i1"], False),
        ("asc", "i0", [], False),
        ("desc", "i5", ["i7", "i6"], True),
        ("desc", "i9", [], False),
    ],
)
def test_before_returns_the_page_in_front(order: str, before: str, expected: list[str], has_more: bool) -> None:
    items, more = items_of(10).page(PageQuery.parse({"order": order, "before": before, "limit": "2"}))
    assert ([item.id for item in items], more) == (expected, has_more)


@pytest.mark.parametrize(
    ("after", "before", "expected", "has_more"),
    [("i2", "i5", ["i3", "i4"], False), ("i2", "i9", ["i3", "i4"], True), ("i5", "i2", [], False)],
)
def test_both_cursors_bound_the_list(after: str, before: str, expected: list[str], has_more: bool) -> None:
    items, more = items_of(10).page(PageQuery(limit=2, order="asc", after=after, before=before))
    assert ([item.id for item in items], more) == (expected, has_more)


def test_a_cursor_stays_in_place_while_the_list_grows() -> None:
    listed = items_of(10)
    listed.add(Item("new"))
    items, _ = listed.page(PageQuery(limit=2, after="i8"))
    assert [item.id for item in items] == ["i7", "i6"]


@pytest.mark.parametrize("name", ["after", "before"])
def test_an_unknown_cursor_is_rejected(name: str) -> None:
    with pytest.raises(ApiError) as rejected:
        items_of(3).page(PageQuery.parse({name: "unknown"}))
    assert (rejected.value.status, rejected.value.param) == (400, name)


@pytest.mark.parametrize("limit", ["0", "-1", "101", "ten", "", "1.5", " 5", "٣", "9" * 5000])
def test_a_limit_outside_the_bounds_is_rejected(limit: str) -> None:
    with pytest.raises(ApiError) as rejected:
        PageQuery.parse({"limit": limit})
    assert (rejected.value.status, rejected.value.param) == (400, "limit")


@pytest.mark.parametrize("limit", ["1", "100"])
def test_the_bounds_are_accepted(limit: str) -> None:
    assert PageQuery.parse({"limit": limit}).limit == int(limit)


def test_an_unknown_order_is_rejected() -> None:
    with pytest.raises(ApiError) as rejected:
        PageQuery.parse({"order": "ASC"})
    assert rejected.value.param == "order"


def test_an_id_is_unique() -> None:
    listed = items_of(1)
    with pytest.raises(ValueError, match="i0"):
        listed.add(Item("i0"))


def test_an_endpoint_ignores_parameters_that_it_does_not_know() -> None:
    assert PageQuery.parse({"order": "up", "before": "x", "limit": "5"}, names=("limit",)) == PageQuery(limit=5)


def test_an_unknown_id_is_a_404() -> None:
    listed = items_of(1)
    assert listed.find("item", "i0") is listed.get("i0") is listed.newest
    with pytest.raises(ApiError, match="No item found with id 'unknown'") as rejected:
        listed.find("item", "unknown")
    assert rejected.value.status == 404


def test_a_page_deep_in_a_long_list_visits_no_other_items() -> None:
    visited: list[int] = []

    class Watched:
        def __init__(self, number: int) -> None:
            self.number = number

        @property
        def id(self) -> str:
            visited.append(self.number)
            return f"i{self.number}"

    listed: Items[Watched] = Items()
    for number in range(1000):
        listed.add(Watched(number))
    visited.clear()
    items, _ = listed.page(PageQuery(limit=10, after="i500"))
    assert [item.number for item in items] == list(range(499, 489, -1))
    assert set(visited) <= set(range(489, 501))
