"""Waiting continues while something moves; the clock is a fake one."""

from __future__ import annotations

import itertools

import pytest

from dev.waiting import Progress, WaitTimeoutError, wait_until


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def wait(condition, evidence, clock: Clock, timeout: float = 600.0):
    return wait_until(condition, evidence=evidence, timeout=timeout, interval=0.5, clock=clock, sleep=clock.sleep)


def test_what_is_true_at_once_is_returned_at_once(clock):
    assert wait(lambda: "url", pytest.fail, clock) == "url"
    assert clock.now == 0


def test_it_continues_while_something_moves(clock):
    moves = itertools.count()
    assert wait(lambda: clock.now >= 590, lambda: next(moves), clock)


def test_a_slow_move_is_a_move(clock):
    assert wait(lambda: clock.now >= 590, lambda: clock.now // 100, clock)


def test_it_ends_when_nothing_moves(clock):
    with pytest.raises(WaitTimeoutError, match="nothing has moved for 1"):
        wait(lambda: False, lambda: "healthy", clock)
    assert 120 <= clock.now < 125


def test_it_ends_at_the_limit_although_something_moves(clock):
    moves = itertools.count()
    with pytest.raises(WaitTimeoutError, match="50 s are over"):
        wait(lambda: False, lambda: next(moves), clock, timeout=50)
    assert 50 <= clock.now < 52


def test_the_end_of_the_process_ends_it(clock):
    def evidence() -> object:
        if clock.now > 3:
            raise LookupError("it was killed")
        return clock.now

    with pytest.raises(LookupError):
        wait(lambda: False, evidence, clock)
    assert clock.now < 5


def test_time_in_which_the_waiting_process_did_not_run_does_not_count_as_a_stall():
    progress = Progress(600, now=0)
    progress.observe("same", now=0)
    progress.observe("same", now=500)
    progress.observe("moved", now=501)


def test_a_move_begins_the_count_again():
    progress = Progress(600, now=0)
    for now in range(0, 110, 10):
        progress.observe("first", now=now)
    for now in range(110, 230, 10):
        progress.observe("second", now=now)
    with pytest.raises(WaitTimeoutError):
        progress.observe("second", now=230)
