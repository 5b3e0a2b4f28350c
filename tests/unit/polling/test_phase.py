"""Deferred waits keep their places in time."""

from __future__ import annotations

import pytest

from airflow_provider_portkey.polling.phase import keep_phase
from airflow_provider_portkey.polling.wait_state import WaitState


def state(*, next_poll_at: float, deadline: float = 10_000.0, failures: int = 0) -> WaitState:
    return WaitState(
        started_at=0.0, deadline=deadline, poll_interval=10.0, next_poll_at=next_poll_at, failures=failures
    )


@pytest.mark.parametrize("late", [0.01, 0.2, 5.0])
def test_the_next_poll_is_counted_from_when_this_one_was_due(late):
    assert keep_phase(state(next_poll_at=110 + late), 100.0, 100 + late).next_poll_at == pytest.approx(110)


@pytest.mark.parametrize("late", [-3.0, 0.0, 5.1, 1e9])
def test_a_poll_before_its_time_or_a_very_late_one_begins_anew(late):
    assert keep_phase(state(next_poll_at=110 + late), 100.0, 100 + late).next_poll_at == 110 + late


def test_a_failed_poll_keeps_the_whole_pause_that_the_server_requires():
    assert keep_phase(state(next_poll_at=130.2, failures=1), 100.0, 100.2).next_poll_at == 130.2


def test_the_last_poll_is_at_the_deadline_itself():
    assert keep_phase(state(next_poll_at=105.0, deadline=105.0), 100.0, 100.2).next_poll_at == 105.0


def test_waits_that_a_slow_machine_delays_together_do_not_stay_together():
    due = [100 + number / 10 for number in range(50)]
    for _ in range(20):
        # All that were due in the meantime are polled at once.
        due = [
            keep_phase(state(next_poll_at=at + 15), one, at + 5).next_poll_at for one in due for at in [one // 5 * 5]
        ]
    assert len({round(at, 3) for at in due}) == 50
