from __future__ import annotations

import pytest

from airflow_provider_portkey.testing.script import Script, Statuses, parse_statuses, usual_statuses


def test_time_moves_a_script() -> None:
    script = Script([("queued", 0), ("in_progress", 1), ("completed", 4)], started=1000.0)
    seen = []
    for seconds in (0, 0.9, 1, 3.9, 4, 500):
        script.settle(1000.0 + seconds)
        seen.append(script.status)
    assert seen == ["queued", "queued", "in_progress", "in_progress", "completed", "completed"]
    assert script.reached == {"queued": 0, "in_progress": 1, "completed": 4}


def test_a_late_look_passes_over_what_it_missed_but_keeps_the_times() -> None:
    script = Script(usual_statuses(8), started=1000.0)
    script.look(2000.0)
    assert script.status == "completed"
    assert script.reached == {"queued": 0, "in_progress": 2, "completed": 8}


def test_no_seconds_is_completed_at_once() -> None:
    script = Script(usual_statuses(0), started=1000.0)
    script.settle(1000.0)
    assert script.status == "completed"


def test_a_script_may_wait_for_the_first_look() -> None:
    script = Script([("in_progress", 0), ("completed", 3)], started=None)
    script.settle(5000.0)
    script.look(6000.0)
    assert script.status == "in_progress"
    script.settle(6003.0)
    assert script.status == "completed"


def test_looks_move_a_script_and_time_does_not() -> None:
    script = Script(["queued", "in_progress", "completed"], advance="per_poll", started=1000.0)
    seen = []
    for seconds in (0, 50, 60, 70):
        script.settle(1000.0 + seconds)
        script.look(1000.0 + seconds)
        seen.append(script.status)
    assert seen == ["queued", "in_progress", "completed", "completed"]
    assert script.reached == {"queued": 0, "in_progress": 50, "completed": 60}


def test_a_replaced_script_counts_from_then() -> None:
    script = Script([("in_progress", 0), ("completed", 100)], started=1000.0)
    script.replace([("queued", 0), ("failed", 5)], 1010.0)
    assert script.status == "queued"
    script.settle(1014.0)
    assert script.status == "queued"
    script.settle(1015.0)
    assert script.status == "failed"
    assert script.reached == {"in_progress": 0, "queued": 10, "failed": 15}


def test_the_rest_counts_from_the_next_status() -> None:
    script = Script([("requires_action", 0), ("in_progress", 10), ("completed", 14)], started=1000.0)
    assert script.rest() == [("in_progress", 0), ("completed", 4)]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("dreaming", [("dreaming", 0.0)]),
        (["queued", "completed"], [("queued", 0.0), ("completed", 1.0)]),
        ([["queued", 0], ["completed", 2]], [("queued", 0.0), ("completed", 2.0)]),
    ],
)
def test_statuses_may_be_written_in_several_ways(written: Statuses, read: list[tuple[str, float]]) -> None:
    assert parse_statuses(written) == read


@pytest.mark.parametrize("statuses", [[], [("a", 3), ("b", 2)]])
def test_a_script_without_sense_is_refused(statuses: Statuses) -> None:
    with pytest.raises(ValueError, match="script"):
        parse_statuses(statuses)


def test_an_unknown_way_to_advance_is_refused() -> None:
    with pytest.raises(ValueError, match="advance"):
        Script("queued", advance="sometimes", started=0.0)  # type: ignore[arg-type]
