from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_portkey.exceptions import (
    PortkeyActionRequiredError,
    PortkeyAuthenticationError,
    PortkeyInvalidArgumentError,
    PortkeyNotFoundError,
    PortkeyPollingGaveUpError,
    PortkeyRateLimitedError,
    PortkeyRunsFailedError,
    PortkeyServerError,
    PortkeyWaitTimeoutError,
)
from airflow_provider_portkey.jobs.run import RUNS
from airflow_provider_portkey.polling.events import conclude
from airflow_provider_portkey.polling.poller import PollOutcome
from airflow_provider_portkey.polling.run_group import RunGroupPoller, check_group

A, B, C = "run_a", "run_b", "run_c"
BROKEN = PortkeyServerError("broken", status_code=500)


def group(run_ids: list[str] | None = None, **changes: Any) -> RunGroupPoller:
    arguments = {"started": 0.0, "deadline": 1000.0, "poke_interval": 10.0} | changes
    return RunGroupPoller("thread_1", run_ids if run_ids is not None or "known" in changes else [A, B, C], **arguments)


def run(run_id: str, status: object, **fields: object) -> dict[str, Any]:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3} if status != "in_progress" else None
    return {"id": run_id, "status": status, "usage": usage, "instructions": "x" * 1000, **fields}


def look(one: RunGroupPoller, statuses: dict[str, object], failed: dict | None = None, now: float = 1.0) -> PollOutcome:
    return one.on_poll({run_id: run(run_id, status) for run_id, status in statuses.items()}, failed or {}, now)


def account(**changes: Any) -> dict[str, Any]:
    return {
        "thread_id": "thread_1",
        "total": 3,
        "counts": {},
        "failure_statuses": [],
        "requires_action": [],
        "first": None,
        "usage": {"prompt_tokens": 3, "completion_tokens": 6, "total_tokens": 9},
        "tokens_by_status": {status: 3 * count for status, count in changes.get("counts", {}).items()},
    } | changes


def test_waits_until_all_have_ended_and_gives_an_account_without_the_runs():
    one = group()
    assert look(one, {A: "queued", B: "in_progress", C: "completed"}).wait == 10.0
    assert look(one, {A: "completed"}).event is None
    assert one.waiting == [B]
    event = look(one, {B: "completed"}).event
    assert conclude(RUNS, json.loads(json.dumps(event))) == account(counts={"completed": 3})


def test_any_ends_with_the_run_that_ended_first():
    one = group(wait_for="any")
    assert look(one, {A: "in_progress", B: "failed", C: "cancelling"}).event is None
    found = {A: run(A, "completed", completed_at=20), C: run(C, "completed", completed_at=10)}
    ended = conclude(RUNS, one.on_poll(found, {}, 1.0).event)
    assert (ended["first"], ended["failure_statuses"]) == (C, [B])
    assert ended["counts"] == {"completed": 2, "failed": 1}


def test_any_fails_when_all_have_ended_and_none_well():
    one = group(wait_for="any")
    assert look(one, {A: "failed", B: "expired", C: "in_progress"}).event is None
    with pytest.raises(PortkeyRunsFailedError, match=r"3 of 3 runs .* ended badly\. run_a failed"):
        conclude(RUNS, look(one, {C: "incomplete"}).event)


@pytest.mark.parametrize(("allowed", "fails"), [(0, True), (1, True), (2, False), (None, False)])
def test_one_bad_end_too_many_fails_at_once(allowed, fails):
    one = group(max_failed_runs=allowed)
    event = look(one, {A: "failed", B: "expired", C: "in_progress"}).event
    if not fails:
        assert event is None
        ended = conclude(RUNS, look(one, {C: "completed"}).event)
        assert ended == account(counts={"completed": 1, "expired": 1, "failed": 1}, failure_statuses=[A, B])
        return
    with pytest.raises(PortkeyRunsFailedError, match=f"more than max_failed_runs={allowed}") as raised:
        conclude(RUNS, event)
    assert raised.value.status == "failed"
    assert raised.value.job["failure_statuses"] == [A, B]
    assert "in_progress 1" in str(raised.value)


