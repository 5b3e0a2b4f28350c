from __future__ import annotations

import json

import pytest

from airflow_provider_portkey.exceptions import (
    PortkeyActionRequiredError,
    PortkeyAuthenticationError,
    PortkeyEventInvalidError,
    PortkeyPaginationError,
    PortkeyPollingGaveUpError,
    PortkeyRunFailedError,
    PortkeyWaitTimeoutError,
)
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
