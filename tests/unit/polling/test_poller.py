from __future__ import annotations

import json
from dataclasses import replace

import pytest

from airflow_provider_portkey.exceptions import (
    PortkeyAuthenticationError,
    PortkeyBadRequestError,
    PortkeyNotFoundError,
    PortkeyPaginationError,
    PortkeyRateLimitedError,
    PortkeyRedirectedError,
    PortkeyRemoteJobError,
    PortkeyRemoteJobFailedTransientlyError,
    PortkeyRunFailedError,
    PortkeyServerError,
    PortkeyUnexpectedResponseError,
    PortkeyUnreachableError,
)
from airflow_provider_portkey.jobs.batch import BATCH
from airflow_provider_portkey.jobs.run import RUN
from airflow_provider_portkey.polling.drivers import drive
from airflow_provider_portkey.polling.events import conclude
from airflow_provider_portkey.polling.poller import Poller, duration, failed_poll
from airflow_provider_portkey.polling.wait_state import WaitState

IDS = {"thread_id": "thread_1", "run_id": "run_1"}


def poller(**changes) -> Poller:
    state = {"started_at": 0.0, "deadline": 1000.0, "poll_interval": 10.0} | changes
    return Poller(RUN, IDS, WaitState(**state))


def run(status: object, **fields: object) -> dict:
    return {
        "id": "run_1",
        "thread_id": "thread_1",
        "status": status,
        "instructions": "x" * 1000,
        "tools": [1],
        **fields,
    }


@pytest.mark.parametrize("status", ["queued", "in_progress", "cancelling", "thinking_about_it"])
def test_continues(status):
    outcome = poller().on_response(run(status), now=1.0)
    assert (outcome.event, outcome.wait) == (None, 10.0)


def test_succeeds_with_the_run_without_its_excluded_fields():
    event = poller().on_response(run("completed", usage={"total_tokens": 3}), now=1.0).event
    assert (event["reason"], event["status"]) == ("succeeded", "completed")
    assert event["job"] == {"id": "run_1", "thread_id": "thread_1", "status": "completed", "usage": {"total_tokens": 3}}


@pytest.mark.parametrize(
    ("status", "fields", "reason"),
    [
        ("failed", {"last_error": {"code": "server_error", "message": "It broke."}}, "server_error: It broke."),
        ("incomplete", {"incomplete_details": {"reason": "max_prompt_tokens"}}, "max_prompt_tokens"),
        ("expired", {"last_error": None}, "gave no reason"),
        ("cancelled", {}, "gave no reason"),
    ],
)
def test_fails_with_the_runs_own_reason(status, fields, reason):
    event = poller().on_response(run(status, **fields), now=75.0).event
    assert (event["reason"], event["status"]) == ("failed", status)
    assert f"Run 'run_1' (thread_id 'thread_1') finished as {status} after 1 min 15 s" in event["message"]
    assert reason in event["message"]


@pytest.mark.parametrize(("choice", "reason"), [("fail", "action_required"), ("return", "returned"), ("wait", None)])
def test_requires_action(choice, reason):
    event = poller(on_requires_action=choice).on_response(run("requires_action"), now=1.0).event
    assert (event and event["reason"]) == reason


def test_a_terminal_status_beats_the_deadline_and_the_deadline_beats_everything_else():
    assert poller().on_response(run("completed"), now=2000.0).event["reason"] == "succeeded"
    assert poller().on_response(run("in_progress"), now=1000.0).event["reason"] == "timed_out"
    assert (
        poller(on_requires_action="wait").on_response(run("requires_action"), now=1000.0).event["reason"] == "timed_out"
    )
    late = poller(max_consecutive_failures=1).on_failure(PortkeyAuthenticationError("no", status_code=401), now=1000.0)
    assert late.event["reason"] == "timed_out"
    assert "no" in late.event["message"]


def test_the_last_poll_is_at_the_deadline():
    assert poller().on_response(run("queued"), now=993.0).wait == pytest.approx(7.0)


def test_there_is_a_pause_however_short_the_poll_interval():
    quick = poller(poll_interval=0.0)
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
        "run 'run_1' (thread_id 'thread_1') changed from queued to in_progress after 1 min 30 s.",
    ]


def test_an_unknown_status_is_warned_about_again_after_an_hour():
    one = poller(deadline=1e6)
    warned = [now for now in range(0, 9000, 100) if one.on_response(run("pondering"), now=float(now)).report]
    assert warned == [0, 3600, 7200]
    assert one.on_response(run("queued"), now=9000.0).warn is False
    outcome = one.on_response(run("pondering"), now=9100.0)
    assert outcome.warn
    assert "does not know that status, and continues to wait" in outcome.report


def test_the_time_of_a_warning_travels_to_the_next_process():
    one = poller(deadline=1e6)
    one.on_response(run("pondering"), now=100.0)
    moved = Poller(RUN, IDS, WaitState.from_dict(json.loads(json.dumps(one.state.to_dict()))))
    assert moved.on_response(run("pondering"), now=3600.0).report is None
    assert moved.on_response(run("pondering"), now=3700.0).report
    assert one.state.warned_at == 100.0


@pytest.mark.parametrize("changes", [{"id": "run_2"}, {"id": None}, {"thread_id": "thread_2"}, {"thread_id": None}])
def test_a_response_about_another_job_is_a_failed_poll(changes):
    one = poller(max_consecutive_failures=2)
    first, second = (one.on_response({**run("completed"), **changes}, now=now) for now in (1.0, 2.0))
    assert (first.event, first.warn) == (None, True)
    assert second.event["reason"] == "gave_up"
    assert "The response is not about run 'run_1' (thread_id 'thread_1')" in second.event["message"]


