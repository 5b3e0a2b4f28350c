from __future__ import annotations

import pytest

from airflow_provider_portkey.client.attempts import Attempt, current_attempt
from airflow_provider_portkey.client.settings import ConnectionSettings
from airflow_provider_portkey.testing import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of attempts."""
    clock = Clock()
    monkeypatch.setattr("airflow_provider_portkey.client.attempts.time", clock)
    return clock


@pytest.fixture
def attempt(clock: Clock) -> Attempt:
    return Attempt(ConnectionSettings("https://portkey.test/v1", (), connect_timeout=2, read_timeout=3))


def test_an_attempt_ends_after_the_time_to_connect_and_to_read(attempt: Attempt, clock: Clock) -> None:
    clock.now += 4
    assert (attempt.remaining(), attempt.is_over) == (1, False)
    clock.now += 1
    assert attempt.is_over
    with pytest.raises(TimeoutError, match="not complete after 5 s"):
        attempt.remaining()


def test_an_attempt_ends_where_no_data_comes_for_the_read_time_out(attempt: Attempt, clock: Clock) -> None:
    deadline = clock.now + 5
    assert attempt.ends_at == deadline
    clock.now += 1
    attempt.note_progress()
    assert (attempt.ends_at, attempt.overdue) == (clock.now + 3, "no data for 3 s")
    clock.now += 2
    attempt.note_progress()
    assert attempt.ends_at == deadline
    clock.now += 2
    assert attempt.overdue == "not complete after 5 s"


def test_an_attempt_can_begin_anew(attempt: Attempt, clock: Clock) -> None:
    clock.now += 100
    attempt.restart()

    assert attempt.remaining() == 5


def test_a_request_counts_as_sent_unless_the_transport_knows_better(attempt: Attempt) -> None:
    assert attempt.request_sent is True


def test_the_current_attempt_is_that_of_the_innermost_block(attempt: Attempt) -> None:
    inner = Attempt(ConnectionSettings("https://portkey.test/v1", ()))
    with attempt:
        with inner:
            assert current_attempt() is inner
        assert current_attempt() is attempt
    with pytest.raises(RuntimeError, match="Attempt"):
        current_attempt()
