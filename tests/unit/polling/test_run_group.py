from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_portkey.exceptions import (
    PortkeyActionRequiredError,
    PortkeyAuthenticationError,
    PortkeyNotFoundError,
    PortkeyPaginationError,
    PortkeyPollingGaveUpError,
    PortkeyRateLimitedError,
    PortkeyRunsFailedError,
    PortkeyServerError,
    PortkeyWaitTimeoutError,
)
from airflow_provider_portkey.jobs.run import RUN_GROUP
from airflow_provider_portkey.polling.drivers import drive
from airflow_provider_portkey.polling.events import conclude
from airflow_provider_portkey.polling.poller import PollOutcome
from airflow_provider_portkey.polling.run_group import PolledRuns, RunGroupPoller
from airflow_provider_portkey.polling.wait_state import WaitState

A, B, C = "run_a", "run_b", "run_c"
BROKEN = PortkeyServerError("broken", status_code=500)


def group(run_ids: list[str] | None = (A, B, C), **changes: Any) -> RunGroupPoller:
    values = {"started_at": 0.0, "deadline": 1000.0, "poll_interval": 10.0}
    values |= {name: changes.pop(name) for name in WaitState.__dataclass_fields__ if name in changes}
    return RunGroupPoller("thread_1", run_ids, WaitState(**values), **changes)


def run(run_id: str, status: object, **fields: object) -> dict[str, Any]:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3} if status != "in_progress" else None
    return {
        "id": run_id,
        "thread_id": "thread_1",
        "status": status,
        "usage": usage,
        "instructions": "x" * 1000,
        **fields,
    }


def poll(one: RunGroupPoller, statuses: dict[str, object], failed: dict | None = None, now: float = 1.0) -> PollOutcome:
    return observe(one, {run_id: run(run_id, status) for run_id, status in statuses.items()}, failed, now)


def observe(one: RunGroupPoller, found: dict[str, Any], failed: dict | None = None, now: float = 1.0) -> PollOutcome:
    return one.on_response(PolledRuns(found, failed or {}), now)


def summary(**changes: Any) -> dict[str, Any]:
    return {
        "thread_id": "thread_1",
        "total": 3,
        "status_counts": {},
        "failed_run_ids": [],
        "action_required_run_ids": [],
        "first_completed_run_id": None,
        "usage": {"prompt_tokens": 3, "completion_tokens": 6, "total_tokens": 9},
        "cost": None,
        "cost_by_status": {},
        "tokens_by_status": {status: 3 * count for status, count in changes.get("status_counts", {}).items()},
    } | changes


def test_waits_until_all_have_finished_and_returns_a_summary_without_the_runs():
    one = group()
    assert poll(one, {A: "queued", B: "in_progress", C: "completed"}).wait == 10.0
    assert poll(one, {A: "completed"}).event is None
    assert one.waiting == [B]
    event = poll(one, {B: "completed"}).event
    assert conclude(RUN_GROUP, json.loads(json.dumps(event))) == summary(status_counts={"completed": 3})


def test_any_succeeds_with_the_run_that_finished_first():
    one = group(wait_for="any")
    assert poll(one, {A: "in_progress", B: "failed", C: "cancelling"}).event is None
    found = {A: run(A, "completed", completed_at=20), C: run(C, "completed", completed_at=10)}
    found = conclude(RUN_GROUP, observe(one, found).event)
    assert (found["first_completed_run_id"], found["failed_run_ids"]) == (C, [B])
    assert found["status_counts"] == {"completed": 2, "failed": 1}


def test_any_fails_when_all_have_failed():
    one = group(wait_for="any")
    assert poll(one, {A: "failed", B: "expired", C: "in_progress"}).event is None
    with pytest.raises(PortkeyRunsFailedError, match=r"3 of 3 runs .* failed\. run_a failed"):
        conclude(RUN_GROUP, poll(one, {C: "incomplete"}).event)


@pytest.mark.parametrize(("allowed", "fails"), [(0, True), (1, True), (2, False), (None, False)])
def test_one_failed_run_too_many_fails_at_once(allowed, fails):
    one = group(max_failed_runs=allowed)
    event = poll(one, {A: "failed", B: "expired", C: "in_progress"}).event
    if not fails:
        assert event is None
        found = conclude(RUN_GROUP, poll(one, {C: "completed"}).event)
        assert found == summary(status_counts={"completed": 1, "expired": 1, "failed": 1}, failed_run_ids=[A, B])
        return
    with pytest.raises(PortkeyRunsFailedError, match=f"more than max_failed_runs={allowed}") as raised:
        conclude(RUN_GROUP, event)
    assert raised.value.status == "failed"
    assert raised.value.job["failed_run_ids"] == [A, B]
    assert "in_progress 1" in str(raised.value)


