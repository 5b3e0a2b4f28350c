"""How a wait ended: plain data that crosses Airflow's database, and the exception or result that a task makes of it."""

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

SUCCEEDED = "succeeded"
FAILED = "failed"
#: The job requires action, and ``on_requires_action`` is ``"return"``.
RETURNED = "returned"
#: The job requires action, and ``on_requires_action`` is ``"fail"``.
ACTION_REQUIRED = "action_required"
TIMED_OUT = "timed_out"
#: Too many polls failed in a row; the state of the job is unknown.
GAVE_UP = "gave_up"
#: A poll was refused for good: the next one would be refused too.
REFUSED = "refused"

#: Reasons of events that carry the job.
_WITH_JOB = frozenset({SUCCEEDED, FAILED, RETURNED, ACTION_REQUIRED})
_REASONS = _WITH_JOB | {TIMED_OUT, GAVE_UP, REFUSED}

_ERROR_ATTRIBUTES = ("status_code", "refused_by", "trace_id", "request_id")


def make_event(
    job: JobSpec,
    reason: str,
    message: str,
    status: str | None,
    response: Mapping[str, Any] | None,
    error: PortkeyRequestError | None,
) -> Event:
    """Return the event for one reason; its values are those of JSON."""
    return {
        "kind": job.kind,
        "reason": reason,
        "message": message,
        "status": status,
        "job": job.summary(response) if response is not None else None,
        "error": {name: getattr(error, name) for name in _ERROR_ATTRIBUTES} if error else None,
    }


def conclude(job: JobSpec, event: object) -> dict[str, Any]:
    """
    Return the job that succeeded, or raise the error that an event stands for.

    :raises PortkeyEventInvalidError: for ``None`` and for everything that :func:`make_event` does not make.
    :raises PortkeyRemoteJobFailedError: the declaration's own subclass, where the job failed.
    :raises PortkeyActionRequiredError: where the job requires action and the task should fail then.
    :raises PortkeyWaitTimeoutError: where the job had not finished by the deadline.
    :raises PortkeyPollingGaveUpError: where too many consecutive polls failed.
    :raises PortkeyRequestError: the subclass for a poll that was refused for good.
    """
    checked = _check(job, event)
    reason, message, status = checked["reason"], checked["message"], checked["status"]
    if reason in (SUCCEEDED, RETURNED):
        return dict(checked["job"])
    if reason == FAILED:
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
        isinstance(error, dict) and error.keys() == set(_ERROR_ATTRIBUTES) and isinstance(error["status_code"], int)
    )
    if lacks_job or lacks_error or not isinstance(event.get("message"), str) or "status" not in event:
        raise PortkeyEventInvalidError(f"The trigger's event with reason {event['reason']!r} lacks a part.")
    return event
