"""Waiting for many runs of a thread, alike in every mode."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

import pytest
from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    Variable,
)
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_portkey.exceptions import (
    PortkeyActionRequiredError,
    PortkeyAuthenticationError,
    PortkeyInvalidArgumentError,
    PortkeyNotFoundError,
    PortkeyPollingGaveUpError,
    PortkeyRunsFailedError,
    PortkeyServerError,
    PortkeyWaitTimeoutError,
)
from airflow_provider_portkey.hooks.portkey import PortkeyHook
from airflow_provider_portkey.sensors.run import PortkeyThreadRunsSensor

BROKEN = PortkeyServerError("broken", status_code=500)
NEVER = 10**6

A_SECOND_EACH = {f"run_{number}": [("completed", number)] for number in range(250)}


@dataclass
class Portkey:
    """A thread whose runs move with the clock."""

    clock: Any
    #: The statuses of each run after ``in_progress``, each with the seconds after which it begins.
    runs: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    unlisted: set[str] = field(default_factory=set)
    #: Errors of all requests, each with the seconds between which it happens.
    failures: list[tuple[float, float, Exception]] = field(default_factory=list)
    requests: list[tuple[float, str]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)

    def run(self, run_id: str) -> dict[str, Any]:
        status, since = "in_progress", 0.0
        for after, seconds in self.runs[run_id]:
            if self.clock.seconds >= seconds:
                status, since = after, seconds
        terminal = status in ("completed", "failed", "expired", "incomplete", "cancelled")
        return {
            "id": run_id,
            "thread_id": "thread_1",
            "status": status,
            "created_at": int(self.clock.began) - 30,
            "completed_at": int(self.clock.began + since) if status == "completed" else None,
            "last_error": {"code": "server_error", "message": f"{run_id} broke."} if status == "failed" else None,
            "usage": {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3} if terminal else None,
            "instructions": "x" * 100,
        }

    def get(self, path: str, ids: dict[str, str], query: list[tuple[str, str]] | None = None) -> dict[str, Any]:
        assert ids["thread_id"] == "thread_1"
        seconds = self.clock.seconds
        self.requests.append((seconds, ids.get("run_id", "list")))
        for since, until, error in self.failures:
            if since <= seconds < until:
                raise error
        if run_id := ids.get("run_id"):
            if run_id not in self.runs:
                raise PortkeyNotFoundError(f"GET /threads/thread_1/runs/{run_id}: no such run", status_code=404)
            return self.run(run_id)
        given = dict(query or ())
        assert (given["limit"], given["order"]) == ("100", "desc")
        listed = [run_id for run_id in self.runs if run_id not in self.unlisted]
        start = listed.index(given["after"]) + 1 if "after" in given else 0
        page = listed[start : start + 100]
        return {"data": [self.run(run_id) for run_id in page], "has_more": start + 100 < len(listed)}

    def requests_at(self, seconds: float) -> list[str]:
        return [what for sent_at, what in self.requests if sent_at == seconds]


@pytest.fixture
def portkey(clock, serve) -> Portkey:
    fake = Portkey(clock)
    serve(lambda *request: fake.get(*request))  # noqa: PLW0108  a test replaces it
    return fake


@pytest.fixture
def waiting(task, portkey):
    """Make the task that waits for the runs of a thread."""

    def waiting(mode: str, runs: dict[str, Any] | None = None, /, *, failures: Any = (), **arguments: Any) -> Any:
        portkey.runs = portkey.runs if runs is None else dict(runs)
        portkey.failures = portkey.failures or list(failures)
        return task(mode, PortkeyThreadRunsSensor, **({"thread_id": "thread_1"} | arguments))

    return waiting


def summary(**changes: Any) -> dict[str, Any]:
    counts = changes.get("status_counts", {})
    finished = {status: count for status, count in counts.items() if status != "in_progress"}
    usage = {
        name: tokens * sum(count for status, count in finished.items() if status != "requires_action")
        for name, tokens in (("prompt_tokens", 2), ("completion_tokens", 1), ("total_tokens", 3))
    }
    return {
        "thread_id": "thread_1",
        "total": sum(counts.values()),
        "failed_run_ids": [],
        "action_required_run_ids": [],
        "first_completed_run_id": None,
        "usage": usage,
        "cost": None,
        "cost_by_status": {},
        "tokens_by_status": {s: 3 * count for s, count in finished.items() if s != "requires_action"},
    } | changes


SUCCESSES = {
    "all succeed": (
        {"a": [("completed", 25)], "b": [("completed", 5)]},
        {"run_ids": ["a", "b"]},
        summary(status_counts={"completed": 2}),
    ),
    "all had finished before": (
        {"a": [("completed", 0)], "b": [("completed", 0)]},
        {"run_ids": "a, b"},
        summary(status_counts={"completed": 2}),
    ),
    "one run": ({"a": [("completed", 25)]}, {"run_ids": ["a"]}, summary(status_counts={"completed": 1})),
    "two hundred and fifty": (
        A_SECOND_EACH,
        {"run_ids": json.dumps(list(A_SECOND_EACH))},
        summary(status_counts={"completed": 250}),
    ),
    "as many failures as allowed": (
        {"a": [("failed", 5)], "b": [("expired", 25)], "c": [("completed", 35)]},
        {"run_ids": "['a', 'b', 'c']", "max_failed_runs": 2},
        summary(status_counts={"completed": 1, "expired": 1, "failed": 1}, failed_run_ids=["a", "b"]),
    ),
    "any number of failures": (
        {"a": [("failed", 5)], "b": [("failed", 25)]},
        {"run_ids": ["a", "b"], "max_failed_runs": None},
        summary(status_counts={"failed": 2}, failed_run_ids=["a", "b"]),
    ),
    "any": (
        {"a": [("failed", 5)], "b": [("completed", 29)], "c": [("completed", 27)], "d": [("completed", NEVER)]},
        {"run_ids": list("abcd"), "wait_for": "any"},
        summary(
            status_counts={"completed": 2, "failed": 1, "in_progress": 1},
            failed_run_ids=["a"],
            first_completed_run_id="c",
        ),
    ),
    "one requires action": (
        {"a": [("requires_action", 5)], "b": [("completed", 25)]},
        {"run_ids": ["a", "b"], "on_requires_action": "return"},
        summary(status_counts={"completed": 1, "requires_action": 1}, action_required_run_ids=["a"]),
    ),
    "somebody else acts": (
        {"a": [("requires_action", 5), ("in_progress", 12), ("completed", 31)], "b": [("completed", 25)]},
        {"run_ids": ["a", "b"], "on_requires_action": "wait"},
        summary(status_counts={"completed": 2}),
    ),
    "an unknown status": (
        {"a": [("meditating", 5), ("completed", 31)], "b": [("completed", 25)]},
        {"run_ids": ["a", "b"]},
        summary(status_counts={"completed": 2}),
    ),
    "those that are active": (
        {"new": [("completed", 25)], "over": [("completed", 0)], "old": [("completed", 15)]},
        {},
        summary(status_counts={"completed": 2}),
    ),
    "none is active": ({"over": [("failed", 0)]}, {}, summary(status_counts={}, total=0)),
    "an empty list": ({"a": [("completed", NEVER)]}, {"run_ids": []}, summary(status_counts={}, total=0)),
}

FAILURES = {
    "a failure": (
        {"a": [("failed", 25)], "b": [("completed", NEVER)]},
        {},
        (PortkeyRunsFailedError, AirflowFailException),
        r"1 of 2 runs .*max_failed_runs=0\. a failed: server_error: a broke\.\. Active runs were left running",
        30,
    ),
    "one failure too many": (
        {"a": [("failed", 5)], "b": [("failed", 25)], "c": [("completed", NEVER)]},
        {"max_failed_runs": 1},
        (PortkeyRunsFailedError, AirflowFailException),
        "2 of 3 runs",
        30,
    ),
    "none of any": (
        {"a": [("failed", 5)], "b": [("expired", 25)]},
        {"wait_for": "any"},
        (PortkeyRunsFailedError, AirflowFailException),
        "2 of 2 runs",
        30,
    ),
    "one requires action": (
        {"a": [("requires_action", 25)], "b": [("completed", NEVER)]},
        {},
        (PortkeyActionRequiredError,),
        "'a' .*on_requires_action",
        30,
    ),
    "timeout": (
        {"a": [("completed", NEVER)], "b": [("completed", 5)]},
        {},
        (AirflowSensorTimeout,),
        "1 of 2 runs .*timeout of 5 min",
        300,
    ),
    "polls fail": (
        {"a": [("completed", NEVER)], "b": [("completed", NEVER)]},
        {"failures": [(15, NEVER, BROKEN)]},
        (PortkeyPollingGaveUpError,),
        "2 of 2 runs .*5 consecutive polls failed",
        60,
    ),
    "polls fail from the first one on": (
        {"a": [("completed", NEVER)], "b": [("completed", NEVER)]},
        {"failures": [(0, NEVER, BROKEN)], "max_consecutive_failures": 3},
        (PortkeyPollingGaveUpError,),
        "3 consecutive polls failed",
        20,
    ),
    "the list is refused": (
        {"a": [("completed", NEVER)], "b": [("completed", NEVER)]},
        {"failures": [(15, NEVER, PortkeyAuthenticationError("Wrong key.", status_code=401))]},
        (PortkeyAuthenticationError,),
        "Wrong key",
        20,
    ),
    "a run is not there": (
        {"a": [("completed", NEVER)]},
        {"run_ids": ["a", "gone"]},
        (PortkeyNotFoundError,),
        "runs/gone",
        0,
    ),
}


@pytest.mark.parametrize("case", SUCCESSES)
def test_succeeds_with_the_same_summary_in_every_mode(case, mode, waiting):
    runs, arguments, expected = SUCCESSES[case]
    assert waiting(mode, runs, **arguments).run() == expected


@pytest.mark.parametrize("case", FAILURES)
def test_fails_alike_in_every_mode(case, mode, portkey, waiting):
    runs, arguments, kinds, message, after = FAILURES[case]
    arguments = {"run_ids": list(runs)} | arguments
    by_airflow = case == "timeout" and mode == "reschedule" and not AIRFLOW_V_3_0_PLUS
    # Airflow 2 does not tell a rescheduled task when its wait began; Airflow's own time-out ends the wait there.
    with pytest.raises(kinds[0], match=None if by_airflow else message) as raised:
        waiting(mode, runs, **arguments).run()
    assert all(isinstance(raised.value, kind) for kind in kinds)
    assert after <= portkey.clock.seconds <= after + (10 if by_airflow else 0)
    if case == "timeout" and not by_airflow:
        assert isinstance(raised.value, PortkeyWaitTimeoutError)


@pytest.mark.parametrize("choice", ["soft_fail", "never_fail"])
@pytest.mark.parametrize("case", FAILURES)
def test_soft_fail_and_never_fail_skip_at_every_failure(case, choice, mode, waiting):
    runs, arguments, *_ = FAILURES[case]
    with pytest.raises(AirflowSkipException):
        waiting(mode, runs, **({"run_ids": list(runs)} | arguments), **{choice: True}).run()


def test_a_failure_carries_the_summary(mode, waiting):
    runs = {"a": [("failed", 25)], "b": [("completed", NEVER)]}
    with pytest.raises(PortkeyRunsFailedError) as raised:
        waiting(mode, runs, run_ids=["a", "b"]).run()
    assert raised.value.status == "failed"
    assert raised.value.job == summary(status_counts={"failed": 1, "in_progress": 1}, failed_run_ids=["a"])


def test_two_hundred_runs_cost_two_requests_a_poll(mode, portkey, waiting):
    portkey.runs = {f"run_{number}": [("completed", 55)] for number in range(500)}
    waiting(mode, run_ids=[f"run_{number}" for number in range(200)]).run()
    for seconds in range(0, 61, 10):
        assert portkey.requests_at(seconds) == ["list"] * 2


def test_runs_that_the_list_does_not_reach_are_requested_by_themselves(mode, portkey, waiting):
    portkey.runs = {f"run_{number}": [("completed", 25)] for number in range(300)}
    portkey.unlisted = {"run_7"}
    waiting(mode, run_ids=["run_0", "run_1", "run_7", "run_290"]).run()
    for seconds in (10, 20):
        assert sorted(portkey.requests_at(seconds)) == ["list", "run_290", "run_7"]


def test_runs_that_begin_after_the_first_poll_are_not_waited_for(mode, portkey, waiting):
    portkey.runs = {"a": [("completed", 25)], "b": [("completed", 35)]}
    task = waiting(mode)
    get = portkey.get

    def one_more_later(*arguments):
        if portkey.clock.seconds > 5:
            portkey.runs = {"late": [("completed", NEVER)], **portkey.runs}
        return get(*arguments)

    portkey.get = one_more_later
    assert task.run() == summary(status_counts={"completed": 2})


def test_the_first_poll_may_fail_before_the_active_runs_are_known(mode, portkey, waiting):
    portkey.failures = [(0, 15, BROKEN)]
    portkey.runs = {"a": [("completed", 45)], "over": [("completed", 0)]}
    assert waiting(mode).run() == summary(status_counts={"completed": 1})


def test_the_search_for_active_runs_ends_where_all_are_older_than_created_within(portkey, waiting):
    portkey.runs = {f"run_{number}": [("completed", 0)] for number in range(1000)}
    waiting("poke", created_within=20).run()
    assert portkey.requests_at(0) == ["list"]


def test_each_change_of_the_counts_is_one_line_in_every_mode(mode, portkey, caplog, capsys, waiting):
    portkey.runs = {"a": [("completed", 35)], "b": [("completed", 15)]}
    with caplog.at_level("INFO"):
        waiting(mode, run_ids=["a", "b"]).run()
    shown = [caplog.text, capsys.readouterr().out]  # Airflow 2 logs to both
    assert max(text.count("runs of thread 'thread_1' after") for text in shown) == 3


def test_too_many_failures_may_be_returned_with_their_reasons(mode, waiting, variables):
    runs = {"a": [("failed", 5)], "b": [("completed", NEVER)]}
    found = waiting(mode, runs, run_ids=["a", "b"], on_failed="return").run()
    reasons = r"1 of 2 runs .* failed, more than max_failed_runs=0\. a failed: server_error: a broke"
    assert re.match(reasons, found.pop("error_message"))
    assert found == summary(status_counts={"failed": 1, "in_progress": 1}, failed_run_ids=["a"])


def test_no_success_may_be_returned_with_the_reasons(mode, waiting):
    runs = {"a": [("failed", 5)], "b": [("expired", 15)]}
    found = waiting(mode, runs, run_ids=["a", "b"], wait_for="any", on_failed="return").run()
    assert (found["failed_run_ids"], found["first_completed_run_id"]) == (["a", "b"], None)
    assert "2 of 2 runs" in found["error_message"]


@pytest.mark.parametrize("mode", ["deferred", "reschedule"])
def test_the_triggers_arguments_and_the_state_are_small(mode, waiting):
    runs = {f"run_{number:024}": [("completed", 25)] for number in range(200)}
    task = waiting(mode, runs, run_ids=list(runs))
    task.run()
    kept = task.trigger_row or json.dumps(task.context["task_state_store"].values)
    assert 200 * 28 < len(kept) < 200 * 45
    assert "instructions" not in kept


def test_a_retry_in_reschedule_mode_begins_a_new_wait(portkey, waiting):
    portkey.runs = {"a": [("completed", NEVER)]}
    task = waiting("reschedule")
    with pytest.raises(AirflowRescheduleException):
        task.process()
    portkey.runs = {"b": [("completed", 5)]}
    task.try_number = 2
    portkey.clock.sleep(10)
    assert task.run() == summary(status_counts={}, total=0)


@pytest.mark.parametrize("first_known", [True, False], ids=["Airflow 3", "Airflow 2"])
@pytest.mark.parametrize("status", ["completed", "failed"])
def test_before_airflow_3_3_a_variable_holds_the_state_and_is_deleted_afterwards(
    portkey, variables, waiting, status, first_known
):
    portkey.runs = {"a": [(status, 25)], "over": [("completed", 0)]}
    task = waiting("reschedule", store=False)
    with pytest.raises(AirflowRescheduleException):
        task.process()
    assert variables.keys() == {"portkey_wait__dag__wait__run__-1"}
    assert json.loads(variables["portkey_wait__dag__wait__run__-1"])["runs"]["waiting"] == ["a"]
    portkey.runs["late"] = [("completed", NEVER)]
    if first_known:  # Airflow 2 does not say when the first process began
        portkey.clock.rescheduled = portkey.clock.to_datetime()
    portkey.clock.sleep(30)
    if status == "completed":
        assert task.process() == summary(status_counts={"completed": 1})
    else:
        with pytest.raises(PortkeyRunsFailedError):
            task.process()
    assert variables == {}


def test_a_variable_is_deleted_at_the_timeout_too(portkey, variables, waiting):
    portkey.runs = {"a": [("completed", NEVER)]}
    with pytest.raises(AirflowSensorTimeout):
        waiting("reschedule", store=False, run_ids=["a"]).run()
    assert variables == {} or not AIRFLOW_V_3_0_PLUS  # Airflow 2 ends the wait by itself


@pytest.mark.parametrize("requested", [True, False])
def test_a_kill_on_the_worker_cancels_the_active_runs(portkey, monkeypatch, requested):
    def cancel(self, job, ids):
        portkey.cancelled.append(ids["run_id"])
        if ids["run_id"] == "b":
            raise PortkeyServerError("broken", status_code=500)

    monkeypatch.setattr(PortkeyHook, "cancel_job", cancel)
    portkey.runs = {name: [("completed", NEVER)] for name in "bcd"} | {"a": [("completed", 0)]}
    sensor = PortkeyThreadRunsSensor(
        task_id="wait", thread_id="thread_1", run_ids=list("abcd"), cancel_on_kill=requested, timeout=300
    )
    sensor.poke({})
    sensor.on_kill()
    assert portkey.cancelled == (["b", "c", "d"] if requested else [])


@pytest.mark.parametrize("wrong", ["", "None", {"a": 1}, ["a", ""], ["a", ".."]])
def test_ids_that_rendered_to_nothing_are_named_and_nothing_is_sent(mode, portkey, wrong, waiting):
    with pytest.raises(PortkeyInvalidArgumentError, match="run_ids"):
        waiting(mode, run_ids=wrong).run()
    with pytest.raises(AirflowSkipException):
        waiting(mode, run_ids=wrong, soft_fail=True).run()
    assert portkey.requests == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"wait_for": "none"},
        {"max_failed_runs": -1},
        {"created_within": 0},
        {"on_requires_action": "x"},
        {"on_failed": "x"},
    ],
)
def test_a_wrong_argument_is_refused_when_the_dag_is_parsed(wrong):
    with pytest.raises(PortkeyInvalidArgumentError, match=next(iter(wrong))):
        PortkeyThreadRunsSensor(task_id="wait", thread_id="thread_1", **wrong)


def test_counts_and_policies_may_be_templates_that_render_to_strings(waiting):
    templates = {
        "wait_for": "{{ params.wait_for }}",
        "max_failed_runs": "{{ params.limit }}",
        "created_within": "{{ params.seconds }}",
        "on_requires_action": "{{ params.policy }}",
    }
    sensor = PortkeyThreadRunsSensor(task_id="wait", thread_id="thread_1", **templates)
    assert templates.items() <= vars(sensor).items()
    assert templates.keys() <= set(sensor.template_fields)

    runs = {"a": [("failed", 5)], "b": [("requires_action", 5)]}
    rendered = {"wait_for": "all", "max_failed_runs": "1", "created_within": "60", "on_requires_action": "return"}
    found = waiting("poke", runs, **rendered).run()
    assert (found["failed_run_ids"], found["action_required_run_ids"]) == (["a"], ["b"])


def test_a_deferred_wait_leaves_variables_alone(portkey, variables, waiting, monkeypatch):
    def delete(key):
        raise AssertionError(key)

    monkeypatch.setattr(Variable, "delete", delete)
    portkey.runs = {"a": [("completed", 25)]}
    waiting("deferred", store=False, run_ids=["a"], mode="reschedule").run()
    assert variables == {}
