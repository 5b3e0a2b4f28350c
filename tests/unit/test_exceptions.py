from __future__ import annotations

import copy
import inspect
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException, AirflowSensorTimeout

from airflow_provider_portkey import exceptions

ALL = {
    name: value
    for name, value in vars(exceptions).items()
    if inspect.isclass(value) and value.__module__ == exceptions.__name__
}
#: A line of the module's diagram: indentation, name, and what Airflow does with the task.
DIAGRAM = re.findall(r"^( *)[*+-] (\w+)(?: \((fail|timeout)\))?$", exceptions.__doc__ or "", re.MULTILINE)
REQUEST_ERRORS = [value for value in ALL.values() if issubclass(value, exceptions.PortkeyRequestError)]
#: A value for each parameter of the constructors.
ARGUMENTS: dict[str, Any] = {
    "message": "a message",
    "field": "limit",
    "value": 0,
    "expected": "a number",
    "server_message": "no",
    "status_code": 429,
    "refused_by": "provider",
    "trace_id": "trace-1",
    "request_id": "req_1",
    "retry_after": 1.5,
    "request_sent": False,
    "status": "failed",
    "job": {"id": "run_1"},
    "tool": "search",
    "call_id": "call_1",
    "problems": ["line 1"],
    "bad_lines": 1,
    "manifest": {"rows": 1},
    "figures": {"rows": 1},
}


def test_the_diagram_shows_every_class_below_its_base() -> None:
    path: list[str] = []
    shown = {}
    for indent, name, _ in DIAGRAM:
        path = [*path[: len(indent) // 2], name]
        shown[name] = path[-2] if len(path) > 1 else None

    assert list(shown) == list(ALL)
    assert shown.pop("PortkeyError") is None
    assert shown == {name: error.__base__.__name__ for name, error in ALL.items() if name != "PortkeyError"}


@pytest.mark.parametrize(("name", "consequence"), [(name, consequence) for _, name, consequence in DIAGRAM])
def test_the_base_class_decides_whether_airflow_fails_times_out_or_retries(name: str, consequence: str) -> None:
    error = ALL[name]

    assert name.endswith("Error")
    assert issubclass(error, exceptions.PortkeyError)
    assert issubclass(error, AirflowException)
    assert issubclass(error, AirflowFailException) is (consequence == "fail")
    assert issubclass(error, AirflowSensorTimeout) is (consequence == "timeout")


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
def test_each_http_status_has_one_exception_class(status: int, error: type[Exception]) -> None:
    assert exceptions.error_for_status(status) is error


def test_only_errors_that_may_pass_are_transient() -> None:
    transient = {error.__name__ for error in REQUEST_ERRORS if error.transient}

    assert transient == {
        "PortkeyConnectionLookupError",
        "PortkeyRateLimitedError",
        "PortkeyRequestTimeoutError",
        "PortkeyServerError",
        "PortkeyUnreachableError",
    }


def make(error: type[Exception]) -> Exception:
    """Return an exception with a value for each parameter of its constructor."""
    parameters = [one for one in inspect.signature(error.__init__).parameters.values() if one.name in ARGUMENTS]
    keywords = {one.name: ARGUMENTS[one.name] for one in parameters if one.kind is one.KEYWORD_ONLY}
    positional = [ARGUMENTS[one.name] for one in parameters if one.name not in keywords]
    return error(*(positional or ["a message"]), **keywords)


@pytest.mark.parametrize("again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
@pytest.mark.parametrize("name", ALL)
def test_an_exception_survives_pickling_with_its_attributes(again: Any, name: str) -> None:
    error = make(ALL[name])
    survivor = again(error)

    assert type(survivor) is type(error)
    assert str(survivor) == str(error)
    assert vars(survivor) == vars(error)


def test_an_invalid_argument_is_named_with_its_value_and_what_is_expected() -> None:
    error = exceptions.PortkeyInvalidArgumentError("limit", "many", "a whole number from 1 to 100")

    assert str(error) == "limit='many' is not valid: expected a whole number from 1 to 100."
    assert isinstance(error, ValueError)


def test_a_failed_job_keeps_a_copy_of_the_job() -> None:
    job = {"id": "run_1", "status": "failed"}
    error = exceptions.PortkeyRunFailedError("the run failed", status="failed", job=job)
    job["status"] = "changed"

    assert (error.status, error.job) == ("failed", {"id": "run_1", "status": "failed"})
    assert exceptions.PortkeyRunFailedError("no details").job == {}


def test_a_request_counts_as_sent_by_default() -> None:
    assert exceptions.PortkeyUnreachableError("broken").request_sent is True
    assert exceptions.PortkeyUnreachableError("refused", request_sent=False).request_sent is False


def test_every_exception_is_on_the_troubleshooting_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text()

    bases = {"PortkeyError", "PortkeyRequestError"}
    assert [name for name in ALL if name not in bases and name not in page] == []


@pytest.mark.parametrize(
    ("status", "is_safe"),
    [
        (200, False),
        (301, False),
        (302, False),
        (307, False),
        (400, True),
        (401, True),
        (408, False),
        (429, True),
        (500, False),
    ],
)
def test_a_post_is_safe_to_retry_only_where_the_server_itself_refused_it(status: int, is_safe: bool) -> None:
    assert exceptions.error_for_status(status)("no", status_code=status).safe_to_retry is is_safe


def test_a_failed_look_up_of_the_connection_sent_nothing() -> None:
    error = exceptions.PortkeyConnectionLookupError("no")

    assert (error.transient, error.safe_to_retry, error.status_code) == (True, True, None)
