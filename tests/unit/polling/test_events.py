from __future__ import annotations

import json

import pytest

from airflow_provider_portkey.exceptions import (
    PortkeyActionRequiredError,
    PortkeyAuthenticationError,
    PortkeyEventInvalidError,
    PortkeyPollingGaveUpError,
    PortkeyRunFailedError,
    PortkeyWaitTimeoutError,
)
from airflow_provider_portkey.jobs.run import RUN
from airflow_provider_portkey.polling import events

ANSWER = {"id": "run_1", "status": "failed", "tools": ["excluded_fields"]}
REFUSAL = PortkeyAuthenticationError("no", status_code=401, refused_by="provider", trace_id="t", request_id="r")


def event(reason: str, /, **changes: object) -> dict:
    """Return an event as it comes back from the database."""
    error = REFUSAL if reason in (events.REFUSED, events.GAVE_UP) else None
    made = events.make(RUN, reason, "What happened.", "failed", None if error else ANSWER, error)
    return json.loads(json.dumps(made | changes))


@pytest.mark.parametrize("reason", [events.ENDED_WELL, events.RETURNED])
def test_a_good_end_returns_the_job(reason):
    assert events.conclude(RUN, event(reason)) == {"id": "run_1", "status": "failed"}


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        (events.ENDED_BADLY, PortkeyRunFailedError),
        (events.ACTION_REQUIRED, PortkeyActionRequiredError),
        (events.TIMED_OUT, PortkeyWaitTimeoutError),
        (events.GAVE_UP, PortkeyPollingGaveUpError),
        (events.REFUSED, PortkeyAuthenticationError),
    ],
)
def test_every_other_end_raises_what_it_means(reason, error):
    with pytest.raises(error, match=r"What happened\.") as raised:
        events.conclude(RUN, event(reason))
    assert type(raised.value) is error


def test_a_bad_end_carries_the_job():
    with pytest.raises(PortkeyRunFailedError) as raised:
        events.conclude(RUN, event(events.ENDED_BADLY))
    assert (raised.value.status, raised.value.job) == ("failed", {"id": "run_1", "status": "failed"})


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
        event(events.ENDED_WELL, kind="batch"),
        event(events.ENDED_WELL, reason="splendid"),
        event(events.ENDED_WELL, job=None),
        event(events.ENDED_WELL, message=None),
        event(events.REFUSED, error=None),
        event(events.REFUSED, error={"status_code": "401"}),
        {name: value for name, value in event(events.TIMED_OUT).items() if name != "status"},
    ],
)
def test_unknown_shapes_are_refused(wrong):
    with pytest.raises(PortkeyEventInvalidError):
        events.conclude(RUN, wrong)
