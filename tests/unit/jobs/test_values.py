"""Numbers that are strings, timestamps in milliseconds."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_portkey.jobs.values import epoch_seconds, read_number, read_timestamp


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, 3), (0, 0), (-1, -1), (0.5, 0.5), ("3", 3), (" 12 ", 12), ("-4", -4), ("0.00025", 0.00025)],
)
def test_a_number_may_be_a_string(value: Any, number: float) -> None:
    read = read_number(value)
    assert read == number
    assert type(read) is type(number)


@pytest.mark.parametrize(
    "value",
    [None, True, False, "", "many", "1e999", "NaN", "0x10", "1_000", "9" * 40, float("nan"), float("inf"), [], {}],
)
def test_everything_else_is_no_number(value: Any) -> None:
    assert read_number(value) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (1_763_900_000, 1_763_900_000),
        (1_763_900_000.5, 1_763_900_000.5),
        (1_763_900_000_123, 1_763_900_000.123),
        (0, 0),
        (-1, -1),
        (99_999_999_999, 99_999_999_999),
    ],
)
def test_a_timestamp_in_milliseconds_is_recognised(value: float, seconds: float) -> None:
    assert epoch_seconds(value) == seconds


@pytest.mark.parametrize("value", [None, "1700000000", True, float("nan"), float("inf"), [1]])
def test_everything_else_is_no_timestamp(value: Any) -> None:
    assert epoch_seconds(value) is None


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("2026-11-22T10:00:00Z", "2026-11-22T10:00:00+00:00"),
        (" 2026-11-22T11:00:00.123+01:00", "2026-11-22T10:00:00.123000+00:00"),
        ("2026-11-22 10:00:00", "2026-11-22T10:00:00+00:00"),
        (1795341600, "2026-11-22T10:00:00+00:00"),
        (1795341600000, "2026-11-22T10:00:00+00:00"),
    ],
)
def test_timestamps_are_read_in_every_spelling(value: Any, read: str) -> None:
    timestamp = read_timestamp(value)
    assert timestamp is not None
    assert timestamp.isoformat() == read


@pytest.mark.parametrize("value", [None, True, "", "yesterday", {}, float("nan"), 1e300, "9999-12-31T23:59:59-10:00"])
def test_other_values_are_no_timestamps(value: Any) -> None:
    assert read_timestamp(value) is None
