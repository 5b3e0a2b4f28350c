"""Finding a task's own job again, in lists that lag."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.tasks.idempotency import (
    BEFORE_SUBMISSION,
    IDEMPOTENCY_KEY,
    WHILE_KILLED,
    Patience,
    find_own,
    idempotency_key_of,
    refuse_idempotency_key,
)

SINCE = 1_800_000_000.0


@pytest.mark.parametrize(
    ("results", "found", "requests", "seconds"),
    [([1], 1, 1, 0), ([None, 2], 2, 2, 5), ([None, None, 3], 3, 3, 10), ([None] * 9, None, 3, 10)],
)
def test_a_request_is_repeated_until_it_has_a_result(
    clock: Any, results: list[int | None], found: int | None, requests: int, seconds: float
) -> None:
    rest = iter(results)
    assert Patience(attempts=3, interval=5.0).repeat(lambda: next(rest)) == found
    assert len(results) - len(list(rest)) == requests
    assert clock.seconds == seconds


def test_the_patience_is_what_the_docs_say() -> None:
    assert str(BEFORE_SUBMISSION) == "3 requests within 15 s"
    assert str(WHILE_KILLED) == "3 requests within 2 s"


@pytest.mark.parametrize("metadata", [None, [], "key", {}, {"team": "data"}])
def test_a_job_without_the_key_has_none(metadata: Any) -> None:
    assert idempotency_key_of({"metadata": metadata}) is None
    assert idempotency_key_of({}) is None


def test_the_place_of_the_key_is_kept_free() -> None:
    refuse_idempotency_key({"team": "data"})
    with pytest.raises(PortkeyInvalidArgumentError, match=IDEMPOTENCY_KEY):
        refuse_idempotency_key({IDEMPOTENCY_KEY: "x"})


@pytest.mark.parametrize("created", [None, "yesterday", SINCE])
def test_jobs_without_an_old_timestamp_are_passed_by(created: Any) -> None:
    jobs = [{"id": str(number), "created_at": created} for number in range(100)]
    assert find_own(jobs, lambda job: job["id"] == "99", since=SINCE) == jobs[99]


def test_the_search_ends_at_consecutive_jobs_that_are_too_old() -> None:
    jobs = iter([{"id": str(number), "created_at": SINCE - 90_000 - number} for number in range(100)])
    assert find_own(jobs, lambda job: False, since=SINCE) is None
    assert next(jobs)["id"] == "20"
