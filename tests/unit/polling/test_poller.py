from __future__ import annotations

import pytest

from airflow_provider_portkey.exceptions import (
    PortkeyAuthenticationError,
    PortkeyBadRequestError,
    PortkeyInvalidArgumentError,
    PortkeyNotFoundError,
    PortkeyRateLimitedError,
    PortkeyRedirectedError,
    PortkeyServerError,
    PortkeyUnexpectedResponseError,
    PortkeyUnreachableError,
)
from airflow_provider_portkey.jobs.run import RUN
from airflow_provider_portkey.polling.poller import Poller, check_wait, duration

IDS = {"thread_id": "thread_1", "run_id": "run_1"}


def poller(**changes) -> Poller:
    return Poller(RUN, IDS, **({"started": 0.0, "deadline": 1000.0, "poke_interval": 10.0} | changes))


def run(status: object, **fields: object) -> dict:
    return {"id": "run_1", "status": status, "instructions": "x" * 1000, "tools": [1], **fields}


@pytest.mark.parametrize("status", ["queued", "in_progress", "cancelling", "thinking_about_it"])
def test_goes_on(status):
    outcome = poller().on_response(run(status), now=1.0)
    assert (outcome.event, outcome.wait) == (None, 10.0)


def test_ends_well_with_the_run_without_its_bulky_fields():
    event = poller().on_response(run("completed", usage={"total_tokens": 3}), now=1.0).event
    assert (event["reason"], event["status"]) == ("success_statuses", "completed")
    assert event["job"] == {"id": "run_1", "status": "completed", "usage": {"total_tokens": 3}}


@pytest.mark.parametrize(
    ("status", "fields", "reason"),
    [
        ("failed", {"last_error": {"code": "server_error", "message": "It broke."}}, "server_error: It broke."),
        ("incomplete", {"incomplete_details": {"reason": "max_prompt_tokens"}}, "max_prompt_tokens"),
        ("expired", {"last_error": None}, "gave no reason"),
        ("cancelled", {}, "gave no reason"),
    ],
)
def test_ends_badly_with_the_runs_own_reason(status, fields, reason):
    event = poller().on_response(run(status, **fields), now=75.0).event
    assert (event["reason"], event["status"]) == ("failure_statuses", status)
    assert f"Run 'run_1' (thread_id 'thread_1') ended as {status} after 1 min 15 s" in event["message"]
    assert reason in event["message"]


@pytest.mark.parametrize(("choice", "reason"), [("fail", "action_required"), ("return", "returned"), ("wait", None)])
def test_requires_action(choice, reason):
    event = poller(on_requires_action=choice).on_response(run("requires_action"), now=1.0).event
    assert (event and event["reason"]) == reason


def test_an_end_beats_the_deadline_and_the_deadline_beats_everything_else():
    assert poller().on_response(run("completed"), now=2000.0).event["reason"] == "success_statuses"
    assert poller().on_response(run("in_progress"), now=1000.0).event["reason"] == "timed_out"
    assert (
        poller(on_requires_action="wait").on_response(run("requires_action"), now=1000.0).event["reason"] == "timed_out"
    )
    late = poller(max_consecutive_failures=1).on_failure(PortkeyAuthenticationError("no", status_code=401), now=1000.0)
    assert late.event["reason"] == "timed_out"
    assert "no" in late.event["message"]


def test_the_last_look_is_at_the_deadline():
    assert poller().on_response(run("queued"), now=993.0).wait == pytest.approx(7.0)


def test_there_is_a_pause_however_short_the_poke_interval():
    quick = poller(poke_interval=0.0)
    assert quick.on_response(run("queued"), now=1.0).wait > 0
    assert quick.on_failure(PortkeyServerError("no", status_code=500), now=1.0).wait > 0


def test_reports_each_change_once_with_the_elapsed_time():
    one = poller()
    reports = [
        one.on_response(run(status), now=now).report
        for now, status in [(1, "queued"), (2, "queued"), (90, "in_progress")]
    ]
    assert reports == [
        "run 'run_1' (thread_id 'thread_1') is queued after 1.0 s.",
        None,
        "run 'run_1' (thread_id 'thread_1') went from queued to in_progress after 1 min 30 s.",
    ]


