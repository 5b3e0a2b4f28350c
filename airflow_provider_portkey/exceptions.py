"""
The exceptions of this provider, one class for each cause.

* PortkeyError
  - PortkeyInvalidArgumentError (fail)
  - PortkeyConnectionInvalidError
  + PortkeyRequestError
    - PortkeyBadRequestError
    - PortkeyAuthenticationError
    - PortkeyPermissionDeniedError
    - PortkeyNotFoundError
    - PortkeyBudgetExceededError
    - PortkeyGuardrailDeniedError
    - PortkeyRedirectedError
    - PortkeyUnexpectedResponseError
    - PortkeyRateLimitedError
    - PortkeyRequestTimeoutError
    - PortkeyServerError
    - PortkeyUnreachableError
    - PortkeyConnectionLookupError
  - PortkeyPaginationError
  + PortkeyRemoteJobError
    + PortkeyRemoteJobFailedError (fail)
      - PortkeyRunFailedError (fail)
      - PortkeyRunsFailedError (fail)
      - PortkeyActionRequiredError (fail)
    - PortkeyRemoteJobFailedTransientlyError
  - PortkeyToolCallFailedError (fail)
  - PortkeyWaitTimeoutError (timeout)
  - PortkeyPollingGaveUpError
  - PortkeyEventInvalidError
  - PortkeySubmissionUnknownError (fail)
  - PortkeyWindowTooFullError (fail)
  - PortkeyRowsMismatchError
  - PortkeyXComTooLargeError (fail)
  - PortkeyDestinationExistsError (fail)
  - PortkeyPathError
  - PortkeyBatchInputInvalidError (fail)
  - PortkeyLineInvalidError (fail)
  - PortkeyRemoteJobNotFinishedError
  - PortkeyBatchRequestsFailedError (fail)
  - PortkeyBatchCheckFailedError (fail)
  - PortkeyThreadsFailedError
  - PortkeyExportConflictError

The base class decides what Airflow does with the task. ``(fail)`` is an ``AirflowFailException``: no retry, and
``soft_fail`` skips. ``(timeout)`` is an ``AirflowSensorTimeout``: the same. Every other class is a plain
``AirflowException``: Airflow retries.
"""

from __future__ import annotations

import copyreg
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, AirflowSensorTimeout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class PortkeyError(AirflowException):
    """Base of every exception that this provider raises."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the constructor, which may require more than the message.
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # type: ignore[attr-defined]


class PortkeyInvalidArgumentError(PortkeyError, AirflowFailException, ValueError):
    """
    A value was refused before any request was sent.

    :param field: Name of the parameter.
    :param value: The refused value.
    :param expected: What would be right.
    """

    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(f"{field}={value!r} is not valid: expected {expected}.")


class PortkeyConnectionInvalidError(PortkeyError, ValueError):
    """The Airflow connection cannot be used; the message lists every field that is wrong."""


class PortkeyRequestError(PortkeyError):
    """
    A request failed: no response, or a response that is an error.

    :param message: The sentence for the log, with secrets redacted.
    :param server_message: The server's own message, or the reason why there is no response, with secrets redacted.
    :param status_code: HTTP status of the response, ``None`` without a response.
    :param refused_by: ``"portkey"``, ``"provider"``, or ``None`` where the response does not tell.
    :param trace_id: Portkey's trace id of the response, otherwise the one that was sent.
    :param request_id: The provider's request id.
    :param retry_after: Seconds to wait that the response named, ``None`` where it named none.
    """

    #: Whether the same request may succeed later.
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
        """Whether a POST that failed so cannot have taken effect: the server refused it."""
        # Not after a redirect: the server behind the one that redirects may have carried the request out.
        return self.status_code is not None and 400 <= self.status_code < 500 and self.status_code != 408


class PortkeyBadRequestError(PortkeyRequestError):
    """400, 422 and every other 4xx without a class of its own: the request itself was refused."""


class PortkeyAuthenticationError(PortkeyRequestError):
    """401: an API key is wrong; ``refused_by`` says whose."""


class PortkeyPermissionDeniedError(PortkeyRequestError):
    """403: the API key is valid and lacks a scope."""


class PortkeyNotFoundError(PortkeyRequestError):
    """404 or 410: no such resource, or the provider has retired this API."""


class PortkeyBudgetExceededError(PortkeyRequestError):
    """412: a budget or usage limit that is set in Portkey is spent."""


class PortkeyGuardrailDeniedError(PortkeyRequestError):
    """446: a Portkey guardrail denied the request."""


class PortkeyRedirectedError(PortkeyRequestError):
    """3xx: a redirect, which is never followed because the API keys would be sent along."""


class PortkeyUnexpectedResponseError(PortkeyRequestError):
    """A 2xx response that is not the expected JSON, such as a proxy's login page."""


class PortkeyRateLimitedError(PortkeyRequestError):
    """429: too many requests, or too many tokens."""

    transient = True


class PortkeyRequestTimeoutError(PortkeyRequestError):
    """408: the provider was too slow for the gateway."""

    transient = True


class PortkeyServerError(PortkeyRequestError):
    """5xx: Portkey or the provider failed."""

    transient = True


class PortkeyUnreachableError(PortkeyRequestError):
    """
    No complete response: the connection was refused, broken or too slow.

    :param request_sent: ``False`` where the request cannot have reached the server.
    """

    transient = True

    def __init__(
        self, message: str, *, server_message: str = "", request_sent: bool = True, trace_id: str | None = None
    ) -> None:
        super().__init__(message, server_message=server_message, trace_id=trace_id)
        self.request_sent = request_sent

    @property
    def safe_to_retry(self) -> bool:
        """Whether the request cannot have reached the server."""
        return not self.request_sent


