"""Finding a task's own job again by its idempotency key, in lists that may lag behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.jobs.values import epoch_seconds

T = TypeVar("T")

#: The key of a job's metadata under which an operator finds its own job again.
IDEMPOTENCY_KEY = "airflow_idempotency_key"
#: Seconds that the clocks of a worker and of a provider may differ.
_CLOCK_SKEW = 3600.0
#: Stop searching after this many consecutive jobs older than the first attempt (lists are newest first).
_MAX_CONSECUTIVE_OLD = 20


@dataclass(frozen=True)
class Patience:
    """
    How often to repeat a request whose response may lag behind what was submitted.

    :param attempts: Requests, until one has a result.
    :param interval: Seconds between two of them.
    """

    attempts: int
    interval: float

    def repeat(self, request: Callable[[], T | None]) -> T | None:
        """Return the first result of a request that is not ``None``."""
        for attempt in range(self.attempts):
            if attempt:
                time.sleep(self.interval)
            if (result := request()) is not None:
                return result
        return None

    def __str__(self) -> str:
        return f"{self.attempts} requests within {self.interval * (self.attempts - 1):g} s"


#: Before a job is submitted again: lists that are read from a replica lag by seconds. Only a task whose submission
#: broke off pays these fifteen.
BEFORE_SUBMISSION = Patience(attempts=3, interval=7.5)
#: While the task is killed: Airflow 3 ends the process five seconds after its SIGTERM.
WHILE_KILLED = Patience(attempts=3, interval=1.0)


def refuse_idempotency_key(metadata: Mapping[str, Any]) -> None:
    """
    Keep the place of the idempotency key in a job's metadata free.

    :raises PortkeyInvalidArgumentError: where a caller has taken it.
    """
    if IDEMPOTENCY_KEY in metadata:
        raise PortkeyInvalidArgumentError("metadata", metadata, f"no key {IDEMPOTENCY_KEY!r}: the operator sets it")


def idempotency_key_of(job: Mapping[str, Any], metadata_field: str = "metadata") -> object:
    """Return the idempotency key that a job was submitted with, ``None`` where it has none."""
    metadata = job.get(metadata_field)
    return metadata.get(IDEMPOTENCY_KEY) if isinstance(metadata, Mapping) else None


def find_own(
    jobs: Iterable[Mapping[str, Any]], is_own: Callable[[Mapping[str, Any]], bool], *, since: float
) -> Mapping[str, Any] | None:
    """
    Return a task's own job of a list, ``None`` where the list has none.

    :param jobs: As Portkey lists them; where the newest come first, the search ends at jobs that are too old.
    :param is_own: Whether a job is the one.
    :param since: When the task first tried to submit the job, epoch seconds.
    """
    since, last, old = since - _CLOCK_SKEW, float("inf"), 0
    for job in jobs:
        if is_own(job):
            return job
        created = created_at if (created_at := epoch_seconds(job.get("created_at"))) is not None else last
        old = old + 1 if created < since and created <= last else 0
        last = created
        if old >= _MAX_CONSECUTIVE_OLD:
            break
    return None