def batch(status: str, **fields: object) -> dict:
    return {"id": "arn%3Aaws%3Ajob%2Fb", "status": status, **fields}


def batch_poller() -> Poller:
    return Poller(BATCH, {"batch_id": "arn%3Aaws%3Ajob%2Fb"}, WaitState(started_at=0.0, deadline=1e6))


@pytest.mark.parametrize("status", ["processing_post_request_guardrails", "scheduled", "stopping", "processing"])
def test_statuses_of_other_providers_are_known(status):
    outcome = batch_poller().on_response(batch(status), now=1.0)
    assert (outcome.event, outcome.warn) == (None, False)
    assert "does not know" not in outcome.report


def test_a_partial_success_succeeds_with_a_warning():
    counts = {"total": 3, "completed": "2", "failed": 1}
    outcome = batch_poller().on_response(batch("partially_completed", request_counts=counts), now=1.0)
    assert (outcome.event["reason"], outcome.warn) == ("succeeded", True)
    assert outcome.report.endswith("completed 2, failed 1, total 3. Some of its requests failed.")


@pytest.mark.parametrize(
    ("codes", "passes"), [(None, True), ((), False), (("other",), False), (("rate_limit_exceeded", "other"), True)]
)
def test_a_failure_that_passes_is_one_that_airflow_retries(codes, passes):
    event = poller().on_response(run("failed", last_error={"code": "rate_limit_exceeded"}), now=1.0).event
    declared = RUN if codes is None else replace(RUN, retryable_error_codes=codes)
    expected = PortkeyRemoteJobFailedTransientlyError if passes else PortkeyRunFailedError
    with pytest.raises(PortkeyRemoteJobError, match="rate_limit_exceeded") as raised:
        conclude(declared, event)
    assert type(raised.value) is expected


def test_gives_up_after_consecutive_failures_and_not_before():
    one = poller(max_consecutive_failures=3)
    error = PortkeyServerError("The sky fell.", status_code=500)
    assert one.on_failure(error, now=1.0).event is None
    assert one.on_failure(error, now=2.0).event is None
    assert one.on_response(run("queued"), now=3.0).event is None
    assert [one.on_failure(error, now=4.0).event, one.on_failure(error, now=5.0).event] == [None, None]
    event = one.on_failure(error, now=6.0).event
    assert event["reason"] == "gave_up"
    for part in ("3 consecutive polls", "left running", "queued", "The sky fell."):
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
def test_a_final_refusal_ends_the_wait_at_once(error):
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
def test_a_transient_failure_is_tolerated(error):
    outcome = poller().on_failure(error, now=1.0)
    assert (outcome.event, outcome.warn, outcome.wait) == (None, True, 10.0)
    assert outcome.report == f"poll failed (1 of 5), next poll in 10 s: {error}"


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


def test_after_a_failure_the_next_poll_comes_within_a_minute():
    outcome = poller(poll_interval=3600.0, deadline=1e6).on_failure(PortkeyServerError("no", status_code=500), now=1.0)
    assert outcome.wait == 60.0


@pytest.mark.parametrize("status", [None, 5, "", {"a": 1}, []])
def test_a_response_without_a_status_is_a_failed_poll(status):
    one = poller(max_consecutive_failures=1)
    event = one.on_response(run(status), now=1.0).event
    assert event["reason"] == "gave_up"
    assert f"its status is {status!r}" in event["message"]


def test_continues_where_another_process_stopped():
    moved = poller(status="queued", failures=4)
    assert moved.on_failure(PortkeyServerError("no", status_code=500), now=1.0).event["reason"] == "gave_up"
    assert poller(status="queued").on_response(run("queued"), now=1.0).report is None


def test_a_list_that_repeats_itself_is_final():
    error = PortkeyPaginationError("round and round")
    assert poller().on_failure(error, now=1.0).event["reason"] == "refused"
    assert poller(max_consecutive_failures=None).on_failure(error, now=1.0).event is None


def test_the_state_says_when_the_next_poll_is_due_and_what_is_known():
    one = poller()
    one.on_response(run("queued"), now=1.0)
    assert (one.state.next_poll_at, one.state.status, one.state.failures) == (11.0, "queued", 0)
    one.on_failure(PortkeyRateLimitedError("no", status_code=429, retry_after=33.0), now=11.0)
    assert (one.state.next_poll_at, one.state.status, one.state.failures) == (44.0, "queued", 1)
    again = Poller(RUN, IDS, WaitState.from_dict(one.state.to_dict()))
    assert again.on_response(run("queued"), now=44.0).report is None
    assert again.state.failures == 0


def test_a_poll_is_one_request_for_the_job():
    requested = []

    def get(path: str, ids: dict, query: object) -> dict:
        requested.append((path, ids, query))
        return run("queued")

    assert drive(poller().requests(1.0), get) == run("queued")
    assert requested == [("/threads/{thread_id}/runs/{run_id}", IDS, None)]


@pytest.mark.parametrize(
    ("failures", "limit", "wait", "line"),
    [
        (1, 5, 10.0, "poll failed (1 of 5), next poll in 10 s: no"),
        (7, None, 0.25, "poll failed (7), next poll in 0.2 s: no"),
    ],
)
def test_the_line_of_a_failed_poll(failures, limit, wait, line):
    assert failed_poll(failures, limit, wait, "no") == line


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0.0 s"), (59.94, "59.9 s"), (60, "1 min 0 s"), (3599.6, "1 h 0 min"), (7500, "2 h 5 min")],
)
def test_duration(seconds, shown):
    assert duration(seconds) == shown
