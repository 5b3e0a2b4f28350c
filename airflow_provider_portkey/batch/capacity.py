"""Waiting until a provider's batch queue has room: when to submit again, and until when."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.exceptions import PortkeyRemoteJobFailedTransientlyError, PortkeyWaitTimeoutError
from airflow_provider_portkey.polling.events import FAILED
from airflow_provider_portkey.polling.poller import duration
from airflow_provider_portkey.state.task import TaskState

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_portkey.jobs.spec import JobSpec

#: The key under which a task keeps since when it waits.
_KEY = "portkey_capacity"
#: Seconds that Airflow's own time-out of a deferral comes after the trigger's time.
_BACKSTOP = timedelta(minutes=10)


class QueueFullSignal(BaseException):
    """
    The queue is full. No ``Exception``: Airflow's sensors would take it for a failed poke.

    :param message: What the event of the batch says.
    """


def is_queue_full(job: JobSpec, event: object) -> bool:
    """Return whether an event is about a batch that failed with codes of ``retryable_error_codes`` only."""
    if not isinstance(event, Mapping) or event.get("reason") != FAILED or not isinstance(event.get("job"), Mapping):
        return False
    failure = job.failure("", status=None, job=event["job"])
    return isinstance(failure, PortkeyRemoteJobFailedTransientlyError)


class CapacityWait:
    """
    The wait of one try of a task.

    :param context: The task's context.
    :param interval: Seconds between two submissions.
    :param timeout: Seconds from the first submission.
    """

    def __init__(self, context: Context, *, interval: float, timeout: float) -> None:
        self._state = TaskState(context, _KEY)
        self._interval = interval
        self._timeout = timeout

    def begin(self) -> float:
        """Return when this try of the task began to submit, epoch seconds; the first time it is now."""
        known = self._state.read()
        if "since" not in known or known.get("try_number") != self._state.try_number:
            known = {"since": time.time(), "try_number": self._state.try_number}
            self._state.write(known)
        return float(known["since"])

    def next_submission(self, reason: str) -> float:
        """
        Return the seconds until the next submission.

        :param reason: What the refused batch said.
        :raises PortkeyWaitTimeoutError: where the next submission would be too late.
        """
        if time.time() + self._interval >= self.begin() + self._timeout:
            self.clear()
            raise PortkeyWaitTimeoutError(
                f"The provider's batch queue had no room within the timeout of {duration(self._timeout)}. No batch was "
                f"left running. Last: {reason}"
            )
        return self._interval

    def clear(self) -> None:
        """Forget the wait."""
        self._state.write({})
        self._state.clear()


def sleep_trigger(seconds: float) -> tuple[Any, timedelta]:
    """Return Airflow's trigger that fires after some seconds, and the time-out of its deferral."""
    try:
        from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
    except ImportError:  # before Airflow 3
        from airflow.triggers.temporal import TimeDeltaTrigger  # type: ignore[import-not-found, no-redef]
    wait = timedelta(seconds=seconds)
    return TimeDeltaTrigger(wait), wait + _BACKSTOP


def reschedule(seconds: float) -> Exception:
    """Return Airflow's exception that starts the task again after some seconds."""
    try:
        from airflow.sdk.exceptions import AirflowRescheduleException
    except ImportError:  # before Airflow 3.2
        from airflow.exceptions import AirflowRescheduleException
    at = datetime.now(tz=UTC) + timedelta(seconds=seconds)
    return AirflowRescheduleException(at)  # type: ignore[no-untyped-call]
