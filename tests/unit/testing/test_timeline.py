from __future__ import annotations

import pytest

from airflow_provider_portkey.testing.timeline import Statuses, Timeline, parse_statuses


def test_time_advances_a_timeline() -> None:
    timeline = Timeline([("queued", 0), ("in_progress", 1), ("completed", 4)], started=1000.0)
    seen = []
    for seconds in (0, 0.9, 1, 3.9, 4, 500):
        timeline.update(1000.0 + seconds)
        seen.append(timeline.status)
    assert seen == ["queued", "queued", "in_progress", "in_progress", "completed", "completed"]
    assert timeline.reached == {"queued": 0, "in_progress": 1, "completed": 4}


def test_a_late_poll_skips_statuses_but_keeps_their_times() -> None:
    timeline = Timeline([("queued", 0), ("in_progress", 2), ("completed", 8)], started=1000.0)
    timeline.poll(2000.0)
    assert timeline.status == "completed"
    assert timeline.reached == {"queued": 0, "in_progress": 2, "completed": 8}


def test_zero_seconds_complete_at_once() -> None:
    timeline = Timeline([("queued", 0), ("in_progress", 0), ("completed", 0)], started=1000.0)
    timeline.update(1000.0)
    assert timeline.status == "completed"


def test_a_timeline_may_start_at_the_first_poll() -> None:
    timeline = Timeline([("in_progress", 0), ("completed", 3)], started=None)
    timeline.update(5000.0)
    timeline.poll(6000.0)
    assert timeline.status == "in_progress"
    timeline.update(6003.0)
    assert timeline.status == "completed"


def test_polls_advance_a_timeline_and_time_does_not() -> None:
    timeline = Timeline(["queued", "in_progress", "completed"], advance="per_poll", started=1000.0)
    seen = []
    for seconds in (0, 50, 60, 70):
        timeline.update(1000.0 + seconds)
        timeline.poll(1000.0 + seconds)
        seen.append(timeline.status)
    assert seen == ["queued", "in_progress", "completed", "completed"]
    assert timeline.reached == {"queued": 0, "in_progress": 50, "completed": 60}


def test_a_replaced_timeline_counts_from_then() -> None:
    timeline = Timeline([("in_progress", 0), ("completed", 100)], started=1000.0)
    timeline.replace([("queued", 0), ("failed", 5)], 1010.0)
    assert timeline.status == "queued"
    timeline.update(1014.0)
    assert timeline.status == "queued"
    timeline.update(1015.0)
    assert timeline.status == "failed"
    assert timeline.reached == {"in_progress": 0, "queued": 10, "failed": 15}


def test_the_rest_counts_from_the_next_status() -> None:
    timeline = Timeline([("requires_action", 0), ("in_progress", 10), ("completed", 14)], started=1000.0)
    assert timeline.rest() == [("in_progress", 0), ("completed", 4)]


@pytest.mark.parametrize(
    ("statuses", "entries"),
    [
        ("dreaming", [("dreaming", 0.0)]),
        (["queued", "completed"], [("queued", 0.0), ("completed", 1.0)]),
        ([["queued", 0], ["completed", 2]], [("queued", 0.0), ("completed", 2.0)]),
    ],
)
def test_statuses_have_several_notations(statuses: Statuses, entries: list[tuple[str, float]]) -> None:
    assert parse_statuses(statuses) == entries


@pytest.mark.parametrize("statuses", [[], [("a", 3), ("b", 2)]])
def test_an_invalid_timeline_is_rejected(statuses: Statuses) -> None:
    with pytest.raises(ValueError, match="timeline"):
        parse_statuses(statuses)


def test_an_unknown_advance_is_rejected() -> None:
    with pytest.raises(ValueError, match="advance"):
        Timeline("queued", advance="sometimes", started=0.0)  # type: ignore[arg-type]
