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


class PortkeyInvalidArgumentError(PortkeyError, AirflowFailException, ValueError):
    """A value was refused before anything was sent; the message names the field, the value and what is right."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(f"{field}={value!r} is not valid: expected {expected}.")
        self._made_of = (field, value, expected)

    def __reduce__(self) -> tuple[type[PortkeyInvalidArgumentError], tuple[str, object, str]]:
        return type(self), self._made_of


class PortkeyConnectionInvalidError(PortkeyError, ValueError):
    """The Airflow connection cannot be used; the message lists every field that is wrong."""


class PortkeyRequestError(PortkeyError):
    """
    A request got no answer, or an answer that is an error.

    :param message: The sentence for the log, already cleaned of secrets.
    :param server_message: What the answer itself said, or why there was none, cleaned as well.
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
        server_message: str = "",
        status_code: int | None = None,
        refused_by: str | None = None,
        trace_id: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.server_message = server_message
        self.status_code: int | None = status_code  # type: ignore[assignment]
        self.refused_by = refused_by
        self.trace_id = trace_id
        self.request_id = request_id
        self.retry_after = retry_after

    @property
    def safe_to_retry(self) -> bool:
        """Whether a POST that ended so cannot have had its effect: it was refused, not broken off."""
        return self.status_code is not None and 300 <= self.status_code < 500 and self.status_code != 408


class PortkeyBadRequestError(PortkeyRequestError):
    """The request itself was refused (400, 422 and every other 4xx without a class of its own)."""


class PortkeyAuthenticationError(PortkeyRequestError):
    """401: a key is wrong; ``refused_by`` says whose."""


class PortkeyPermissionDeniedError(PortkeyRequestError):
    """403: the key is right and lacks a scope."""


class PortkeyNotFoundError(PortkeyRequestError):
    """404 or 410: no such thing, or the provider has retired this API."""


class PortkeyBudgetExceededError(PortkeyRequestError):
    """412: a budget or usage limit that is set in Portkey is spent."""


class PortkeyGuardrailDeniedError(PortkeyRequestError):
    """446: a Portkey guardrail denied the request."""


class PortkeyRedirectedError(PortkeyRequestError):
    """3xx: a redirect, which is never followed because the keys would travel with it."""


class PortkeyUnexpectedResponseError(PortkeyRequestError):
    """A 2xx answer that is not the JSON that was asked for (a proxy's login page, say)."""


class PortkeyRateLimitedError(PortkeyRequestError):
    """429: too many requests, or too many tokens."""

    transient = True


class PortkeyRequestTimeoutError(PortkeyRequestError):
    """408: the gateway gave up waiting for the provider."""

    transient = True


class PortkeyServerError(PortkeyRequestError):
    """5xx: Portkey or the provider failed."""

    transient = True


class PortkeyUnreachableError(PortkeyRequestError):
    """
    No whole answer: the connection was refused, broken, or too slow.

    :param request_sent: False where the request surely never reached the server.
    """

    transient = True

    def __init__(
        self, message: str, *, server_message: str = "", request_sent: bool = True, trace_id: str | None = None
    ) -> None:
        super().__init__(message, server_message=server_message, trace_id=trace_id)
        self.request_sent = request_sent

    @property
    def safe_to_retry(self) -> bool:
        """Whether it never reached the server."""
        return not self.request_sent


_ERROR_OF_STATUS: dict[int, type[PortkeyRequestError]] = {
    401: PortkeyAuthenticationError,
    403: PortkeyPermissionDeniedError,
    404: PortkeyNotFoundError,
    408: PortkeyRequestTimeoutError,
    410: PortkeyNotFoundError,
    412: PortkeyBudgetExceededError,
    429: PortkeyRateLimitedError,
    446: PortkeyGuardrailDeniedError,
}


def error_for_status(status_code: int) -> type[PortkeyRequestError]:
    """Return the class of the error that an HTTP status stands for."""
    if status_code in _ERROR_OF_STATUS:
        return _ERROR_OF_STATUS[status_code]
    if status_code < 300:
        return PortkeyUnexpectedResponseError
    if status_code < 400:
        return PortkeyRedirectedError
    return PortkeyBadRequestError if status_code < 500 else PortkeyServerError


