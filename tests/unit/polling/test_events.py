from __future__ import annotations

import json

import pytest

from airflow_provider_portkey.exceptions import (
    PortkeyActionRequiredError,
    PortkeyAuthenticationError,
    PortkeyError,
    PortkeyEventInvalidError,
    PortkeyPaginationError,
    PortkeyPollingGaveUpError,
    PortkeyRunFailedError,
    PortkeyWaitTimeoutError,
    PortkeyXComTooLargeError,
)
from airflow_provider_portkey.jobs.response import RESPONSE as RESPONSE_JOB
from airflow_provider_portkey.jobs.run import RUN
from airflow_provider_portkey.polling import events

RESPONSE = {"id": "run_1", "status": "failed", "tools": ["many"]}
REFUSAL = PortkeyAuthenticationError("no", status_code=401, refused_by="provider", trace_id="t", request_id="r")


def event(reason: str, /, **changes: object) -> dict:
    """Return an event as it comes back from the database."""
    error = REFUSAL if reason in (events.REFUSED, events.GAVE_UP) else None
    made = events.make_event(RUN, reason, "What happened.", "failed", None if error else RESPONSE, error)
    return json.loads(json.dumps(made | changes))


@pytest.mark.parametrize("reason", [events.SUCCEEDED, events.RETURNED])
def test_success_returns_the_job(reason):
    assert events.conclude(RUN, event(reason)) == {"id": "run_1", "status": "failed"}


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        (events.FAILED, PortkeyRunFailedError),
        (events.ACTION_REQUIRED, PortkeyActionRequiredError),
        (events.TIMED_OUT, PortkeyWaitTimeoutError),
        (events.GAVE_UP, PortkeyPollingGaveUpError),
        (events.REFUSED, PortkeyAuthenticationError),
    ],
)
def test_every_other_reason_raises_its_error(reason, error):
    with pytest.raises(error, match=r"What happened\.") as raised:
        events.conclude(RUN, event(reason))
    assert type(raised.value) is error


def test_a_failure_is_returned_where_that_is_wanted():
    found = events.conclude(RUN, event(events.FAILED), on_failed="return")
    assert found == {"id": "run_1", "status": "failed", "error_message": "What happened."}
    own = event(events.FAILED, job={"id": "run_1", "last_error": {"code": "c", "message": "m"}})
    assert events.conclude(RUN, own, on_failed="return")["error_message"] == "c: m"
    own["job"]["error_message"] = "The job's own."
    assert events.conclude(RUN, own, on_failed="return")["error_message"] == "The job's own."


@pytest.mark.parametrize("reason", [events.ACTION_REQUIRED, events.TIMED_OUT, events.GAVE_UP, events.REFUSED])
def test_every_other_error_is_raised_also_where_a_failure_is_returned(reason):
    with pytest.raises(PortkeyError):
        events.conclude(RUN, event(reason), on_failed="return")


def test_included_fields_are_in_the_event_unless_they_are_too_large():
    response = {"id": "run_1", "instructions": "i", "tools": ["x" * 100]}

    def job(limit: int | None, *names: str) -> tuple[dict, str | None]:
        made = events.make_event(
            RUN, events.SUCCEEDED, "m", "completed", response, None, include_fields=names, max_bytes=limit
        )
        return made["job"], made["too_large"]

    assert job(None, "tools", "instructions", "absent") == (response, None)
    assert job(1, *[]) == ({"id": "run_1"}, None)
    size = len(json.dumps(response))
    assert job(size, "tools", "instructions") == (response, None)
    found, too_large = job(size - 1, "tools", "instructions")
    assert found == {"id": "run_1"}
    sizes = f"it has {size} bytes as JSON, more than max_bytes={size - 1}, and 104 of them are its field 'tools'"
    assert sizes in too_large


def test_the_operator_for_a_large_field_is_named():
    response = {"id": "resp_1", "output": ["x" * 100]}
    _, too_large = events.summarize(RESPONSE_JOB, response, ["output"], 50)
    assert "Use PortkeyResponseItemsToObjectStorageOperator, which writes it to a file, or raise max_bytes" in too_large


@pytest.mark.parametrize(("reason", "on_failed"), [(events.SUCCEEDED, "fail"), (events.FAILED, "return")])
def test_a_job_that_is_returned_must_have_its_included_fields(reason, on_failed):
    with pytest.raises(PortkeyXComTooLargeError, match=r"^Too large\.$"):
        events.conclude(RUN, event(reason, too_large="Too large."), on_failed=on_failed)
    with pytest.raises(PortkeyRunFailedError):
        events.conclude(RUN, event(events.FAILED, too_large="Too large."))


def test_a_failure_carries_the_job():
    with pytest.raises(PortkeyRunFailedError) as raised:
        events.conclude(RUN, event(events.FAILED))
    assert (raised.value.status, raised.value.job) == ("failed", {"id": "run_1", "status": "failed"})


def test_a_list_that_repeats_itself_is_the_same_error_again():
    made = events.make_event(RUN, events.REFUSED, "Round and round.", None, None, PortkeyPaginationError("round"))
    with pytest.raises(PortkeyPaginationError, match=r"Round and round\."):
        events.conclude(RUN, json.loads(json.dumps(made)))


def test_a_refusal_still_says_who_refused():
    with pytest.raises(PortkeyAuthenticationError) as raised:
        events.conclude(RUN, event(events.REFUSED))
    found = raised.value
    assert (found.status_code, found.refused_by, found.trace_id, found.request_id) == (401, "provider", "t", "r")


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        "completed",
        [],
        {},
        {"status": "success"},
        event(events.SUCCEEDED, kind="batch"),
        event(events.SUCCEEDED, reason="splendid"),
        event(events.SUCCEEDED, reason=["succeeded"]),
        event(events.SUCCEEDED, kind=["run"]),
        event(events.SUCCEEDED, job=None),
        event(events.SUCCEEDED, message=None),
        event(events.REFUSED, error=None),
        event(events.REFUSED, error={"status_code": "401"}),
        {name: value for name, value in event(events.TIMED_OUT).items() if name != "status"},
    ],
)
def test_unknown_shapes_are_refused(wrong):
    with pytest.raises(PortkeyEventInvalidError):
        events.conclude(RUN, wrong)
