"""How a wait ended, in plain data that crosses a database, and what the task makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_portkey.exceptions import (
    PortkeyActionRequiredError,
    PortkeyEventInvalidError,
    PortkeyPollingGaveUpError,
    PortkeyRequestError,
    PortkeyWaitTimeoutError,
    error_for_status,
)
from airflow_provider_portkey.jobs.spec import JobSpec

Event = dict[str, Any]

ENDED_WELL = "success_statuses"
ENDED_BADLY = "failure_statuses"
#: The job waits for its caller, and the caller wanted it handed over then.
RETURNED = "returned"
#: The job waits for its caller, and the caller wanted to fail then.
ACTION_REQUIRED = "action_required"
TIMED_OUT = "timed_out"
#: Looks failed; how the job is doing is unknown.
GAVE_UP = "gave_up"
#: A look was refused in a way that no further look would change.
REFUSED = "refused"

#: Reasons with which the job itself must come along.
_WITH_JOB = frozenset({ENDED_WELL, ENDED_BADLY, RETURNED, ACTION_REQUIRED})
_REASONS = _WITH_JOB | {TIMED_OUT, GAVE_UP, REFUSED}

_OF_ERROR = ("status_code", "refused_by", "trace_id", "request_id")


def make(
    job: JobSpec,
    reason: str,
    message: str,
    status: str | None,
    answer: Mapping[str, Any] | None,
    error: PortkeyRequestError | None,
) -> Event:
    """Return the event for one reason; its values are what JSON has."""
    return {
        "kind": job.kind,
        "reason": reason,
        "message": message,
        "status": status,
        "job": job.summary(answer) if answer is not None else None,
        "error": {name: getattr(error, name) for name in _OF_ERROR} if error else None,
    }


def conclude(job: JobSpec, event: object) -> dict[str, Any]:
    """
    Return the job that ended well, or raise what its end means.

    :raises PortkeyEventInvalidError: for ``None`` and for everything that :func:`make` does not make.
    :raises PortkeyRemoteJobFailedError: the job's own subclass, where it ended badly.
    :raises PortkeyActionRequiredError: where it waits for its caller and the wait should fail then.
    :raises PortkeyWaitTimeoutError: where it had not ended by the deadline.
    :raises PortkeyPollingGaveUpError: where too many looks in a row failed.
    :raises PortkeyRequestError: the subclass that a refused look stands for.
    """
    checked = _check(job, event)
    reason, message, status = checked["reason"], checked["message"], checked["status"]
    if reason in (ENDED_WELL, RETURNED):
        return dict(checked["job"])
    if reason == ENDED_BADLY:
        raise job.failure_exception(message, status=status, job=checked["job"])
    if reason == ACTION_REQUIRED:
        raise PortkeyActionRequiredError(message, status=status, job=checked["job"])
    if reason == TIMED_OUT:
        raise PortkeyWaitTimeoutError(message)
    if reason == GAVE_UP:
        raise PortkeyPollingGaveUpError(message)
    raise error_for_status(checked["error"]["status_code"])(message, **checked["error"])


def _check(job: JobSpec, event: object) -> Event:
    if not isinstance(event, dict):
        raise PortkeyEventInvalidError(f"The trigger sent {event!r}, a {job.kind} event was expected.")
    if event.get("kind") != job.kind or event.get("reason") not in _REASONS:
        kind, reason = event.get("kind"), event.get("reason")
        raise PortkeyEventInvalidError(f"The trigger sent kind {kind!r} with reason {reason!r}, no {job.kind} event.")
    lacks_job = event["reason"] in _WITH_JOB and not isinstance(event.get("job"), dict)
    error = event.get("error")
    lacks_error = event["reason"] == REFUSED and not (
        isinstance(error, dict) and error.keys() == set(_OF_ERROR) and isinstance(error["status_code"], int)
    )
    if lacks_job or lacks_error or not isinstance(event.get("message"), str) or "status" not in event:
        raise PortkeyEventInvalidError(f"The trigger's event with reason {event['reason']!r} lacks a part of it.")
    return event