def test_an_unknown_status_is_warned_of_once():
    one = poller()
    first, second = (one.on_response(run("pondering"), now=now) for now in (1.0, 2.0))
    assert first.warn
    assert "does not know" in first.report
    assert second.report is None


def test_gives_up_after_failures_in_a_row_and_not_before():
    one = poller(max_consecutive_failures=3)
    error = PortkeyServerError("The sky fell.", status_code=500)
    assert one.on_failure(error, now=1.0).event is None
    assert one.on_failure(error, now=2.0).event is None
    assert one.on_response(run("queued"), now=3.0).event is None
    assert [one.on_failure(error, now=4.0).event, one.on_failure(error, now=5.0).event] == [None, None]
    event = one.on_failure(error, now=6.0).event
    assert event["reason"] == "gave_up"
    for part in ("3 looks in a row", "left as it is", "queued", "The sky fell."):
        assert part in event["message"]


@pytest.mark.parametrize(
    "error",
    [
        PortkeyAuthenticationError("no", status_code=401),
        PortkeyNotFoundError("no", status_code=404),
        PortkeyBadRequestError("no", status_code=400),
        PortkeyRedirectedError("no", status_code=302),
    ],
)
def test_a_refusal_for_good_ends_the_wait_at_once(error):
    event = poller().on_failure(error, now=1.0).event
    assert event["reason"] == "refused"
    assert event["error"]["status_code"] == error.status_code


@pytest.mark.parametrize(
    "error",
    [
        PortkeyServerError("no", status_code=503),
        PortkeyRateLimitedError("no", status_code=429),
        PortkeyUnreachableError("no"),
        PortkeyUnexpectedResponseError("a login page", status_code=200),
    ],
)
def test_what_may_pass_is_tolerated(error):
    outcome = poller().on_failure(error, now=1.0)
    assert (outcome.event, outcome.warn, outcome.wait) == (None, True, 10.0)
    assert "1 of 5" in outcome.report


def test_without_a_limit_only_the_deadline_ends_a_wait():
    patient = poller(max_consecutive_failures=None)
    for now in range(1, 100):
        assert patient.on_failure(PortkeyAuthenticationError("no", status_code=401), now=now).event is None
    assert (
        patient.on_failure(PortkeyAuthenticationError("no", status_code=401), now=1000.0).event["reason"] == "timed_out"
    )


def test_retry_after_lengthens_the_pause_and_never_shortens_it():
    assert poller().on_failure(PortkeyRateLimitedError("no", status_code=429, retry_after=33.0), now=1.0).wait == 33.0
    assert poller().on_failure(PortkeyRateLimitedError("no", status_code=429, retry_after=2.0), now=1.0).wait == 10.0


def test_after_a_failure_the_next_look_comes_within_a_minute():
    outcome = poller(poke_interval=3600.0, deadline=1e6).on_failure(PortkeyServerError("no", status_code=500), now=1.0)
    assert outcome.wait == 60.0


@pytest.mark.parametrize("status", [None, 5, "", {"a": 1}])
def test_an_answer_without_a_status_is_a_failed_look(status):
    one = poller(max_consecutive_failures=1)
    event = one.on_response(run(status), now=1.0).event
    assert event["reason"] == "gave_up"
    assert f"its status is {status!r}" in event["message"]


def test_goes_on_where_another_process_stopped():
    moved = poller(status="queued", failures=4)
    assert moved.on_failure(PortkeyServerError("no", status_code=500), now=1.0).event["reason"] == "gave_up"
    assert poller(status="queued").on_response(run("queued"), now=1.0).report is None


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"on_requires_action": "panic"}, "on_requires_action='panic'"),
        ({"max_consecutive_failures": 0}, "max_consecutive_failures=0"),
        ({"max_consecutive_failures": True}, "max_consecutive_failures=True"),
        ({"max_consecutive_failures": "5"}, "max_consecutive_failures='5'"),
        ({"poke_interval": float("nan")}, "poke_interval=nan"),
    ],
)
def test_a_wrong_choice_is_named(wrong, names):
    right = {"poke_interval": 1.0, "max_consecutive_failures": 5, "on_requires_action": "fail"}
    check_wait(**right)
    with pytest.raises(PortkeyInvalidArgumentError, match=names):
        check_wait(**(right | wrong))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (59.94, "59.9 s"), (60, "1 min 0 s"), (3599.6, "1 h 0 min"), (7500, "2 h 5 min")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text
