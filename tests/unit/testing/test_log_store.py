from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airflow_provider_portkey.testing.rooms.log_store import LogStore, milliseconds

EVER = (0, 10**15)


def ids(store: LogStore, window: tuple[int, int] = EVER, skip: int = 0, most: int = 10**9) -> list[str]:
    return [row["id"] for row in store.rows(window, skip=skip, most=most)]


def test_every_row_lies_in_one_part_of_its_time_however_it_is_split() -> None:
    store = LogStore()
    store.add_even(997, 1_000, 9_001)
    for width in (1, 3, 7, 1000):
        parts = [(start, min(start + width, 10_000)) for start in range(0, 10_000, width)]
        assert sum(store.count(part) for part in parts) == 997
    assert [one for part in parts for one in ids(store, part)] == ids(store)


def test_all_rows_at_one_moment_cannot_be_split() -> None:
    store = LogStore()
    store.add_even(10, 500, 500)
    assert [store.count(part) for part in ((0, 500), (500, 501), (501, 999))] == [0, 10, 0]


def test_rows_of_several_kinds_come_in_the_order_of_time() -> None:
    store = LogStore()
    store.add_even(3, 0, 3000)
    store.add_rows(
        [{"created_at": "1970-01-01T00:00:01.5Z", "id": "mine", "cost": 9}, {"created_at": 0.5, "ai_model": "m"}]
    )
    rows = list(store.rows(EVER, skip=0, most=99))
    assert [row["id"] for row in rows] == [
        "log-1-00000000",
        "log-2-00000000",
        "log-1-00000001",
        "mine",
        "log-1-00000002",
    ]
    assert (rows[3]["cost"], rows[1]["ai_model"], rows[1]["response_status_code"]) == (9, "m", 200)
    assert ids(store, skip=2, most=2) == ["log-1-00000001", "mine"]


def test_moments_may_be_written_in_several_ways() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    naive = moment.replace(tzinfo=None)
    written = [moment, naive, moment.timestamp(), "2026-01-01", "2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00Z"]
    assert {milliseconds(one) for one in written} == {1_767_225_600_000}


def test_time_does_not_go_backwards() -> None:
    with pytest.raises(ValueError, match="after the start"):
        LogStore().add_even(1, 10, 9)
