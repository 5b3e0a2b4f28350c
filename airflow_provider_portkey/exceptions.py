"""What can go wrong, one class per thing that happened.

The base class decides what Airflow does with a task: a job that ended badly is an
``AirflowFailException`` (no retry, ``soft_fail`` skips), a wait that ran out of time an
``AirflowSensorTimeout`` (the same), everything else an ``AirflowException`` (Airflow retries).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, AirflowSensorTimeout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class PortkeyError(AirflowException):
    """Base of every error that this provider raises."""


class PortkeyInvalidArgument(PortkeyError, AirflowFailException, ValueError):
    """A value was refused before anything was sent; the message names the field, the value and what is right."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(f"{field}={value!r} is not valid: expected {expected}.")
        self._made_of = (field, value, expected)

    def __reduce__(self) -> tuple[type[PortkeyInvalidArgument], tuple[str, object, str]]:
        return type(self), self._made_of


class PortkeyConnectionInvalid(PortkeyError, ValueError):
    """The Airflow connection cannot be used; the message lists every field that is wrong."""


class PortkeyRequestError(PortkeyError):
    """
    A request got no answer, or an answer that is an error.

    :param message: The sentence for the log, already cleaned of secrets.
    :param said: What the answer itself said, or why there was none, cleaned as well.
    :param status_code: HTTP status of the answer, ``None`` where there was none.
    :param refused_by: ``"portkey"``, ``"provider"``, or ``None`` where it cannot be told.
    :param trace_id: Portkey's trace id, to be looked up in its dashboard; the one that was sent where the answer
        has none.
    :param request_id: The provider's request id.
    :param retry_after: Seconds that the answer asked to wait, ``None`` where it did not.
    """

    #: Whether the same request may succeed a moment later.
    transient = False

    def __init__(
        self,
        message: str,
        *,
        said: str = "",
        status_code: int | None = None,
        refused_by: str | None = None,
        trace_id: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.said = said
        self.status_code: int | None = status_code  # type: ignore[assignment]
        self.refused_by = refused_by
        self.trace_id = trace_id
        self.request_id = request_id
        self.retry_after = retry_after

    @property
    def surely_not_carried_out(self) -> bool:
        """Whether a POST that ended so cannot have had its effect: it was refused, not broken off."""
        return self.status_code is not None and 300 <= self.status_code < 500 and self.status_code != 408


class PortkeyBadRequest(PortkeyRequestError):
    """The request itself was refused (400, 422 and every other 4xx without a class of its own)."""


class PortkeyAuthenticationError(PortkeyRequestError):
    """401: a key is wrong; ``refused_by`` says whose."""


class PortkeyPermissionDenied(PortkeyRequestError):
    """403: the key is right and lacks a scope."""


class PortkeyNotFound(PortkeyRequestError):
    """404 or 410: no such thing, or the provider has retired this API."""


class PortkeyBudgetExceeded(PortkeyRequestError):
    """412: a budget or usage limit that is set in Portkey is spent."""


class PortkeyGuardrailDenied(PortkeyRequestError):
    """446: a Portkey guardrail denied the request."""


class PortkeyRedirected(PortkeyRequestError):
    """3xx: a redirect, which is never followed because the keys would travel with it."""


class PortkeyUnexpectedAnswer(PortkeyRequestError):
    """A 2xx answer that is not the JSON that was asked for (a proxy's login page, say)."""


class PortkeyRateLimited(PortkeyRequestError):
    """429: too many requests, or too many tokens."""

    transient = True


class PortkeyRequestTimeout(PortkeyRequestError):
    """408: the gateway gave up waiting for the provider."""

    transient = True


class PortkeyServerError(PortkeyRequestError):
    """5xx: Portkey or the provider failed."""

    transient = True


class PortkeyUnreachable(PortkeyRequestError):
    """
    No whole answer: the connection was refused, broken, or too slow.

    :param sent: False where the request surely never reached the server.
    """

    transient = True

    def __init__(self, message: str, *, said: str = "", sent: bool = True, trace_id: str | None = None) -> None:
        super().__init__(message, said=said, trace_id=trace_id)
        self.sent = sent

    @property
    def surely_not_carried_out(self) -> bool:
        """Whether it never reached the server."""
        return not self.sent


_ERROR_OF_STATUS: dict[int, type[PortkeyRequestError]] = {
    401: PortkeyAuthenticationError,
    403: PortkeyPermissionDenied,
    404: PortkeyNotFound,
    408: PortkeyRequestTimeout,
    410: PortkeyNotFound,
    412: PortkeyBudgetExceeded,
    429: PortkeyRateLimited,
    446: PortkeyGuardrailDenied,
}


def error_of_status(status_code: int) -> type[PortkeyRequestError]:
    """Return the class of the error that an HTTP status stands for."""
    if status_code in _ERROR_OF_STATUS:
        return _ERROR_OF_STATUS[status_code]
    if status_code < 300:
        return PortkeyUnexpectedAnswer
    if status_code < 400:
        return PortkeyRedirected
    return PortkeyBadRequest if status_code < 500 else PortkeyServerError


class PortkeyPaginationError(PortkeyError):
    """A list repeated a cursor or an item: following it would never end, or count things twice."""


class PortkeyJobFailed(PortkeyError, AirflowFailException):
    """
    The job that was waited for ended badly.

    :param status: The status it ended with.
    :param job: The job as Portkey last showed it, without its bulky fields.
    """

    def __init__(self, message: str, *, status: str | None = None, job: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.job = dict(job or {})


class PortkeyRunFailed(PortkeyJobFailed):
    """The run ended as ``failed``, ``cancelled``, ``expired`` or ``incomplete``."""


class PortkeyRunsFailed(PortkeyJobFailed):
    """More of a thread's runs ended badly than the wait allows; ``job`` is the account that XCom would hold."""


class PortkeyActionRequired(PortkeyJobFailed):
    """The job stopped to wait for its caller, and the task was told to fail then."""


class PortkeyToolCallFailed(PortkeyError, AirflowFailException):
    """
    A run waits for something that its task could not answer.

    :param tool: The name of the function that the run called; the kind of the call where it is no function.
    :param call_id: The call.
    """

    def __init__(self, message: str, *, tool: str | None = None, call_id: str | None = None) -> None:
        super().__init__(message)
        self.tool = tool
        self.call_id = call_id


class PortkeyWaitTimeout(PortkeyError, AirflowSensorTimeout):
    """The job had not ended by the deadline; it was left running."""


class PortkeyPollingGaveUp(PortkeyError):
    """Too many looks in a row failed. How the job itself is doing is unknown: it was left running."""


class PortkeyEventInvalid(PortkeyError):
    """A trigger event is not one that this provider sends."""


class PortkeySubmissionUnknown(PortkeyError, AirflowFailException):
    """A job may have been submitted or not, and nobody can tell: a person has to look."""


class PortkeyWindowTooFull(PortkeyError, AirflowFailException):
    """More logs lie in the shortest window there is than one export holds."""


class PortkeyRowsMismatch(PortkeyError):
    """There are more or fewer rows than Portkey had counted before; a retry counts anew."""


class PortkeyXComTooLarge(PortkeyError, AirflowFailException):
    """The rows are larger than the operator's limit for XCom."""


class PortkeyDestinationExists(PortkeyError, AirflowFailException):
    """The destination is there already and ``overwrite`` is off."""


class PortkeyBatchInputInvalid(PortkeyError, AirflowFailException):
    """
    A batch's input has lines that the provider would refuse; nothing was sent.

    :param problems: What is wrong, the first twenty bad lines.
    :param bad_lines: How many lines are bad.
    """

    def __init__(self, message: str, *, problems: Sequence[str] = (), bad_lines: int = 0) -> None:
        super().__init__(message)
        self.problems = list(problems)
        self.bad_lines = bad_lines


class PortkeyLineInvalid(PortkeyError, AirflowFailException):
    """A line of a batch's file is no JSON object; the message names the file and the line's number."""


class PortkeyJobNotEnded(PortkeyError):
    """The results of a job were asked for while it still goes on."""


class PortkeyBatchRequestsFailed(PortkeyError, AirflowFailException):
    """
    More of a batch's requests than the task accepts failed or have no outcome; the files have landed all the same.

    :param manifest: The export's manifest, with the counts and with where the files are.
    """

    def __init__(self, message: str, *, manifest: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.manifest = dict(manifest)


class PortkeyThreadsFailed(PortkeyError):
    """
    Some of the threads of an export failed; the files of all others have landed.

    :param manifest: The export's manifest, with the counts, and with the first of the threads that failed.
    """

    def __init__(self, message: str, *, manifest: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.manifest = dict(manifest)


class PortkeyExportConflict(PortkeyError):
    """Another export stands at the same place: of another window, of another task, or one that goes on just now."""