class PortkeyPaginationError(PortkeyError):
    """A list repeated a cursor or an item: following it would never end, or count things twice."""


class PortkeyRemoteJobFailedError(PortkeyError, AirflowFailException):
    """
    The job that was waited for ended badly.

    :param status: The status it ended with.
    :param job: The job as Portkey last showed it, without its bulky fields.
    """

    def __init__(self, message: str, *, status: str | None = None, job: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.job = dict(job or {})


class PortkeyRunFailedError(PortkeyRemoteJobFailedError):
    """The run ended as ``failed``, ``cancelled``, ``expired`` or ``incomplete``."""


class PortkeyRunsFailedError(PortkeyRemoteJobFailedError):
    """More of a thread's runs ended badly than the wait allows; ``job`` is the account that XCom would hold."""


class PortkeyActionRequiredError(PortkeyRemoteJobFailedError):
    """The job stopped to wait for its caller, and the task was told to fail then."""


class PortkeyToolCallFailedError(PortkeyError, AirflowFailException):
    """
    A run waits for something that its task could not answer.

    :param tool: The name of the function that the run called; the kind of the call where it is no function.
    :param call_id: The call.
    """

    def __init__(self, message: str, *, tool: str | None = None, call_id: str | None = None) -> None:
        super().__init__(message)
        self.tool = tool
        self.call_id = call_id


class PortkeyWaitTimeoutError(PortkeyError, AirflowSensorTimeout):
    """The job had not ended by the deadline; it was left running."""


class PortkeyPollingGaveUpError(PortkeyError):
    """Too many looks in a row failed. How the job itself is doing is unknown: it was left running."""


class PortkeyEventInvalidError(PortkeyError):
    """A trigger event is not one that this provider sends."""


class PortkeySubmissionUnknownError(PortkeyError, AirflowFailException):
    """A job may have been submitted or not, and nobody can tell: a person has to look."""


class PortkeyWindowTooFullError(PortkeyError, AirflowFailException):
    """More logs lie in the shortest window there is than one export holds."""


class PortkeyRowsMismatchError(PortkeyError):
    """There are more or fewer rows than Portkey had counted before; a retry counts anew."""


class PortkeyXComTooLargeError(PortkeyError, AirflowFailException):
    """The rows are larger than the operator's limit for XCom."""


class PortkeyDestinationExistsError(PortkeyError, AirflowFailException):
    """The destination is there already and ``overwrite`` is off."""


class PortkeyBatchInputInvalidError(PortkeyError, AirflowFailException):
    """
    A batch's input has lines that the provider would refuse; nothing was sent.

    :param problems: What is wrong, the first twenty bad lines.
    :param bad_lines: How many lines are bad.
    """

    def __init__(self, message: str, *, problems: Sequence[str] = (), bad_lines: int = 0) -> None:
        super().__init__(message)
        self.problems = list(problems)
        self.bad_lines = bad_lines


class PortkeyLineInvalidError(PortkeyError, AirflowFailException):
    """A line of a batch's file is no JSON object; the message names the file and the line's number."""


class PortkeyRemoteJobNotFinishedError(PortkeyError):
    """The results of a job were asked for while it still goes on."""


class PortkeyBatchRequestsFailedError(PortkeyError, AirflowFailException):
    """
    More of a batch's requests than the task accepts failed or have no outcome; the files have landed all the same.

    :param manifest: The export's manifest, with the counts and with where the files are.
    """

    def __init__(self, message: str, *, manifest: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.manifest = dict(manifest)


class PortkeyThreadsFailedError(PortkeyError):
    """
    Some of the threads of an export failed; the files of all others have landed.

    :param manifest: The export's manifest, with the counts, and with the first of the threads that failed.
    """

    def __init__(self, message: str, *, manifest: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.manifest = dict(manifest)


class PortkeyExportConflictError(PortkeyError):
    """Another export stands at the same place: of another window, of another task, or one that goes on just now."""
