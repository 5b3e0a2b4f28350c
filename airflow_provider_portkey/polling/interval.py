"""The seconds between two polls of a wait."""

from __future__ import annotations

from airflow_provider_portkey.polling.wait_state import WaitState

#: Fraction of the time since the job was created after which the next poll follows: a job that has just finished is
#: noticed late by a tenth of its own duration at most.
_OF_ELAPSED = 0.1
#: Fraction of an interval within which jitter spreads the polls of waits that began together.
_SPREAD = 0.1
#: The most seconds between a failed poll and the next one, unless ``Retry-After`` is longer.
MAX_WAIT_AFTER_FAILURE = 60.0
#: Seconds after the first of consecutive failed polls where the interval is adaptive; thrice as many after each
#: further one. Five failed polls span two minutes, as long as a gateway takes to be restarted.
_AFTER_FIRST_FAILURE = 5.0
_AFTER_NEXT_FAILURE = 3.0
#: Failures after which that wait has long reached its limit.
_MOST_COUNTED = 9


def poll_interval(state: WaitState, now: float, jitter: float) -> float:
    """
    Return the seconds between a poll that succeeded and the next one.

    :param state: With a fixed interval, or with the bounds of an adaptive one.
    :param now: Epoch seconds.
    :param jitter: From 0 up to 1.
    """
    if state.poll_interval is not None:
        return state.poll_interval
    # A server's clock may be ahead of this one.
    since = state.started_at if state.created_at is None else min(state.started_at, state.created_at)
    interval = min(_OF_ELAPSED * (now - since), state.max_poll_interval)
    spread = _SPREAD * jitter
    return min(max(interval * (1 - spread), state.min_poll_interval * (1 + spread)), state.max_poll_interval)


def interval_after_failure(state: WaitState, now: float, jitter: float) -> float:
    """Return what :func:`wait_after_failure` takes as the interval, after ``state.failures`` consecutive failures."""
    interval = poll_interval(state, now, jitter)
    if state.poll_interval is not None:
        return interval
    wait = _AFTER_FIRST_FAILURE * _AFTER_NEXT_FAILURE ** (min(state.failures, _MOST_COUNTED) - 1)
    return max(interval, min(wait, state.max_poll_interval))


def wait_after_failure(interval: float, error: Exception) -> float:
    """Return the seconds from a failed poll to the next one: at most a minute, unless ``Retry-After`` is longer."""
    return max(min(interval, MAX_WAIT_AFTER_FAILURE), getattr(error, "retry_after", None) or 0.0)