def test_the_message_names_a_handful_of_runs_with_their_reasons():
    many = [f"run_{number}" for number in range(200)]
    error = {"code": "server_error", "message": "It broke."}
    found = {run_id: run(run_id, "failed", last_error=error) for run_id in many}
    found["run_1"] = run("run_1", "incomplete", incomplete_details={"reason": "max_prompt_tokens"})
    found["run_2"] = run("run_2", "expired")
    message = observe(group(many), found).event["message"]
    assert "run_0 failed: server_error: It broke.; run_1 incomplete: max_prompt_tokens; run_2 expired, which" in message
    assert "and 195 more" in message
    assert len(message) < 500


def test_a_run_that_requires_action_ends_the_wait_by_name():
    with pytest.raises(PortkeyActionRequiredError, match=r"run_b.*as does 1 other.*on_requires_action"):
        conclude(RUN_GROUP, poll(group(), {A: "in_progress", B: "requires_action", C: "requires_action"}).event)


@pytest.mark.parametrize("wait_for", ["all", "any"])
def test_a_run_that_requires_action_can_count_as_finished(wait_for):
    one = group(wait_for=wait_for, on_requires_action="return")
    outcome = poll(one, {A: "requires_action", B: "in_progress", C: "in_progress"})
    if wait_for == "all":
        assert outcome.event is None
        outcome = poll(one, {B: "completed", C: "completed"})
    found = conclude(RUN_GROUP, outcome.event)
    assert found["action_required_run_ids"] == [A]
    assert found["first_completed_run_id"] == (A if wait_for == "any" else None)


def test_a_run_that_requires_action_can_be_waited_for():
    one = group(on_requires_action="wait")
    assert poll(one, {A: "requires_action", B: "completed", C: "completed"}).event is None
    assert conclude(RUN_GROUP, poll(one, {A: "completed"}).event)["status_counts"] == {"completed": 3}


def test_an_unknown_status_continues_and_warns_once():
    one = group()
    first = poll(one, {A: "meditating", B: "completed", C: "completed"})
    assert first.event is None
    assert first.warn
    assert "does not know meditating" in first.report
    again = poll(one, {A: "meditating"})
    assert (again.event, again.report) == (None, None)


def test_the_log_has_a_line_where_the_counts_change():
    one = group()
    active = {A: "in_progress", B: "in_progress", C: "queued"}
    assert poll(one, active).report == "runs of thread 'thread_1' after 1.0 s: in_progress 2, queued 1."
    assert poll(one, active).report is None
    assert "completed 1, in_progress 1, queued 1" in poll(one, active | {A: "completed"}).report


def test_a_failed_poll_counts_and_a_successful_one_resets():
    one = group()
    for _ in range(4):
        assert one.on_failure(BROKEN, 1.0).event is None
    poll(one, {A: "in_progress"})
    for _ in range(4):
        assert poll(one, {A: "completed"}, {B: BROKEN}).event is None
    with pytest.raises(
        PortkeyPollingGaveUpError, match=r"2 of 3 runs .*5 consecutive polls failed\. .*completed 1, unknown 2"
    ):
        conclude(RUN_GROUP, poll(one, {}, {B: BROKEN}).event)


def test_runs_of_a_failed_poll_are_not_lost_and_reported_later():
    one = group()
    failed = poll(one, {A: "completed"}, {B: PortkeyRateLimitedError("slow", status_code=429, retry_after=31.0)})
    assert (failed.wait, failed.warn, one.waiting) == (31.0, True, [B, C])
    assert "completed 1" in poll(one, {B: "in_progress", C: "in_progress"}).report


def test_a_run_that_does_not_exist_ends_the_wait_at_once_though_others_only_failed():
    gone = PortkeyNotFoundError("GET /threads/thread_1/runs/run_c: no such run", status_code=404)
    with pytest.raises(PortkeyNotFoundError, match="run_c"):
        conclude(RUN_GROUP, poll(group(), {A: "in_progress"}, {B: BROKEN, C: gone}).event)


def test_a_refusal_of_the_list_ends_the_wait_at_once():
    with pytest.raises(PortkeyAuthenticationError):
        conclude(RUN_GROUP, group().on_failure(PortkeyAuthenticationError("no", status_code=401), 1.0).event)


