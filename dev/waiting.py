"""
Waiting for another process: as long as it lives and moves.

How long a thing takes depends on the machine and on what else runs there, so no wait has a limit in seconds that a busy
machine would reach. What is limited is how long nothing moves at all, and, far above any sensible wait, the whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Seconds after which a wait ends even though something still moves: Airflow took 500 s to start on a machine with ten
#: times more work than cores.
DEFAULT_TIMEOUT = 600.0
#: The part of the whole for which nothing may move.
_STALL_RATIO = 0.2

#: The most that one gap between two observations counts as: while the waiting process itself did not get to run, it
#: cannot know that nothing moved.
_LONGEST_GAP = 30.0
#: Seconds between two observations of what moves.
_OBSERVE_INTERVAL = 1.0


class WaitTimeoutError(Exception):
    """A condition did not come true, and there is no sign that it will."""


class Progress:
    """
    Whether a wait should continue. It is given the time and the evidence, and reads neither a clock nor a process.

    :param timeout: Seconds for the whole; a fifth of them may pass without a change of the evidence.
    :param now: When the wait begins.
    """

    def __init__(self, timeout: float, now: float) -> None:
        self._timeout = timeout
        self._started = self._observed = now
        self._idle = 0.0
        self._evidence: object = None

    def observe(self, evidence: object, now: float) -> None:
        """
        Take note of what shows that something moves.

        :param evidence: Differs from the last one where something moved.
        :param now: The time of the observation.
        :raises WaitTimeoutError: Nothing has moved for too long, or the whole is used up.
        """
        self._idle += min(now - self._observed, _LONGEST_GAP)
        if evidence != self._evidence:
            self._idle = 0.0
        self._evidence, self._observed = evidence, now
        if now - self._started >= self._timeout:
            raise WaitTimeoutError(f"{self._timeout:.0f} s are over")
        if self._idle >= self._timeout * _STALL_RATIO:
            raise WaitTimeoutError(f"nothing has moved for {self._idle:.0f} s")


def wait_until(
    condition: Callable[[], T | None],
    *,
    evidence: Callable[[], object],
    timeout: float,
    interval: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> T:
    """
    Wait until a condition gives something true.

    :param condition: Checked again and again.
    :param evidence: Returns what changes while there is progress; raises where waiting has become hopeless.
    :param timeout: Seconds for the whole.
    :param interval: Seconds between two checks of the condition.
    :param clock: Gives the time in seconds.
    :param sleep: Passes time.
    :return: What the condition gave.
    :raises WaitTimeoutError: See :class:`Progress`.
    """
    progress = Progress(timeout, clock())
    observed: float | None = None
    while not (found := condition()):
        now = clock()
        if observed is None or now - observed >= _OBSERVE_INTERVAL:
            progress.observe(evidence(), now)
            observed = now
        sleep(interval)
    return found
