"""Lists in pages, new ids, plans and files."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_portkey.testing import Clock
from airflow_provider_portkey.testing.faults import ApiError
from airflow_provider_portkey.testing.store import Items, Store


def items_of(count: int) -> Items[str]:
    listed: Items[str] = Items()
    for number in range(count):
        listed.add(f"i{number}", f"i{number}")
    return listed


def page_of(listed: Items[str], **query: str) -> dict[str, Any]:
    return listed.page(query, lambda item: {"id": item})


def ids_of(listed: Items[str], **query: str) -> list[str]:
    return [item["id"] for item in page_of(listed, **query)["data"]]


def walk(listed: Items[str], **query: str) -> list[list[str]]:
    """Read every page, following the last item's id."""
    pages: list[list[str]] = []
    while True:
        page = page_of(listed, **query)
        pages.append([item["id"] for item in page["data"]])
        if not page["has_more"]:
            return pages
        query["after"] = page["last_id"]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_every_item_comes_once_and_in_order(order: str) -> None:
    pages = walk(items_of(2345), order=order, limit="100")
    expected = [f"i{number}" for number in range(2345)]
    if order == "desc":
        expected.reverse()
    assert [item for page in pages for item in page] == expected
    assert [len(page) for page in pages] == [100] * 23 + [45]


def test_defaults_are_twenty_newest_first() -> None:
    assert ids_of(items_of(25)) == [f"i{number}" for number in range(24, 4, -1)]
    assert page_of(items_of(25))["has_more"]


def test_a_full_last_page_has_no_more() -> None:
    assert [len(page) for page in walk(items_of(40))] == [20, 20]


def test_after_the_last_item_the_page_is_empty() -> None:
    page = page_of(items_of(3), after="i0")
    assert page == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


@pytest.mark.parametrize(
    ("query", "expected", "has_more"),
    [
        ({"before": "i2"}, ["i4", "i3"], True),
        ({"before": "i3"}, ["i5", "i4"], False),
        ({"before": "i5"}, [], False),
        ({"before": "i3", "order": "asc"}, ["i1", "i2"], True),
        ({"after": "i5", "before": "i1"}, ["i4", "i3"], True),
        ({"after": "i3", "before": "i1"}, ["i2"], False),
        ({"after": "i1", "before": "i3"}, [], False),
    ],
)
def test_before_bounds_a_page_from_behind(query: dict[str, str], expected: list[str], has_more: bool) -> None:
    page = page_of(items_of(6), limit="2", **query)
    assert ([item["id"] for item in page["data"]], page["has_more"]) == (expected, has_more)


def test_a_page_names_its_first_and_last() -> None:
    page = page_of(items_of(5), limit="3", order="asc")
    assert page["data"] == [{"id": "i0"}, {"id": "i1"}, {"id": "i2"}]
    assert (page["first_id"], page["last_id"], page["has_more"]) == ("i0", "i2", True)


def test_a_cursor_stays_in_place_while_the_list_grows() -> None:
    listed = items_of(10)
    listed.add("new", "new")
    assert ids_of(listed, limit="2", after="i8") == ["i7", "i6"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("after", "unknown"),
        ("before", "unknown"),
        ("order", "ASC"),
        *(("limit", limit) for limit in ["0", "-1", "101", "ten", "", "1.5", " 5", "٣", "9" * 5000]),
    ],
)
def test_a_bad_query_is_rejected(name: str, value: str) -> None:
    with pytest.raises(ApiError) as rejected:
        page_of(items_of(3), **{name: value})
    assert (rejected.value.status, rejected.value.body["error"]["param"]) == (400, name)


@pytest.mark.parametrize("limit", ["1", "100"])
def test_the_bounds_are_accepted(limit: str) -> None:
    assert len(page_of(items_of(100), limit=limit)["data"]) == int(limit)


def test_an_id_is_unique_and_an_unknown_one_a_404() -> None:
    listed = items_of(1)
    with pytest.raises(ValueError, match="i0"):
        listed.add("i0", "another")
    assert listed.find("item", "i0") == "i0"
    with pytest.raises(ApiError, match="No item found with id 'unknown'") as rejected:
        listed.find("item", "unknown")
    assert rejected.value.status == 404


def test_a_page_deep_in_a_long_list_visits_no_other_items() -> None:
    visited: list[str] = []
    items_of(1000).page({"limit": "10", "after": "i500"}, lambda item: visited.append(item) or {"id": item})
    assert visited == [f"i{number}" for number in range(499, 489, -1)]


@pytest.fixture
def store() -> Store:
    return Store(clock=Clock())


def test_ids_are_counted_by_prefix_and_never_taken(store: Store) -> None:
    assert [store.new_id("run"), store.new_id("run", {"run_000002"}), store.new_id("step")] == [
        "run_000001",
        "run_000003",
        "step_000001",
    ]


def test_plans_are_taken_in_order_and_for_their_number_of_times(store: Store) -> None:
    store.plan("runs", times=2, statuses="failed")
    store.plan("runs", times=None, statuses="expired")
    store.plan("batches", count=1)
    statuses = [store.take_plan("runs").get("statuses") for _ in range(4)]
    assert statuses == ["failed", "failed", "expired", "expired"]
    assert [store.take_plan("batches") for _ in range(2)] == [{"count": 1}, {}]
    with pytest.raises(ValueError, match="kind"):
        store.plan("threads")


def test_files_exist_until_the_store_is_closed(store: Store) -> None:
    paths = [store.write_file([b"a\n", b"b"]) for _ in range(2)]
    assert [path.read_bytes() for path in paths] == [b"a\nb"] * 2
    store.close()
    assert not any(path.exists() for path in paths)