def test_a_terminal_status_beats_a_failure_and_the_deadline():
    assert poll(group(wait_for="any"), {A: "completed"}, {B: BROKEN}, now=2000.0).event["reason"] == "succeeded"
    assert poll(group(), {A: "failed"}, {B: BROKEN}, now=2000.0).event["reason"] == "failed"


@pytest.mark.parametrize("failed", [{}, {B: BROKEN}])
def test_the_deadline_says_how_many_have_not_finished(failed):
    with pytest.raises(
        PortkeyWaitTimeoutError, match=r"2 of 3 runs .*within the timeout of 16 min 40 s\. .*completed 1"
    ):
        conclude(RUN_GROUP, poll(group(), {A: "completed", C: "queued"}, failed, now=1000.0).event)


@pytest.mark.parametrize("status", [None, "", 7, [], {}])
def test_a_run_without_a_status_is_a_failed_poll_that_names_it(status):
    outcome = poll(group(), {A: status, B: "completed", C: "completed"})
    assert outcome.event is None
    assert "run_a" in outcome.report


def test_usage_that_is_none_or_odd_counts_nothing():
    found = {A: run(A, "completed", usage=None), B: run(B, "completed", usage={"total_tokens": "many"})}
    found = conclude(RUN_GROUP, observe(group([A, B]), found).event)
    assert found["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


@pytest.mark.parametrize("wait_for", ["all", "any"])
def test_no_run_at_all_is_a_success_that_says_so(wait_for):
    outcome = observe(group([], wait_for=wait_for), {})
    event = outcome.event
    assert outcome.report == event["message"] == "0 runs (thread_id 'thread_1'): there is no run to wait for."
    usage = dict.fromkeys(summary()["usage"], 0)
    assert conclude(RUN_GROUP, event) == summary(total=0, usage=usage)


def test_another_process_continues_with_what_this_one_knows():
    one = group(max_failed_runs=2, on_requires_action="return")
    poll(one, {A: "failed", B: "requires_action", C: "in_progress"})
    known = json.loads(json.dumps(one.to_dict()))
    again = group(None, known=known, max_failed_runs=2, on_requires_action="return")
    assert again.waiting == [C]
    assert again.to_dict() == one.to_dict()
    counts = {"completed": 1, "failed": 1, "requires_action": 1}
    found = conclude(RUN_GROUP, poll(again, {C: "completed"}).event)
    assert found == summary(status_counts=counts, failed_run_ids=[A], action_required_run_ids=[B])


def test_what_another_process_gets_is_small():
    many = [f"run_{number:024}" for number in range(200)]
    one = group(many)
    poll(one, dict.fromkeys(many, "in_progress"))
    assert len(json.dumps(one.to_dict())) < 200 * 35


def test_finds_the_active_runs_once_and_waits_for_those_only(make_thread):
    one = group(None)
    assert one.to_dict() == {}
    thread = make_thread([run(A, "in_progress", created_at=4000), run(B, "completed", created_at=3990)])
    assert one.on_response(thread.drive(one.requests(now=5000.0)), 1.0).event is None
    assert one.waiting == [A]
    assert group(None, known=one.to_dict()).waiting == [A]


@pytest.mark.parametrize("status", [None, [], {}, 7])
def test_a_run_with_a_wrong_status_among_the_active_runs_is_a_failed_poll(make_thread, status):
    one = group(None)
    thread = make_thread([run(A, status, created_at=4000)])
    outcome = one.on_response(thread.drive(one.requests(now=5000.0)), 1.0)
    assert outcome.event is None
    assert "run_a" in outcome.report


@pytest.mark.parametrize("other", [{"id": None}, {"id": B}, {"thread_id": "thread_2"}, {"thread_id": None}])
def test_a_response_about_another_run_is_a_failed_poll(other):
    outcome = observe(group([A, B], wait_for="any"), {A: {**run(A, "completed"), **other}})
    assert (outcome.event, outcome.warn) == (None, True)
    assert "The response is not about run 'run_a' (thread_id 'thread_1')" in outcome.report


def test_a_list_that_repeats_itself_fails_the_task_with_its_own_error(make_thread):
    one = group(None)
    thread = make_thread([run(f"run_{number}", "queued", created_at=4000) for number in range(150)])
    thread.ignores_after = True
    with pytest.raises(PortkeyPaginationError) as raised:
        thread.drive(one.requests(now=5000.0))
    with pytest.raises(PortkeyPaginationError, match="run_0"):
        conclude(RUN_GROUP, one.on_failure(raised.value, 1.0).event)


def test_a_search_that_failed_is_made_again():
    one = group(None)
    assert "next poll in 10 s" in one.on_failure(BROKEN, 1.0).report
    assert one.to_dict() == {}
    with pytest.raises(PortkeyWaitTimeoutError, match="The active runs"):
        conclude(RUN_GROUP, one.on_failure(BROKEN, 1000.0).event)


def test_a_refused_key_fails_the_whole_poll_so_that_the_connection_is_read_again() -> None:
    def get(path: str, ids: Any, query: Any) -> dict[str, Any]:
        if "run_id" not in ids:
            raise PortkeyNotFoundError("no list", status_code=404)
        raise PortkeyAuthenticationError("wrong key", status_code=401)

    with pytest.raises(PortkeyAuthenticationError):
        drive(group([A]).requests(0.0), get)


def test_an_unknown_status_is_warned_about_again_after_an_hour_also_by_another_process():
    one = group([A], deadline=1e6)
    assert poll(one, {A: "pondering"}, now=100.0).warn
    assert poll(one, {A: "pondering"}, now=3600.0).report is None
    moved = group(None, deadline=1e6, known=json.loads(json.dumps(one.to_dict())), progress=one.state.progress)
    assert poll(moved, {A: "pondering"}, now=3650.0).report is None
    outcome = poll(moved, {A: "pondering"}, now=3700.0)
    assert outcome.warn
    assert "does not know pondering" in outcome.report


def test_usage_sums_every_number_with_cost_and_details_across_processes():
    usage = {"prompt_tokens": "5", "total_tokens": "6", "cost": 0.00025, "details": {"cached_tokens": 1}}
    one = group([A, B])
    observe(one, {A: run(A, "completed", usage=usage)})
    moved = group(None, known=json.loads(json.dumps(one.to_dict())))
    found = conclude(RUN_GROUP, observe(moved, {B: run(B, "completed", usage=usage)}).event)
    expected = {"prompt_tokens": 10, "completion_tokens": 0, "total_tokens": 12}
    assert found["usage"] == {**expected, "cost": 0.0005, "details": {"cached_tokens": 2}}
    assert found["tokens_by_status"] == {"completed": 12}


def test_the_first_run_is_found_by_times_in_milliseconds_too():
    early, late = run(A, "completed", completed_at=1_764_000_000_900), run(B, "completed", completed_at=1_764_000_001)
    assert (
        conclude(RUN_GROUP, observe(group([A, B], wait_for="any"), {A: early, B: late}).event)["first_completed_run_id"]
        == A
    )


class TenThousandRuns:
    """A wait for each of a hundred threads, with a hundred runs on each."""

    def __init__(self, make_thread: Any) -> None:
        run_ids = [f"run_{number}" for number in range(100)]
        self.threads = {
            f"thread_{number}": make_thread([run(run_id, "in_progress") for run_id in run_ids]) for number in range(100)
        }
        self.groups = {}
        for thread_id, thread in self.threads.items():
            for one in thread.runs:
                one["thread_id"] = thread_id
            state = WaitState(started_at=0.0, deadline=1000.0, poll_interval=10.0)
            self.groups[thread_id] = RunGroupPoller(thread_id, run_ids, state)
        self.polls = 0

    def poll(self) -> int:
        """Poll all runs once, and return the number of requests."""
        self.polls += 1
        for thread_id, one in self.groups.items():
            polled = self.threads[thread_id].drive(one.requests(float(self.polls)))
            assert polled.found.keys() == set(one.waiting)
            assert one.on_response(polled, float(self.polls)).event is None
        return sum(len(thread.requests) for thread in self.threads.values())


def test_ten_thousand_runs_on_a_hundred_threads_cost_a_request_for_each_thread(make_thread):
    runs = TenThousandRuns(make_thread)
    assert [runs.poll() for _ in range(4)] == [100] * 4


def test_newer_runs_on_a_hundred_threads_cost_one_more_request_for_each_once(make_thread):
    runs = TenThousandRuns(make_thread)
    runs.poll()
    for thread in runs.threads.values():
        thread.runs = [run(f"newer_{number}", "in_progress") for number in range(60)] + thread.runs
    assert [runs.poll() for _ in range(3)] == [200, 100, 100]


def test_runs_that_are_not_listed_any_more_cost_a_request_each(make_thread):
    runs = TenThousandRuns(make_thread)
    runs.poll()
    for thread in runs.threads.values():
        thread.unlisted = {"run_50"}
    assert [runs.poll() for _ in range(3)] == [200] * 3
