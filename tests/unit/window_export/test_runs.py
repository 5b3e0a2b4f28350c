from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_portkey.exceptions import PortkeyUnexpectedResponseError
from airflow_provider_portkey.export.window import Window
from airflow_provider_portkey.window_export.runs import RunSummary, runs_of_window, summarize_run

START = datetime(2026, 11, 21, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(seconds=100))


def run(second: float, **more: Any) -> dict[str, Any]:
    return {"id": f"run_{second}", "created_at": int(START.timestamp()) + second, "status": "completed", **more}


def select(
    runs: list[dict[str, Any]], by: str = "created", life: float = 50, *, newest_first: bool = True
) -> tuple[list[str], int]:
    """Return the runs of the window and how many runs of the list were read."""
    read = []

    def watched() -> Iterator[dict[str, Any]]:
        for each in runs:
            read.append(each)
            yield each

    found = runs_of_window(watched(), WINDOW, window_by=by, max_run_seconds=life, newest_first=newest_first)
    return [run["id"] for _, run in found], len(read)


def test_reading_stops_at_the_first_run_that_is_older() -> None:
    assert select([run(second) for second in (150, 100, 99, 50, 0, -1, -2, -3)]) == (["run_99", "run_50", "run_0"], 6)


def test_runs_of_one_second_may_come_in_any_order() -> None:
    assert select([run(5, id="b"), run(5, id="a")]) == (["b", "a"], 2)


def test_a_list_in_another_order_is_refused() -> None:
    with pytest.raises(PortkeyUnexpectedResponseError, match=r"not newest first: 'run_6'"):
        select([run(5), run(6)])
    with pytest.raises(PortkeyUnexpectedResponseError, match=r"not oldest first: 'run_5'"):
        select([run(6), run(5)], newest_first=False)


@pytest.mark.parametrize("by", ["created", "ended"])
def test_a_list_that_is_oldest_first_is_read_up_to_the_end_of_the_window(by: str) -> None:
    runs = [ended(second, second + 5) for second in (-50, 0, 50, 94, 100, 150, 200)]

    assert select(runs, by, newest_first=False) == (["run_0", "run_50", "run_94"], 5)


@pytest.mark.parametrize("wrong", [None, "2026", True, float("nan"), [1]])
def test_a_run_without_its_creation_is_refused(wrong: Any) -> None:
    with pytest.raises(PortkeyUnexpectedResponseError, match="created_at"):
        select([run(5, created_at=wrong)])


def ended(second: float, at: float | None, field: str = "completed_at", **more: Any) -> dict[str, Any]:
    return run(second, **({} if at is None else {field: int(START.timestamp()) + at}), **more)


@pytest.mark.parametrize(
    ("one", "is_in"),
    [
        (ended(-40, 0), True),
        (ended(-40, -1), False),
        (ended(90, 99), True),
        (ended(90, 100), False),
        (ended(90, 99, "failed_at", status="failed"), True),
        (ended(90, 99, "cancelled_at", status="cancelled"), True),
        (ended(90, 99, "expires_at", status="expired"), True),
        (ended(40, 99, "expires_at"), True),  # by created_at + life: expires_at is no end of a run that did not expire
        (ended(60, 99, "expires_at"), False),
        (ended(49, None, status="incomplete"), True),
        (ended(50, None, status="incomplete"), False),
        (ended(10, 20, status="in_progress"), False),
        (ended(10, 20, status="unheard_of"), False),
    ],
)
def test_by_its_end_a_run_is_in_one_window(one: dict[str, Any], is_in: bool) -> None:
    assert bool(select([one], "ended")[0]) is is_in


def test_by_their_ends_runs_are_read_back_further_by_as_long_as_one_lasts() -> None:
    runs = [ended(second, second + 50) for second in (60, -50, -51, -52)]

    assert select(runs, "ended") == (["run_-50"], 3)


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"prompt_tokens": 1, "total_tokens": 3}, {"prompt_tokens": 1, "total_tokens": 3}),
        ({"cost": 0.5, "details": {"cached_tokens": "2"}}, {"cost": 0.5, "details": {"cached_tokens": 2}}),
        ({"prompt_tokens": "one", "total_tokens": True}, {}),
        (None, {}),
        ([], {}),
    ],
)
def test_the_summary_keeps_the_numbers_of_usage(usage: Any, counted: dict[str, Any]) -> None:
    assert summarize_run(run(1, usage=usage)).usage == counted


@pytest.mark.parametrize(
    ("status", "is_end"), [("completed", True), ("expired", True), ("requires_action", False), ("None", False)]
)
def test_an_unknown_status_is_not_terminal(status: str, is_end: bool) -> None:
    assert RunSummary("run", 1, status).ended is is_end
