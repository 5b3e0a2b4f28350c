from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

from airflow_provider_portkey.testing.errors import ApiError
from airflow_provider_portkey.testing.paging import PageQuery, Shelf, as_page


@dataclass
class Item:
    id: str


def shelf_of(count: int) -> Shelf[Item]:
    shelf: Shelf[Item] = Shelf()
    for number in range(count):
        shelf.add(Item(f"i{number}"))
    return shelf


def walk(shelf: Shelf[Item], **query: str) -> list[list[str]]:
    """Read every page, following the last item's id."""
    pages: list[list[str]] = []
    while True:
        items, has_more = shelf.page(PageQuery.parse(query))
        pages.append([item.id for item in items])
        if not has_more:
            return pages
        query["after"] = items[-1].id


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_every_item_comes_once_and_in_order(order: str) -> None:
    pages = walk(shelf_of(2345), order=order, limit="100")
    expected = [f"i{number}" for number in range(2345)]
    if order == "desc":
        expected.reverse()
    assert [item for page in pages for item in page] == expected
    assert [len(page) for page in pages] == [100] * 23 + [45]


def test_defaults_are_twenty_newest_first() -> None:
    items, has_more = shelf_of(25).page(PageQuery.parse({}))
    assert [item.id for item in items] == [f"i{number}" for number in range(24, 4, -1)]
    assert has_more


def test_a_full_last_page_has_no_more() -> None:
    assert walk(shelf_of(40)) == [
        [f"i{number}" for number in range(39, 19, -1)],
        [f"i{number}" for number in range(19, -1, -1)],
    ]


def test_after_the_last_item_the_page_is_empty() -> None:
    items, has_more = shelf_of(3).page(PageQuery(after="i0"))
    assert (items, has_more) == ([], False)
    assert as_page([], False) == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


def test_a_page_names_its_first_and_last() -> None:
    page = as_page([{"id": "a"}, {"id": "b"}, {"id": "c"}], True)
    assert (page["first_id"], page["last_id"], page["has_more"]) == ("a", "c", True)


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
def test_before_gives_the_page_in_front(order: str, before: str, expected: list[str], has_more: bool) -> None:
    items, more = shelf_of(10).page(PageQuery.parse({"order": order, "before": before, "limit": "2"}))
    assert ([item.id for item in items], more) == (expected, has_more)


@pytest.mark.parametrize(
    ("after", "before", "expected", "has_more"),
    [("i2", "i5", ["i3", "i4"], False), ("i2", "i9", ["i3", "i4"], True), ("i5", "i2", [], False)],
)
def test_both_cursors_bound_the_list(after: str, before: str, expected: list[str], has_more: bool) -> None:
    items, more = shelf_of(10).page(PageQuery(limit=2, order="asc", after=after, before=before))
    assert ([item.id for item in items], more) == (expected, has_more)


def test_a_cursor_stays_in_place_while_the_list_grows() -> None:
    shelf = shelf_of(10)
    shelf.add(Item("new"))
    items, _ = shelf.page(PageQuery(limit=2, after="i8"))
    assert [item.id for item in items] == ["i7", "i6"]


@pytest.mark.parametrize("name", ["after", "before"])
def test_an_unknown_cursor_is_refused(name: str) -> None:
    with pytest.raises(ApiError) as refused:
        shelf_of(3).page(PageQuery.parse({name: "nobody"}))
    assert (refused.value.status, refused.value.param) == (400, name)


@pytest.mark.parametrize("limit", ["0", "-1", "101", "ten", "", "1.5", " 5", "٣", "9" * 5000])
def test_a_limit_outside_the_bounds_is_refused(limit: str) -> None:
    with pytest.raises(ApiError) as refused:
        PageQuery.parse({"limit": limit})
    assert (refused.value.status, refused.value.param) == (400, "limit")


@pytest.mark.parametrize("limit", ["1", "100"])
def test_the_bounds_themselves_are_fine(limit: str) -> None:
    assert PageQuery.parse({"limit": limit}).limit == int(limit)


def test_an_order_of_its_own_is_refused() -> None:
    with pytest.raises(ApiError) as refused:
        PageQuery.parse({"order": "ASC"})
    assert refused.value.param == "order"


def test_an_id_is_taken_once() -> None:
    shelf = shelf_of(1)
    with pytest.raises(ValueError, match="i0"):
        shelf.add(Item("i0"))


def test_a_page_deep_in_a_long_list_is_quick() -> None:
    shelf = shelf_of(100_000)
    begun = time.perf_counter()
    for number in range(1000):
        shelf.page(PageQuery(limit=100, after=f"i{99_999 - number * 50}"))
    # About 5 ms; reading the list from its start would take seconds.
    assert time.perf_counter() - begun < 0.5
