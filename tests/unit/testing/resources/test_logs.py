from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airflow_provider_portkey.testing.resources.logs import Logs, to_milliseconds

ALWAYS = (0, 10**15)


def ids(logs: Logs, window: tuple[int, int] = ALWAYS, skip: int = 0, limit: int = 10**9) -> list[str]:
    return [row["id"] for row in logs.rows(window, skip=skip, limit=limit)]


def test_every_row_is_in_one_window_however_the_time_is_split() -> None:
    logs = Logs()
    logs.add_even(997, 1_000, 9_001)
    for width in (1, 3, 7, 1000):
        parts = [(start, min(start + width, 10_000)) for start in range(0, 10_000, width)]
        assert sum(logs.count(part) for part in parts) == 997
    assert [one for part in parts for one in ids(logs, part)] == ids(logs)


def test_rows_of_one_timestamp_cannot_be_split() -> None:
    logs = Logs()
    logs.add_even(10, 500, 500)
    assert [logs.count(part) for part in ((0, 500), (500, 501), (501, 999))] == [0, 10, 0]


def test_rows_of_several_calls_are_in_the_order_of_time() -> None:
    logs = Logs()
    logs.add_even(3, 0, 3000)
    logs.add_rows(
        [{"created_at": "1970-01-01T00:00:01.5Z", "id": "mine", "cost": 9}, {"created_at": 0.5, "ai_model": "m"}]
    )
    rows = list(logs.rows(ALWAYS, skip=0, limit=99))
    assert [row["id"] for row in rows] == [
        "log-1-00000000",
        "log-2-00000000",
        "log-1-00000001",
        "mine",
        "log-1-00000002",
    ]
    assert (rows[3]["cost"], rows[1]["ai_model"], rows[1]["response_status_code"]) == (9, "m", 200)
    assert ids(logs, skip=2, limit=2) == ["log-1-00000001", "mine"]


def test_timestamps_have_several_notations() -> None:
    timestamp = datetime(2026, 1, 1, tzinfo=UTC)
    naive = timestamp.replace(tzinfo=None)
    notations = [
        timestamp,
        naive,
        timestamp.timestamp(),
        "2026-01-01",
        "2026-01-01T01:00:00+01:00",
        "2026-01-01T00:00:00Z",
    ]
    assert {to_milliseconds(one) for one in notations} == {1_767_225_600_000}


def test_an_end_before_its_start_is_rejected() -> None:
    with pytest.raises(ValueError, match="before the start"):
        Logs().add_even(1, 10, 9)
