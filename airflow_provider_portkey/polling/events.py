"""How a wait ended: plain data that crosses Airflow's database, and the exception or result that a task makes of it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, cast

from airflow_provider_portkey.exceptions import (
    PortkeyActionRequiredError,
    PortkeyConnectionInvalidError,
    PortkeyEventInvalidError,
    PortkeyPaginationError,
    PortkeyPollingGaveUpError,
    PortkeyRequestError,
    PortkeyWaitTimeoutError,
    PortkeyXComTooLargeError,
    error_for_status,
)
from airflow_provider_portkey.jobs.spec import JobSpec
from airflow_provider_portkey.json_values import storable

Event = dict[str, Any]

SUCCEEDED = "succeeded"
FAILED = "failed"
#: The job requires action, and ``on_requires_action`` is ``"return"``.
RETURNED = "returned"
#: The job requires action, and ``on_requires_action`` is ``"fail"``.
ACTION_REQUIRED = "action_required"
TIMED_OUT = "timed_out"
#: Too many consecutive polls failed; the state of the job is unknown.
GAVE_UP = "gave_up"
#: A poll failed for good: the next one would fail too.
REFUSED = "refused"
#: The Airflow connection has become invalid.
CONNECTION_INVALID = "connection_invalid"

#: Reasons of events that carry the job.
_WITH_JOB = frozenset({SUCCEEDED, FAILED, RETURNED, ACTION_REQUIRED})
_REASONS = _WITH_JOB | {TIMED_OUT, GAVE_UP, REFUSED, CONNECTION_INVALID}

#: The errors with which a poll fails.
PollError = PortkeyRequestError | PortkeyPaginationError | PortkeyConnectionInvalidError

_ERROR_ATTRIBUTES = ("status_code", "refused_by", "trace_id", "request_id")


def make_event(
    job: JobSpec,
    reason: str,
    message: str,
    status: str | None,
    response: Mapping[str, Any] | None,
    error: PollError | None,
    *,
    include_fields: Collection[str] = (),
    max_bytes: int | None = None,
) -> Event:
    """
    Return the event for one reason, as Airflow's database can store it.

    :param include_fields: Excluded fields that the event has nevertheless, unless they are too large.
    :param max_bytes: Maximum size of the job as JSON where fields are included.
    """
    found, too_large = None, None
    if response is not None:
        found, too_large = summarize(job, response, include_fields, max_bytes)
    # Airflow's own exceptions have a 'status_code' too, which says nothing about a request.
    of_request = isinstance(error, PortkeyRequestError)
    event = {
        "kind": job.kind,
        "reason": reason,
        "message": message,
        "status": status,
        "job": found,
        "too_large": too_large,
        "error": {name: getattr(error, name) if of_request else None for name in _ERROR_ATTRIBUTES} if error else None,
    }
    return cast("Event", storable(event))


def summarize(
    job: JobSpec, response: Mapping[str, Any], include_fields: Collection[str], max_bytes: int | None
) -> tuple[dict[str, Any], str | None]:
    """
    Return a job as XCom takes it, and a sentence that says which included field is too large.

    A job with fields that are too large is returned without all of them: the job may not be needed, such as the one
    of an error.

    :param include_fields: Excluded fields that are included; a field that the job does not have is ignored.
    :param max_bytes: Maximum size of the job as JSON, ``None`` for any size.
    """
    summary = job.summary(response)
    sizes = {name: len(json.dumps(response[name])) for name in include_fields if name in response}
    if not sizes:
        return summary, None
    whole = job.summary(response, include_fields)
    if max_bytes is None or (size := len(json.dumps(whole))) <= max_bytes:
        return whole, None
    largest = max(sizes, key=lambda name: sizes[name])
    instead = (
        f"Use {job.field_operators[largest]}, which writes it to a file,"
        if largest in job.field_operators
        else "Request the job in the task that needs the field, with PortkeyHook.get_job(),"
    )
    return summary, (
        f"The {job.kind} is too large for XCom with include_fields: it has {size} bytes as JSON, more than "
        f"max_bytes={max_bytes}, and {sizes[largest]} of them are its field {largest!r}. {instead} or raise max_bytes "
        "if your XCom backend is made for it."
    )


def conclude(job: JobSpec, event: object, *, on_failed: str = "fail") -> dict[str, Any]:
    """
    Return the job that succeeded, or raise the error that an event stands for.

    :param on_failed: ``"return"`` returns a job that failed, with the reason in its field ``error_message``.
    :raises PortkeyEventInvalidError: for ``None`` and for everything that :func:`make_event` does not make.
    :raises PortkeyRemoteJobFailedError: the declaration's own subclass, where the job failed.
    :raises PortkeyRemoteJobFailedTransientlyError: where the job failed with a code of ``retryable_error_codes``.
    :raises PortkeyXComTooLargeError: where the job would be returned and an included field is too large.
    :raises PortkeyActionRequiredError: where the job requires action and the task should fail then.
    :raises PortkeyWaitTimeoutError: where the job had not finished by the deadline.
    :raises PortkeyPollingGaveUpError: where too many consecutive polls failed.
    :raises PortkeyRequestError: the subclass for a poll that was refused for good.
    :raises PortkeyPaginationError: where a list of jobs repeats itself.
    :raises PortkeyConnectionInvalidError: where the connection has become invalid.
    """
    checked = _check(job, event)
    reason, message, status = checked["reason"], checked["message"], checked["status"]
    failed = reason == FAILED and on_failed == "return"
    if failed or reason in (SUCCEEDED, RETURNED):
        if too_large := checked.get("too_large"):
            raise PortkeyXComTooLargeError(str(too_large))
        found = dict(checked["job"])
        if failed:
            found["error_message"] = found.get("error_message") or job.error_message(found) or message
        return found
    if reason == FAILED:
        raise job.failure(message, status=status, job=checked["job"])
    if reason == ACTION_REQUIRED:
        raise PortkeyActionRequiredError(message, status=status, job=checked["job"])
    if reason == TIMED_OUT:
        raise PortkeyWaitTimeoutError(message)
    if reason == GAVE_UP:
        raise PortkeyPollingGaveUpError(message)
    if reason == CONNECTION_INVALID:
        raise PortkeyConnectionInvalidError(message)
    if checked["error"]["status_code"] is None:
        raise PortkeyPaginationError(message)
    raise error_for_status(checked["error"]["status_code"])(message, **checked["error"])


def _check(job: JobSpec, event: object) -> Event:
    if not isinstance(event, dict):
        raise PortkeyEventInvalidError(f"The trigger sent {event!r}, a {job.kind} event was expected.")
    kind, reason = event.get("kind"), event.get("reason")
    if kind != job.kind or not isinstance(reason, str) or reason not in _REASONS:
        raise PortkeyEventInvalidError(f"The trigger sent kind {kind!r} with reason {reason!r}, no {job.kind} event.")
    lacks_job = reason in _WITH_JOB and not isinstance(event.get("job"), dict)
    error = event.get("error")
    lacks_error = reason == REFUSED and not (
        isinstance(error, dict)
        and error.keys() == set(_ERROR_ATTRIBUTES)
        and isinstance(error["status_code"], int | None)
    )
    if lacks_job or lacks_error or not isinstance(event.get("message"), str) or "status" not in event:
        raise PortkeyEventInvalidError(f"The trigger's event with reason {reason!r} lacks a part.")
    return event