def test_the_message_names_a_handful_of_runs_with_their_reasons():
    many = [f"run_{number}" for number in range(200)]
    error = {"code": "server_error", "message": "It broke."}
    found = {run_id: run(run_id, "failed", last_error=error) for run_id in many}
    found["run_1"] = run("run_1", "incomplete", incomplete_details={"reason": "max_prompt_tokens"})
    found["run_2"] = run("run_2", "expired")
    message = group(many).on_poll(found, {}, 1.0).event["message"]
    assert "run_0 failed: server_error: It broke.; run_1 incomplete: max_prompt_tokens; run_2 expired, which" in message
    assert "and 195 more" in message
    assert len(message) < 500


def test_a_run_that_waits_for_its_caller_ends_the_wait_by_name():
    with pytest.raises(PortkeyActionRequiredError, match=r"run_b.*as does 1 other.*on_requires_action"):
        conclude(RUNS, look(group(), {A: "in_progress", B: "requires_action", C: "requires_action"}).event)


@pytest.mark.parametrize("wait_for", ["all", "any"])
def test_a_run_that_waits_for_its_caller_can_count_as_finished(wait_for):
    one = group(wait_for=wait_for, on_requires_action="return")
    outcome = look(one, {A: "requires_action", B: "in_progress", C: "in_progress"})
    if wait_for == "all":
        assert outcome.event is None
        outcome = look(one, {B: "completed", C: "completed"})
    ended = conclude(RUNS, outcome.event)
    assert ended["requires_action"] == [A]
    assert ended["first"] == (A if wait_for == "any" else None)


def test_a_run_that_waits_for_its_caller_can_be_waited_for():
    one = group(on_requires_action="wait")
    assert look(one, {A: "requires_action", B: "completed", C: "completed"}).event is None
    assert conclude(RUNS, look(one, {A: "completed"}).event)["counts"] == {"completed": 3}


def test_an_unknown_status_goes_on_and_warns_once():
    one = group()
    first = look(one, {A: "meditating", B: "completed", C: "completed"})
    assert first.event is None
    assert first.warn
    assert "does not know meditating" in first.report
    again = look(one, {A: "meditating"})
    assert (again.event, again.report) == (None, None)


def test_the_log_has_a_line_where_the_counts_change():
    one = group()
    active_statuses = {A: "in_progress", B: "in_progress", C: "queued"}
    assert look(one, active_statuses).report == "Runs of thread 'thread_1' after 1.0 s: in_progress 2, queued 1."
    assert look(one, active_statuses).report is None
    assert "completed 1, in_progress 1, queued 1" in look(one, active_statuses | {A: "completed"}).report


def test_a_failed_look_counts_and_a_good_one_resets():
    one = group()
    for _ in range(4):
        assert one.on_failure(BROKEN, 1.0).event is None
    look(one, {A: "in_progress"})
    for _ in range(4):
        assert look(one, {A: "completed"}, {B: BROKEN}).event is None
    with pytest.raises(
        PortkeyPollingGaveUpError, match=r"2 of 3 runs .*5 looks in a row failed\. .*completed 1, unknown 2"
    ):
        conclude(RUNS, look(one, {}, {B: BROKEN}).event)


def test_what_a_failed_look_brought_is_not_lost_and_reported_later():
    one = group()
    failed = look(one, {A: "completed"}, {B: PortkeyRateLimitedError("slow", status_code=429, retry_after=31.0)})
    assert (failed.wait, failed.warn, one.waiting) == (31.0, True, [B, C])
    assert "completed 1" in look(one, {B: "in_progress", C: "in_progress"}).report


def test_a_run_that_is_not_there_ends_the_wait_at_once_though_others_only_failed():
    gone = PortkeyNotFoundError("GET /threads/thread_1/runs/run_c: no such run", status_code=404)
    with pytest.raises(PortkeyNotFoundError, match="run_c"):
        conclude(RUNS, look(group(), {A: "in_progress"}, {B: BROKEN, C: gone}).event)


def test_a_refusal_of_the_list_ends_the_wait_at_once():
    with pytest.raises(PortkeyAuthenticationError):
        conclude(RUNS, group().on_failure(PortkeyAuthenticationError("no", status_code=401), 1.0).event)


