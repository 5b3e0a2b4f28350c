"""The seconds between the polls of a task, which are the same in every mode."""

from __future__ import annotations

import contextlib
import itertools
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_portkey.exceptions import (
    PortkeyInvalidArgumentError,
    PortkeyPollingGaveUpError,
    PortkeyServerError,
    PortkeyWaitTimeoutError,
)
from airflow_provider_portkey.sensors.job import PortkeyResponseSensor

UNSET: dict[str, Any] = {"poke_interval": None}


@pytest.fixture(autouse=True)
def heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's process ends as soon as it has deferred."""
    monkeypatch.setenv("AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL", "0")


@pytest.fixture
def polls(task: Any, serve: Any, clock: Any) -> Any:
    """Wait for a response of some seconds, and return when it was polled: ``polls(mode, seconds, **arguments)``."""

    def polls(mode: str, seconds: float, *, before: float = 0.0, failing: int = 0, **arguments: Any) -> list[float]:
        seen: list[float] = []

        def get(path: str, ids: Any, query: Any) -> Any:
            seen.append(clock.seconds)
            if len(seen) <= failing:
                raise PortkeyServerError("down", status_code=503)
            status = "completed" if clock.seconds >= seconds else "in_progress"
            return {"id": "resp_1", "status": status, "created_at": clock.began - before}

        serve(get)
        waiting = task(mode, PortkeyResponseSensor, response_id="resp_1", **({"timeout": 86_400} | arguments))
        with contextlib.suppress(PortkeyPollingGaveUpError, PortkeyWaitTimeoutError):
            waiting.run()
        return seen

    return polls


def gaps(seen: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(seen)]


@pytest.mark.parametrize("seconds", [2, 10, 60, 600])
def test_without_an_interval_the_end_is_noticed_within_a_tenth(polls, mode, seconds):
    seen = polls(mode, seconds, **UNSET)
    least = 5.0 if mode == "reschedule" else 1.0
    assert seen[-1] - seconds <= max(0.1 * seconds, 1.1 * least)
    assert min(gaps(seen)) >= least
    assert max(gaps(seen)) <= 60.0


def test_poked_and_deferred_polls_are_at_the_same_seconds(polls, task, serve, clock):
    poked = polls("poke", 300, **UNSET)
    clock.now = clock.began
    assert polls("deferred", 300, **UNSET) == pytest.approx(poked, abs=1e-3)


@pytest.mark.parametrize(
    ("how", "seen"), [(UNSET, [0, 7, 8]), (UNSET | {"timeout": 3}, [0, 3]), ({"poke_interval": 2}, [0, 2, 4, 6, 8])]
)
def test_a_triggerer_does_not_poll_before_the_process_that_deferred_has_ended(polls, monkeypatch, how, seen):
    monkeypatch.setenv("AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL", "5")
    assert polls("deferred", 7.5, **how) == pytest.approx(seen, abs=0.2)


def test_the_interval_counts_from_the_jobs_creation(polls, mode):
    assert min(gaps(polls(mode, 100, before=300, **UNSET))) >= 27.0


@pytest.mark.parametrize("interval", [7, 60, 60.0, timedelta(seconds=7)])
def test_a_given_interval_is_fixed(polls, mode, interval):
    seconds = interval.total_seconds() if isinstance(interval, timedelta) else interval
    assert gaps(polls(mode, 300, poke_interval=interval)) == pytest.approx([seconds] * (-(-300 // int(seconds))))


@pytest.mark.parametrize("most", [10, 10.0, timedelta(seconds=10), "10"])
def test_the_longest_interval_is_an_argument(polls, mode, most):
    seen = gaps(polls(mode, 600, max_poll_interval=most, **UNSET))
    assert (min(seen[-20:]), max(seen)) == (pytest.approx(9.5, abs=0.5), pytest.approx(9.5, abs=0.5))


def test_a_longest_interval_below_that_of_a_rescheduled_poll_counts(polls, mode):
    assert max(gaps(polls(mode, 100, max_poll_interval=2, **UNSET))) == pytest.approx(2.0, abs=0.1)


def test_exponential_backoff_begins_at_the_interval_in_every_mode(polls, mode):
    seen = gaps(polls(mode, 2000, poke_interval=20, exponential_backoff=True, max_wait=120))
    assert (min(seen), max(seen)) == (pytest.approx(20, abs=2), pytest.approx(117, abs=3))


@pytest.mark.parametrize("wrong", [0, 0.5, -1, True, "soon", float("nan"), None])
def test_a_longest_interval_that_is_none_is_refused(wrong):
    with pytest.raises(PortkeyInvalidArgumentError, match=r"max_poll_interval=.*a number of seconds of at least 1"):
        PortkeyResponseSensor(task_id="wait", response_id="resp_1", max_poll_interval=wrong)


def test_failed_polls_do_not_use_up_the_wait_within_seconds(polls, mode):
    assert polls(mode, 600, failing=9, **UNSET) == pytest.approx([0, 5, 20, 65, 125], abs=0.5)


def test_failed_polls_follow_a_longest_interval(polls, mode):
    assert polls(mode, 600, failing=9, max_poll_interval=6, **UNSET) == pytest.approx([0, 5, 11, 17, 23], abs=0.5)


def test_an_interval_from_the_default_arguments_of_a_dag_is_fixed(mode, polls):
    from airflow.providers.common.compat.sdk import DAG

    with DAG("one", schedule=None, default_args={"poke_interval": 7.0, "max_poll_interval": 9.0}):
        given = PortkeyResponseSensor(task_id="wait", response_id="resp_1")
    assert given._intervals() == {"poll_interval": 7.0}
    assert given.max_poll_interval == 9.0


def test_an_interval_that_is_set_later_is_fixed():
    sensor = PortkeyResponseSensor(task_id="wait", response_id="resp_1")
    sensor.poke_interval = 0.2
    assert sensor._intervals() == {"poll_interval": 0.2}


def test_the_last_poll_is_at_the_deadline_in_every_mode(mode, task, serve, clock):
    by_airflow = mode == "reschedule" and not AIRFLOW_V_3_0_PLUS  # Airflow 2 does not say when a wait began
    seen: list[float] = []

    def get(*_: Any) -> Any:
        seen.append(clock.seconds)
        return {"id": "resp_1", "status": "in_progress", "created_at": clock.began}

    serve(get)
    with pytest.raises(AirflowSensorTimeout, match="exceeds" if by_airflow else "within the timeout of 1 min 40 s"):
        task(mode, PortkeyResponseSensor, response_id="resp_1", poke_interval=30, timeout=100).run()
    assert seen == pytest.approx([0, 30, 60, 90, 120 if by_airflow else 100])