class PortkeyConnectionLookupError(PortkeyRequestError):
    """The Airflow connection could not be read at this time, so that no request was sent."""

    transient = True

    @property
    def safe_to_retry(self) -> bool:
        """Always: nothing was sent."""
        return True


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
    """Return the exception class for an HTTP status."""
    if status_code in _ERROR_OF_STATUS:
        return _ERROR_OF_STATUS[status_code]
    if status_code < 300:
        return PortkeyUnexpectedResponseError
    if status_code < 400:
        return PortkeyRedirectedError
    return PortkeyBadRequestError if status_code < 500 else PortkeyServerError


class PortkeyPaginationError(PortkeyError):
    """A list repeated a cursor or an item: reading on would never end, or yield items twice."""


class PortkeyRemoteJobError(PortkeyError):
    """
    A remote job has no result; base of the exceptions with the last state of the job.

    :param status: The job's last status.
    :param job: The job's last state, without its excluded fields.
    """

    def __init__(self, message: str, *, status: str | None = None, job: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.job = dict(job or {})


class PortkeyRemoteJobFailedError(PortkeyRemoteJobError, AirflowFailException):
    """The remote job failed for good; base of the exceptions for single kinds of jobs."""


class PortkeyRunFailedError(PortkeyRemoteJobFailedError):
    """The run's terminal status is ``failed``, ``cancelled``, ``expired`` or ``incomplete``."""


class PortkeyRunsFailedError(PortkeyRemoteJobFailedError):
    """More of a thread's runs failed than ``max_failed_runs`` allows; ``job`` is the summary of all of them."""


class PortkeyActionRequiredError(PortkeyRemoteJobFailedError):
    """The job requires action, and ``on_requires_action`` is ``"fail"``."""


class PortkeyRemoteJobFailedTransientlyError(PortkeyRemoteJobError):
    """The remote job failed with a code of ``retryable_error_codes``: the same job may succeed when submitted again."""


class PortkeyToolCallFailedError(PortkeyError, AirflowFailException):
    """
    A run requires a tool output that the task could not provide.

    :param tool: Name of the function that the run called; type of the call where it is no function.
    :param call_id: Id of the tool call.
    """

    def __init__(self, message: str, *, tool: str | None = None, call_id: str | None = None) -> None:
        super().__init__(message)
        self.tool = tool
        self.call_id = call_id


class PortkeyWaitTimeoutError(PortkeyError, AirflowSensorTimeout):
    """The job had no terminal status by the deadline; the job was not cancelled."""


class PortkeyPollingGaveUpError(PortkeyError):
    """Too many consecutive polls failed; the job's own status is unknown, and the job was not cancelled."""


class PortkeyEventInvalidError(PortkeyError):
    """A trigger event has a shape that this provider does not send."""


class PortkeySubmissionUnknownError(PortkeyError, AirflowFailException):
    """Whether a job was submitted is unknown and cannot be requested; a person has to check Portkey's logs."""


class PortkeyWindowTooFullError(PortkeyError, AirflowFailException):
    """The shortest possible window has more logs than one log export can hold."""


class PortkeyRowsMismatchError(PortkeyError):
    """The number of rows differs from Portkey's earlier count; a retry counts again."""


class PortkeyXComTooLargeError(PortkeyError, AirflowFailException):
    """The rows are larger than ``max_bytes``, the operator's limit for XCom."""


class PortkeyDestinationExistsError(PortkeyError, AirflowFailException):
    """The destination exists and ``overwrite`` is off."""


class PortkeyPathError(PortkeyError):
    """
    A file cannot be read or written; the message names the path, the reason, and what to do.

    :param path: The path.
    """

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class PortkeyBatchInputInvalidError(PortkeyError, AirflowFailException):
    """
    A batch's input has lines that the provider would refuse; no request was sent.

    :param problems: One sentence for each of the first invalid lines.
    :param bad_lines: Number of invalid lines.
    """

    def __init__(self, message: str, *, problems: Sequence[str] = (), bad_lines: int = 0) -> None:
        super().__init__(message)
        self.problems = list(problems)
        self.bad_lines = bad_lines


class PortkeyLineInvalidError(PortkeyError, AirflowFailException):
    """A line of a batch file is no JSON object; the message names the file and the line number."""


class PortkeyRemoteJobNotFinishedError(PortkeyError):
    """The results of a job were requested while the job has no terminal status."""


class PortkeyBatchRequestsFailedError(PortkeyError, AirflowFailException):
    """
    More of a batch's requests failed or have no outcome than the task accepts; the files are written nevertheless.

    :param manifest: The export's manifest, with the counts and the paths of the files.
    """

    def __init__(self, message: str, *, manifest: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.manifest = dict(manifest)


class PortkeyBatchCheckFailedError(PortkeyError, AirflowFailException):
    """
    The results of a batch do not meet a threshold of ``PortkeyBatchCheckOperator``.

    :param figures: Counts, ratios, the mean score, and the result of each check.
    """

    def __init__(self, message: str, *, figures: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.figures = dict(figures)


class PortkeyThreadsFailedError(PortkeyError):
    """
    Some threads of an export failed; the files of all other threads are written.

    :param manifest: The export's manifest, with the counts and the first failed threads.
    """

    def __init__(self, message: str, *, manifest: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.manifest = dict(manifest)


class PortkeyExportConflictError(PortkeyError):
    """Another export uses the same path: one of another window or task, or one that is active now."""