def test_an_end_beats_a_failure_and_the_deadline():
    assert look(group(wait_for="any"), {A: "completed"}, {B: BROKEN}, now=2000.0).event["reason"] == "success_statuses"
    assert look(group(), {A: "failed"}, {B: BROKEN}, now=2000.0).event["reason"] == "failure_statuses"


@pytest.mark.parametrize("failed", [{}, {B: BROKEN}])
def test_the_deadline_says_how_many_have_not_ended(failed):
    with pytest.raises(
        PortkeyWaitTimeoutError, match=r"2 of 3 runs .*within the timeout of 16 min 40 s\. .*completed 1"
    ):
        conclude(RUNS, look(group(), {A: "completed", C: "queued"}, failed, now=1000.0).event)


@pytest.mark.parametrize("status", [None, "", 7])
def test_a_run_without_a_status_is_a_failed_look_that_names_it(status):
    outcome = look(group(), {A: status, B: "completed", C: "completed"})
    assert outcome.event is None
    assert "run_a" in outcome.report


def test_usage_that_is_none_or_odd_counts_nothing():
    found = {A: run(A, "completed", usage=None), B: run(B, "completed", usage={"total_tokens": "many"})}
    ended = conclude(RUNS, group([A, B]).on_poll(found, {}, 1.0).event)
    assert ended["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


@pytest.mark.parametrize("wait_for", ["all", "any"])
def test_no_run_at_all_is_a_success_that_says_so(wait_for):
    outcome = group([], wait_for=wait_for).on_poll({}, {}, 1.0)
    event = outcome.event
    assert outcome.report == event["message"] == "0 runs (thread_id 'thread_1'): there is no run to wait for."
    usage = dict.fromkeys(account()["usage"], 0)
    assert conclude(RUNS, event) == account(total=0, usage=usage)


def test_another_process_goes_on_with_what_this_one_knows():
    one = group(max_failed_runs=2, on_requires_action="return")
    look(one, {A: "failed", B: "requires_action", C: "in_progress"})
    known = json.loads(json.dumps(one.to_dict()))
    again = group(known=known, max_failed_runs=2, on_requires_action="return")
    assert again.waiting == [C]
    assert again.to_dict() == one.to_dict()
    counts = {"completed": 1, "failed": 1, "requires_action": 1}
    ended = conclude(RUNS, look(again, {C: "completed"}).event)
    assert ended == account(counts=counts, failure_statuses=[A], requires_action=[B])


def test_what_another_process_is_told_is_small():
    many = [f"run_{number:024}" for number in range(200)]
    one = group(many)
    look(one, dict.fromkeys(many, "in_progress"))
    assert len(json.dumps(one.to_dict())) < 200 * 35


def test_discovers_once_and_waits_for_those_runs_only():
    one = RunGroupPoller("thread_1", None, started=0.0, deadline=1000.0, poke_interval=10.0)
    assert one.to_dict() == {}
    pages = one.pages(now=5000.0)
    assert next(pages) is None
    with pytest.raises(StopIteration) as end:
        data = [run(A, "in_progress", created_at=4000), run(B, "completed", created_at=3990)]
        pages.send({"data": data, "has_more": False})
    assert one.on_poll(end.value.value, {}, 1.0).event is None
    assert one.waiting == [A]
    assert group(known=one.to_dict()).waiting == [A]


def test_a_discovery_that_failed_is_made_again():
    one = RunGroupPoller("thread_1", None, started=0.0, deadline=1000.0, poke_interval=10.0)
    assert "next one in 10.0 s" in one.on_failure(BROKEN, 1.0).report
    assert one.to_dict() == {}
    with pytest.raises(PortkeyWaitTimeoutError, match="The active runs"):
        conclude(RUNS, one.on_failure(BROKEN, 1000.0).event)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("wait_for", "some"),
        ("max_failed_runs", -1),
        ("max_failed_runs", True),
        ("max_failed_runs", 0.1),
        ("created_within", 0),
        ("created_within", float("nan")),
    ],
)
def test_refuses_what_cannot_be_right(name, value):
    choice = {"wait_for": "all", "max_failed_runs": 0, "created_within": 60.0}
    check_group(**choice)
    with pytest.raises(PortkeyInvalidArgumentError, match=name):
        check_group(**(choice | {name: value}))
