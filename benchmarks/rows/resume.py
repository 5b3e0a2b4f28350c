"""Seconds from the end of a run to the poll that notices it, on a simulated clock."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from benchmarks.row import Bar, Measure, Metric, Row, Setting

#: Seconds that a run takes.
DURATIONS = (2, 10, 60, 600, 3600)


def _waiting(**interval: float) -> Measure:
    def measure(setting: Setting) -> Mapping[str, float]:
        values: dict[str, float] = {}
        for duration in DURATIONS:
            # Ends are spread over a tenth of the duration: a single one may be just before a poll or just after it.
            ends = [duration * (1 + 0.1 * number / setting.size) for number in range(setting.size)]
            polled = [_wait(f"run_{number}", end, interval) for number, end in enumerate(ends)]
            values[f"late_{duration}"] = statistics.quantiles([late for late, _ in polled], n=20)[-1]
            values[f"polls_{duration}"] = statistics.median(polls for _, polls in polled)
        return values

    return measure


def _wait(run_id: str, end: float, interval: Mapping[str, float]) -> tuple[float, int]:
    """Return the seconds between the end of a run and the poll that notices it, and the number of polls."""
    from airflow_provider_portkey.jobs.run import RUN
    from airflow_provider_portkey.polling.poller import Poller
    from airflow_provider_portkey.polling.wait_state import WaitState

    state = WaitState(started_at=0.0, deadline=1e9, **interval)  # type: ignore[arg-type]
    poller = Poller(RUN, {"thread_id": "thread_1", "run_id": run_id}, state)
    now, polls = 0.0, 0
    while True:
        polls += 1
        status = "completed" if now >= end else "in_progress"
        run = {"id": run_id, "thread_id": "thread_1", "status": status, "created_at": 0}
        outcome = poller.on_response(run, now)
        if outcome.event:
            return now - end, polls
        now += outcome.wait


ROW = Row(
    title="From the end of a run to the next task",
    what="Seconds from the end of a run to the poll that notices it (19 of 20 waits notice it sooner), and polls, for "
    "runs of several durations, by the decisions of the sensor on a simulated clock that begins with the run. A fixed "
    "minute is the default of Airflow's sensors.",
    unit="waits",
    size=400,
    contenders={
        "adaptive, the default": _waiting(),
        "adaptive, mode reschedule": _waiting(min_poll_interval=5.0),
        "fixed, 60 s": _waiting(poll_interval=60.0),
    },
    metrics={
        **{f"late_{duration}": Metric(f"{duration:,} s: delay, s", 1) for duration in DURATIONS},
        **{f"polls_{duration}": Metric(f"{duration:,} s: polls", 0) for duration in DURATIONS},
    },
    curve={f"late_{duration}": duration for duration in DURATIONS},
    # The longest of the runs takes a tenth more.
    bars=tuple(
        Bar(f"late_{duration}", at_most=limit, quick=limit)
        for duration in DURATIONS
        for limit in [min(max(0.11 * duration, 1.5), 60.0)]
    ),
    quick_size=40,
    server=None,
    rounds=1,
)
