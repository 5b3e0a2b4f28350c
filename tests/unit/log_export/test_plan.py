"""Cutting a window of logs into exports that fit."""

from __future__ import annotations

from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product

import pytest

from airflow_provider_portkey.exceptions import PortkeyRowsMismatchError, PortkeyWindowTooFullError
from airflow_provider_portkey.export.window import Window
from airflow_provider_portkey.log_export.plan import Plan, make_plan

T0 = datetime(2026, 7, 25, tzinfo=UTC)


def window(start: int, end: int) -> Window:
    return Window(T0 + timedelta(seconds=start), T0 + timedelta(seconds=end))


class Logs:
    """Counts logs as Portkey does.

    :param seconds: The times of the logs.
    :param end_included: Whether a window holds the logs at its very end.
    """

    def __init__(self, seconds: list[float], *, end_included: bool = False) -> None:
        self.seconds = sorted(seconds)
        self.end_included = end_included
        self.drafts: list[str] = []
        self.calls: list[tuple[Window, str | None]] = []

    def count(self, counted: Window, draft: str | None) -> tuple[str, int]:
        self.calls.append((counted, draft))
        if draft is None:
            draft = f"export_{len(self.drafts)}"
            self.drafts.append(draft)
        return draft, len(self.of(counted))

    def of(self, counted: Window) -> list[float]:
        start, end = ((timestamp - T0).total_seconds() for timestamp in (counted.start, counted.end))
        return [at for at in self.seconds if start <= at < end or (self.end_included and at == end)]


def check(plan: Plan, logs: Logs, whole: Window, limit: int) -> None:
    """What holds for every plan."""
    parts = plan.parts
    assert all(0 < part.total <= limit for part in parts)
    assert [len(logs.of(part.window)) for part in parts] == [part.total for part in parts]
    assert len({part.export_id for part in parts}) == len(parts)
    assert all(before.window.end <= after.window.start for before, after in pairwise(parts))
    assert all(whole.start <= part.window.start < part.window.end <= whole.end for part in parts)
    # Whatever lies between two parts, before the first or behind the last, is empty.
    assert {at for part in parts for at in logs.of(part.window)} == set(logs.of(whole))
    assert plan.low == plan.high == len(logs.of(whole))
    assert plan.overlaps == (plan.total > len(logs.of(whole)))
    # The last count of a draft is the one that its part stands for.
    last = {draft: counted for counted, draft in logs.calls if draft}
    assert all(last.get(part.export_id, part.window) == part.window or logs.end_included for part in parts)


@pytest.mark.parametrize("end_included", [False, True])
def test_every_way_to_spread_logs_over_five_seconds(end_included):
    for counts in product(range(4), repeat=5):
        seconds = [second + 0.5 for second, count in enumerate(counts) for _ in range(count)]
        logs = Logs(seconds, end_included=end_included)
        check(make_plan(window(0, 5), logs.count, limit=4), logs, window(0, 5), 4)


@pytest.mark.parametrize("end_included", [False, True])
def test_every_way_to_put_logs_on_the_seams(end_included):
    for counts in product(range(3), repeat=5):
        seconds = [second for second, count in enumerate(counts) for _ in range(count)]
        logs = Logs(seconds, end_included=end_included)
        check(make_plan(window(0, 4), logs.count, limit=5), logs, window(0, 4), 5)


SKEWED = {
    "even": [n * 0.0864 for n in range(1_000_000)],
    "all in one hour": [40_000 + n * 0.0072 for n in range(500_000)],
    "all in one minute": [40_000 + n * 0.0006 for n in range(100_000)],
    "a spike and nothing else": [50_000.0] * 49_999,
    "spike, gap, even": [1.5] * 40_000 + [40_000 + n * 0.4 for n in range(100_000)],
    "growing": [86_400 * (n / 300_000) ** 0.25 for n in range(300_000)],
    "just the limit": [n * 1.7 for n in range(50_000)],
    "one": [86_399.999],
    "none": [],
}


@pytest.mark.parametrize("name", SKEWED)
def test_days_of_every_shape(name):
    seconds = SKEWED[name]
    logs = Logs(seconds)
    logs.of = lambda counted: range(  # type: ignore[method-assign]
        *(bisect_left(logs.seconds, (timestamp - T0).total_seconds()) for timestamp in (counted.start, counted.end))
    )
    plan = make_plan(window(0, 86_400), logs.count)
    assert plan.total == len(seconds) == plan.high
    assert all(0 < part.total <= 50_000 for part in plan.parts)
    assert all(before.window.end <= after.window.start for before, after in pairwise(plan.parts))
    fewest = -(-len(seconds) // 50_000)
    assert len(plan.parts) <= 4 * fewest + 1
    assert len(logs.calls) <= 4 * fewest + 70
    # Drafts that nobody needs are changed, not left lying about.
    assert len(logs.drafts) <= len(plan.parts) + 1


def test_a_window_that_fits_is_counted_once():
    logs = Logs([1, 2, 3])
    (part,) = make_plan(window(0, 10), logs.count, limit=4).parts
    assert (part.window, part.total, len(logs.calls)) == (window(0, 10), 3, 1)


def test_exactly_as_many_as_an_export_holds_may_be_a_count_that_stopped_there():
    logs = Logs([1, 2, 3, 4])
    plan = make_plan(window(0, 10), logs.count, limit=4)
    assert len(plan.parts) == 2
    assert len(make_plan(window(1, 2), Logs([1.0] * 4).count, limit=4).parts) == 1


def test_one_second_with_too_many_logs_is_named():
    logs = Logs([7.25] * 5 + [1, 2])
    with pytest.raises(PortkeyWindowTooFullError, match=r"5 logs in the one second from 2026-07-25T00:00:07Z on.* 4\."):
        make_plan(window(0, 60), logs.count, limit=4)


def test_logs_that_come_while_counting_are_let_pass():
    totals = iter([10, 5, 6, 11])
    plan = make_plan(window(0, 60), lambda counted, draft: (f"e{counted.start}", next(totals)), limit=7)
    assert (plan.total, plan.low, plan.high, plan.overlaps) == (11, 10, 11, False)


def test_parts_that_lack_logs_of_the_whole_are_refused():
    totals = iter([10, 4, 4, 10])
    with pytest.raises(PortkeyRowsMismatchError, match=r"counts 10 logs .* only 8 in the 2 parts"):
        make_plan(window(0, 60), lambda counted, draft: (f"e{counted.start}", next(totals)), limit=6)


def test_a_server_that_ignores_the_window_is_found_out():
    with pytest.raises(PortkeyWindowTooFullError):
        make_plan(window(0, 86_400), lambda counted, draft: ("e", 60_000))


def test_a_plan_survives_as_plain_data():
    plan = make_plan(window(0, 60), Logs([n / 2 for n in range(100)]).count, limit=30)
    plan.parts[0].stage = "done"
    assert Plan.from_dict(plan.to_dict()) == plan


def test_a_part_that_is_done_again_takes_its_place():
    plan = make_plan(window(0, 60), Logs([n / 2 for n in range(100)]).count, limit=30)
    logs = Logs([n / 3 for n in range(150)])
    old = plan.parts[1]
    plan.replace(old, make_plan(old.window, logs.count, limit=30))
    assert old not in plan.parts
    assert [part.window.start for part in plan.parts] == sorted(part.window.start for part in plan.parts)
    assert plan.low == plan.high == plan.total
