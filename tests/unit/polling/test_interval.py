from __future__ import annotations

import statistics
from dataclasses import replace

import pytest

from airflow_provider_portkey.jobs.run import RUN
from airflow_provider_portkey.polling.interval import poll_interval
from airflow_provider_portkey.polling.poller import Poller
from airflow_provider_portkey.polling.wait_state import WaitState

STATE = WaitState(started_at=1000.0, deadline=1e9)
#: The wait of a rescheduled poll, and of one whose longest interval is short.
BOUNDS = [
    {},
    {"min_poll_interval": 5.0},
    {"max_poll_interval": 7.0},
    {"min_poll_interval": 3.0, "max_poll_interval": 3},
]


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1 - 2**-32])
@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("elapsed", [-50.0, 0.0, 1.0, 9.9, 10.0, 49.0, 300.0, 700.0, 1e6])
def test_an_adaptive_interval_is_a_tenth_of_the_elapsed_time_within_its_bounds(elapsed, bounds, jitter):
    state = replace(STATE, **bounds)
    interval = poll_interval(state, 1000.0 + elapsed, jitter)
    assert state.min_poll_interval <= interval <= state.max_poll_interval
    tenth = min(max(0.1 * elapsed, state.min_poll_interval), state.max_poll_interval)
    assert 0.9 * tenth <= interval <= 1.1 * tenth
    assert interval <= max(0.1 * elapsed, 1.1 * state.min_poll_interval)


@pytest.mark.parametrize("elapsed", [0.0, 5000.0])
def test_a_fixed_interval_is_exact(elapsed):
    assert poll_interval(replace(STATE, poll_interval=7.0), 1000.0 + elapsed, 0.5) == 7.0


@pytest.mark.parametrize(("created_at", "interval"), [(500.0, 50.0), (1000.0, 1.0), (4000.0, 1.0), (None, 1.0)])
def test_the_time_counts_from_the_jobs_creation_unless_a_clock_is_ahead(created_at, interval):
    assert poll_interval(replace(STATE, created_at=created_at), 1000.0, 0.0) == interval


def simulated(duration: float, name: str, **bounds: float) -> tuple[float, int]:
    """Return how long after the end of a run its wait has ended, and the number of its polls."""
    poller = Poller(RUN, {"thread_id": "thread_1", "run_id": name}, WaitState(started_at=0.0, deadline=1e9, **bounds))
    job = {"id": name, "thread_id": "thread_1", "created_at": 0}
    now, polls = 0.0, 0
    while True:
        polls += 1
        outcome = poller.on_response({**job, "status": "completed" if now >= duration else "in_progress"}, now)
        if outcome.event:
            return now - duration, polls
        now += outcome.wait


@pytest.mark.parametrize("least", [1.0, 5.0])
@pytest.mark.parametrize("duration", [0.5, 2.0, 10.0, 60.0, 600.0, 4000.0])
def test_an_end_is_noticed_within_a_tenth_of_the_run(duration, least):
    delays, polls = zip(
        *(simulated(duration, f"run_{number}", min_poll_interval=least) for number in range(200)), strict=True
    )
    assert max(delays) <= min(max(0.1 * duration, 1.1 * least), 60.0)
    assert max(polls) <= {0.5: 2, 2.0: 4, 10.0: 11, 60.0: 31, 600.0: 60, 4000.0: 117}[duration]


def test_jitter_spreads_waits_that_began_together():
    outcomes = [
        Poller(RUN, {"thread_id": "t", "run_id": f"run_{number}"}, STATE).on_response(
            {"id": f"run_{number}", "thread_id": "t", "status": "queued"}, 1100.0
        )
        for number in range(500)
    ]
    waits = [outcome.wait for outcome in outcomes]
    assert (min(waits), max(waits)) == (pytest.approx(9.0, abs=0.1), pytest.approx(10.0, abs=0.1))
    assert statistics.quantiles(waits, n=4) == pytest.approx([9.25, 9.5, 9.75], abs=0.08)
