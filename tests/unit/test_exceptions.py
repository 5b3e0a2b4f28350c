from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, AirflowSensorTimeout

from airflow_provider_portkey import exceptions

ALL = {
    name: value
    for name, value in vars(exceptions).items()
    if inspect.isclass(value) and value.__module__ == exceptions.__name__
}
FAIL_AT_ONCE = {
    "PortkeyInvalidArgumentError",
    "PortkeyRemoteJobFailedError",
    "PortkeyRunFailedError",
    "PortkeyRunsFailedError",
    "PortkeyActionRequiredError",
    "PortkeySubmissionUnknownError",
    "PortkeyToolCallFailedError",
    "PortkeyXComTooLargeError",
    "PortkeyDestinationExistsError",
    "PortkeyBatchInputInvalidError",
    "PortkeyBatchRequestsFailedError",
    "PortkeyLineInvalidError",
    "PortkeyWindowTooFullError",
}
TIME_OUTS = {"PortkeyWaitTimeoutError"}
REQUEST_ERRORS = [value for value in ALL.values() if issubclass(value, exceptions.PortkeyRequestError)]


@pytest.mark.parametrize("name", sorted(ALL))
def test_the_base_class_tells_airflow_whether_to_fail_to_time_out_or_to_retry(name: str) -> None:
    error = ALL[name]

    assert issubclass(error, exceptions.PortkeyError)
    assert issubclass(error, AirflowException)
    assert issubclass(error, AirflowFailException) is (name in FAIL_AT_ONCE)
    assert issubclass(error, AirflowSensorTimeout) is (name in TIME_OUTS)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (200, exceptions.PortkeyUnexpectedResponseError),
        (204, exceptions.PortkeyUnexpectedResponseError),
        (301, exceptions.PortkeyRedirectedError),
        (302, exceptions.PortkeyRedirectedError),
        (399, exceptions.PortkeyRedirectedError),
        (400, exceptions.PortkeyBadRequestError),
        (401, exceptions.PortkeyAuthenticationError),
        (402, exceptions.PortkeyBadRequestError),
        (403, exceptions.PortkeyPermissionDeniedError),
        (404, exceptions.PortkeyNotFoundError),
        (408, exceptions.PortkeyRequestTimeoutError),
        (409, exceptions.PortkeyBadRequestError),
        (410, exceptions.PortkeyNotFoundError),
        (412, exceptions.PortkeyBudgetExceededError),
        (422, exceptions.PortkeyBadRequestError),
        (429, exceptions.PortkeyRateLimitedError),
        (446, exceptions.PortkeyGuardrailDeniedError),
        (499, exceptions.PortkeyBadRequestError),
        (500, exceptions.PortkeyServerError),
        (503, exceptions.PortkeyServerError),
        (599, exceptions.PortkeyServerError),
    ],
)
def test_each_status_stands_for_one_error(status: int, error: type[Exception]) -> None:
    assert exceptions.error_for_status(status) is error


def test_what_may_succeed_a_moment_later_is_transient_and_nothing_else() -> None:
    transient = {error.__name__ for error in REQUEST_ERRORS if error.transient}

    assert transient == {
        "PortkeyRateLimitedError",
        "PortkeyRequestTimeoutError",
        "PortkeyServerError",
        "PortkeyUnreachableError",
    }


ATTRIBUTES = {
    "server_message": "no",
    "status_code": 429,
    "refused_by": "provider",
    "trace_id": "trace-1",
    "request_id": "req_1",
    "retry_after": 1.5,
}


@pytest.mark.parametrize("again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
@pytest.mark.parametrize(
    "error",
    [
        *[one("a message", **ATTRIBUTES) for one in REQUEST_ERRORS if one is not exceptions.PortkeyUnreachableError],
        exceptions.PortkeyUnreachableError("a message", server_message="broken", request_sent=False),
        exceptions.PortkeyRunFailedError("a message", status="failed", job={"id": "run_1"}),
        exceptions.PortkeyConnectionInvalidError("a message"),
        exceptions.PortkeyPaginationError("a message"),
        exceptions.PortkeyWaitTimeoutError("a message"),
        exceptions.PortkeyXComTooLargeError("a message"),
        exceptions.PortkeyInvalidArgumentError("limit", 0, "more"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_pickling_with_all_that_it_knows(again: Any, error: Exception) -> None:
    survivor = again(error)

    assert type(survivor) is type(error)
    assert str(survivor) == str(error)
    assert vars(survivor) == vars(error)


def test_a_refused_value_is_named_shown_and_put_right() -> None:
    error = exceptions.PortkeyInvalidArgumentError("limit", "many", "a whole number from 1 to 100")

    assert str(error) == "limit='many' is not valid: expected a whole number from 1 to 100."
    assert isinstance(error, ValueError)


def test_a_failed_job_keeps_a_copy_of_the_job() -> None:
    job = {"id": "run_1", "status": "failed"}
    error = exceptions.PortkeyRunFailedError("the run failed", status="failed", job=job)
    job["status"] = "changed"

    assert (error.status, error.job) == ("failed", {"id": "run_1", "status": "failed"})
    assert exceptions.PortkeyRunFailedError("no more is known").job == {}


def test_an_unreachable_server_may_have_got_the_request_unless_it_is_said() -> None:
    assert exceptions.PortkeyUnreachableError("broken").request_sent is True
    assert exceptions.PortkeyUnreachableError("refused", request_sent=False).request_sent is False
