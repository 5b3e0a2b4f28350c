from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.export.window import Window, read_window

T0 = datetime(2026, 7, 25, tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-07-25T00:00:00Z", "2026-07-25T01:00:00Z"),
        ("2026-07-25 00:00:00+00:00", "2026-07-25 01:00:00+00:00"),
        ("2026-07-25T02:00:00+02:00", " 2026-07-25T01:00:00.999Z "),
        (T0, datetime(2026, 7, 24, 20, tzinfo=timezone(timedelta(hours=-5)))),
    ],
)
def test_ends_are_read_with_their_zone_and_in_whole_seconds(start: Any, end: Any) -> None:
    assert read_window(start, end) == Window(T0, T0 + timedelta(hours=1))


def test_consecutive_windows_stay_consecutive_without_fractions() -> None:
    ends = [f"2026-07-25T00:00:0{second}.7Z" for second in range(3)]
    first, second = (read_window(*pair) for pair in pairwise(ends))
    assert first.end == second.start


@pytest.mark.parametrize(
    ("start", "end", "named"),
    [
        ("2026-07-25T00:00:00", "2026-07-25T01:00:00Z", "window_start"),
        ("2026-07-25T00:00:00Z", datetime(2026, 7, 25, 1), "window_end"),
        ("None", "2026-07-25T01:00:00Z", "window_start.*no data interval, give both ends"),
        ("", "2026-07-25T01:00:00Z", "window_start"),
        (None, "2026-07-25T01:00:00Z", "window_start"),
        ("2026-07-25T00:00:00Z", "2026-07-25T00:00:00Z", "window_end.*no data interval, give both ends"),
        ("2026-07-25T00:00:00Z", "2026-07-25T00:00:00.5Z", "window_end"),
        ("2026-07-25T00:00:00Z", "2026-07-24T00:00:00Z", "window_end"),
        (1_784_937_600, 1_784_941_200, "window_start"),
    ],
)
def test_wrong_ends_are_refused(start: Any, end: Any, named: str) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=named):
        read_window(start, end)


@pytest.mark.parametrize("count", [1, 2, 7, 3600])
def test_the_parts_of_a_window_cover_it_without_overlap(count: int) -> None:
    whole = Window(T0, T0 + timedelta(hours=1))

    parts = whole.cut(count)

    assert len(parts) == count
    assert (parts[0].start, parts[-1].end) == (whole.start, whole.end)
    assert all(first.end == second.start for first, second in pairwise(parts))
    assert sum(part.seconds for part in parts) == whole.seconds
