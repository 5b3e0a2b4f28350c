"""A run is started once and cancelled, in every mode and over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    TaskDeferred,
)

from airflow_provider_portkey.client.sync import PortkeyClient
from airflow_provider_portkey.exceptions import (
    PortkeyActionRequiredError,
    PortkeyBadRequestError,
    PortkeyInvalidArgumentError,
    PortkeyRemoteJobFailedTransientlyError,
    PortkeyRunFailedError,
    PortkeyServerError,
    PortkeySubmissionUnknownError,
    PortkeyUnreachableError,
    PortkeyXComTooLargeError,
)
from airflow_provider_portkey.hooks.portkey import PortkeyHook
from airflow_provider_portkey.operators.run import PortkeyCancelRunOperator, PortkeyCreateRunOperator

THREAD = "thread_1"


def test_a_run_is_started_on_a_thread_and_waited_for(mock_server, context, mode, operator, carry_out, posts, variables):
    mock_server.plan("runs", statuses=["queued", "in_progress", "completed"], advance="per_poll", steps=2)
    choices = {
        "instructions": "Be short.",
        "additional_instructions": "Be kind.",
        "additional_messages": [{"role": "user", "content": "And now?"}],
        "model": "gpt",
        "tools": [{"type": "code_interpreter"}],
    }
    run = carry_out(
        lambda: operator(mode, metadata={"team": "data"}, extra_body={"temperature": 0.5}, **choices), context
    )
    assert (run["status"], run["thread_id"], run["usage"]["total_tokens"]) == ("completed", THREAD, 50)
    assert not {"instructions", "tools"} & run.keys()
    (body,) = posts("/runs")
    assert len(body["metadata"].pop("airflow_idempotency_key")) == 32
    assert body == {"assistant_id": "asst_1", "temperature": 0.5, "metadata": {"team": "data"}, **choices}
    assert variables == {}


def test_a_thread_and_a_run_are_started_in_one_request(mock_server, context, mode, operator, carry_out, posts):
    thread = {"messages": [{"role": "user", "content": "Why?"}]}
    mock_server.plan("runs", statuses=["queued", "in_progress", "completed"], advance="per_poll")
    run = carry_out(lambda: operator(mode, thread=thread), context)
    assert (run["status"], run["thread_id"]) == ("completed", "thread_000001")
    (body,) = posts("/threads/runs")
    assert body["thread"] == thread


def test_an_empty_thread_is_a_thread(context, operator, posts):
    assert operator(thread={}).execute(context)["status"] == "completed"
    assert posts("/threads/runs")[0]["thread"] == {}


def test_without_waiting_the_run_is_returned_as_it_was_started(mock_server, context, operator):
    mock_server.plan("runs", statuses="queued")
    assert operator(wait_for_completion=False).execute(context)["status"] == "queued"
    assert len(mock_server.requests) == 1


def test_a_run_that_failed_fails_the_task_with_its_reason(mock_server, context, mode, operator, carry_out):
    error = {"code": "invalid_prompt", "message": "It is empty."}
    mock_server.plan("runs", statuses=["queued", "in_progress", "failed"], advance="per_poll", last_error=error)
    with pytest.raises(PortkeyRunFailedError, match="It is empty"):
        carry_out(lambda: operator(mode), context)


@pytest.mark.parametrize("code", ["rate_limit_exceeded", "server_error"])
def test_a_failure_that_passes_is_retried_with_a_new_run(mock_server, context, mode, operator, carry_out, retry, code):
    error = {"code": code, "message": "Slow down."}
    mock_server.plan("runs", statuses=["queued", "in_progress", "failed"], advance="per_poll", last_error=error)
    with pytest.raises(PortkeyRemoteJobFailedTransientlyError, match="Slow down") as raised:
        carry_out(lambda: operator(mode), context)
    assert not isinstance(raised.value, AirflowFailException)
    retry()
    assert carry_out(lambda: operator(mode), context)["id"] == "run_000002"


def test_the_codes_of_failures_that_pass_can_be_replaced(mock_server, context, mode, operator, carry_out):
    error = {"code": "server_error", "message": "It broke."}
    mock_server.plan("runs", statuses=["queued", "in_progress", "failed"], advance="per_poll", last_error=error)
    with pytest.raises(PortkeyRunFailedError, match="It broke"):
        carry_out(lambda: operator(mode, retryable_error_codes=[]), context)


def test_without_handlers_a_run_that_requires_action_fails_as_in_a_sensor(
    mock_server, context, mode, operator, carry_out
):
    mock_server.plan("runs", statuses=["queued", "in_progress", "requires_action"], advance="per_poll")
    with pytest.raises(PortkeyActionRequiredError):
        carry_out(lambda: operator(mode), context)


def test_without_handlers_a_run_that_requires_action_can_be_returned(mock_server, context, mode, operator, carry_out):
    mock_server.plan("runs", statuses=["queued", "in_progress", "requires_action"], advance="per_poll")
    run = carry_out(lambda: operator(mode, on_requires_action="return"), context)
    assert run["required_action"]["type"] == "submit_tool_outputs"


def test_an_earlier_run_is_distinguished_from_other_runs(mock_server, context, operator, retry, killing, posts):
    killing(PortkeyHook, "create_run", done=True)
    with pytest.raises(SystemExit):
        operator().execute(context)
    mock_server.add_run(thread_id=THREAD, fields={"metadata": {"airflow_idempotency_key": "another"}})
    mock_server.add_run(thread_id=THREAD, fields={"metadata": None})
    retry()
    assert operator().execute(context)["id"] == "run_000001"
    assert len(posts("/runs")) == 1


def test_the_search_for_an_earlier_run_ends_at_old_runs(mock_server, context, operator, retry, killing):
    mock_server.add_runs(thread_id=THREAD, count=250, created_at=1_600_000_000)
    killing(PortkeyHook, "create_run", done=False)
    with pytest.raises(SystemExit):
        operator().execute(context)
    retry()
    assert operator().execute(context)["id"] == "run_000251"
    assert sum(one.path.endswith("/runs") and one.method == "GET" for one in mock_server.requests) == 3


@pytest.fixture
def lagging(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Have the list of runs show nothing in its first requests."""

    def lagging(requests: int) -> None:
        iter_runs = PortkeyHook.iter_runs
        empty = iter(range(requests))
        monkeypatch.setattr(
            PortkeyHook,
            "iter_runs",
            lambda self, thread_id: () if next(empty, None) is not None else iter_runs(self, thread_id),
        )

    return lagging


@pytest.mark.parametrize(("requests", "run_id"), [(0, "run_000001"), (2, "run_000001"), (3, "run_000002")])
def test_a_list_that_lags_is_requested_again(mock_server, context, operator, retry, killing, lagging, requests, run_id):
    killing(PortkeyHook, "create_run", done=True)
    with pytest.raises(SystemExit):
        operator().execute(context)
    retry()
    lagging(requests)
    assert operator().execute(context)["id"] == run_id


def test_a_run_that_failed_before_its_task_knew_it_is_started_again(mock_server, context, operator, retry, killing):
    mock_server.plan("runs", statuses="failed")
    killing(PortkeyHook, "create_run", done=True)
    with pytest.raises(SystemExit):
        operator().execute(context)
    retry()
    mock_server.plan("runs", statuses="completed")
    assert operator().execute(context)["id"] == "run_000002"
    keys = {run["metadata"]["airflow_idempotency_key"] for run in PortkeyHook().iter_runs(THREAD)}
    assert len(keys) == 2


@pytest.mark.parametrize(("requests", "cancels"), [(0, 1), (2, 1), (3, 0)])
def test_a_kill_during_the_start_searches_for_the_run_and_cancels_it(
    mock_server, context, operator, lagging, posts, monkeypatch, requests, cancels
):
    mock_server.plan("runs", statuses="in_progress")
    one = operator()
    create = PortkeyHook.create_run

    def killed(self: Any, *args: Any) -> Any:
        create(self, *args)
        one.on_kill()
        raise SystemExit

    monkeypatch.setattr(PortkeyHook, "create_run", killed)
    lagging(requests)
    with pytest.raises(SystemExit):
        one.execute(context)
    assert len(posts("/runs/run_000001/cancel")) == cancels


def test_a_run_is_searched_for_on_the_thread_that_it_was_started_on(mock_server, context, operator, retry, killing):
    killing(PortkeyHook, "create_run", done=True)
    with pytest.raises(SystemExit):
        operator().execute(context)
    retry()
    run = operator(thread_id="thread_of_the_next_try").execute(context)
    assert (run["id"], run["thread_id"]) == ("run_000001", THREAD)


def test_where_runs_cannot_be_listed_the_outcome_is_unknown(mock_server, context, operator, retry, killing):
    killing(PortkeyHook, "create_run", done=True)
    with pytest.raises(SystemExit):
        operator().execute(context)
    retry()
    mock_server.fault(status=404, path="*/runs", method="GET", times=2)
    with pytest.raises(PortkeySubmissionUnknownError, match="resubmit_unknown"):
        operator().execute(context)
    assert operator(resubmit_unknown=True).execute(context)["id"] == "run_000002"


def test_a_list_that_fails_transiently_is_left_to_the_next_try(mock_server, context, operator, retry, killing):
    killing(PortkeyHook, "create_run", done=True)
    with pytest.raises(SystemExit):
        operator().execute(context)
    retry()
    mock_server.fault(status=503, path="*/runs", method="GET")
    with pytest.raises(PortkeyServerError):
        operator().execute(context)
    retry()
    assert operator().execute(context)["id"] == "run_000001"


@pytest.mark.parametrize("again", [False, True])
def test_a_thread_that_was_created_in_the_same_request_cannot_be_searched(
    context, again, operator, retry, killing, posts
):
    killing(PortkeyHook, "create_thread_and_run", done=True)
    with pytest.raises(SystemExit):
        operator(thread={}).execute(context)
    retry()
    if again:
        run = operator(thread={}, resubmit_unknown=True).execute(context)
        assert run["thread_id"] == "thread_000002"
    else:
        with pytest.raises(PortkeySubmissionUnknownError):
            operator(thread={}).execute(context)
    assert len(posts("/threads/runs")) == (2 if again else 1)


def test_a_run_whose_thread_was_created_in_the_same_request_is_resumed_once_it_is_known(
    mock_server, context, operator, retry, killing, posts
):
    mock_server.plan("runs", statuses=["queued", "completed"], advance="per_poll")
    killing(PortkeyClient, "get", done=False)
    with pytest.raises(SystemExit):
        operator(thread={}).execute(context)
    retry()
    assert operator(thread={}).execute(context)["id"] == "run_000001"
    assert len(posts("/threads/runs")) == 1


def test_a_refused_start_is_sent_again_and_a_broken_one_is_searched_for(mock_server, context, operator):
    mock_server.fault(status=400, path="*/runs", method="POST")
    with pytest.raises(PortkeyBadRequestError):
        operator().execute(context)
    mock_server.fault(disconnect=True, path="*/runs", method="POST")
    with pytest.raises(PortkeyUnreachableError):
        operator().execute(context)
    assert operator().execute(context)["status"] == "completed"
    methods = [one.method for one in mock_server.requests if one.path.endswith("/runs")]
    assert methods == ["POST", "POST", "GET", "GET", "GET", "POST"]


def test_a_retry_has_the_whole_timeout_again(mock_server, context, operator, retry, killing, clock):
    mock_server.plan("runs", statuses=["in_progress", "in_progress", "completed"], advance="per_poll")
    killing(PortkeyClient, "get", done=True)
    with pytest.raises(SystemExit):
        operator().execute(context)
    clock.now += 3600
    retry()
    assert operator().execute(context)["status"] == "completed"


@pytest.mark.parametrize(("requested", "cancels"), [(True, 1), (False, 0)])
def test_a_kill_cancels_the_run_that_the_task_started(mock_server, context, requested, cancels, operator, posts):
    mock_server.plan("runs", statuses="in_progress")
    operator(cancel_on_kill=requested).on_kill()
    assert mock_server.requests == []
    one = operator(wait_for_completion=False, cancel_on_kill=requested)
    one.execute(context)
    one.on_kill()
    assert len(posts("/runs/run_000001/cancel")) == cancels


def test_a_kill_on_the_triggerer_cancels_the_run(mock_server, context, operator, posts):
    mock_server.plan("runs", statuses="in_progress")
    with pytest.raises(TaskDeferred) as deferred:
        operator("deferred").execute(context)
    classpath, arguments = deferred.value.trigger.serialize()
    assert classpath == "airflow_provider_portkey.triggers.run.PortkeyRunTrigger"
    assert (arguments["thread_id"], arguments["run_id"]) == (THREAD, "run_000001")
    asyncio.run(type(deferred.value.trigger)(**json.loads(json.dumps(arguments))).on_kill())
    assert len(posts("/runs/run_000001/cancel")) == 1


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"assistant_id": ""}, "assistant_id"),
        ({"thread_id": ""}, "thread_id"),
        ({"thread_id": ".."}, "thread_id"),
        ({"thread": "x"}, "thread"),
        ({"thread": "[]"}, "thread"),
        ({"additional_messages": "Hello"}, "additional_messages"),
        ({"tools": "search"}, "tools"),
        ({"metadata": "team=data"}, "metadata"),
        ({"metadata": {"airflow_idempotency_key": "x"}}, "airflow_idempotency_key"),
        ({"metadata": {str(number): "" for number in range(16)}}, "at most 15 pairs"),
        ({"metadata": {"k" * 65: "v"}}, "64"),
        ({"metadata": {"": "v"}}, "64"),
        ({"metadata": {"k": "v" * 513}}, "512"),
        ({"metadata": {"k": None}}, "512"),
        ({"extra_body": {"stream": True}}, "stream"),
        ({"extra_body": {"thread_id": "t"}}, "thread_id"),
        ({"extra_body": {"thread": {}}}, "thread"),
        ({"extra_body": {"assistant_id": "a"}}, "assistant_id"),
        ({"extra_body": {"metadata": {}}}, "metadata"),
        ({"extra_body": "x"}, "extra_body"),
    ],
)
def test_a_wrong_argument_is_named_before_anything_is_sent(mock_server, context, wrong, named, operator):
    with pytest.raises(PortkeyInvalidArgumentError, match=named):
        operator(**wrong).execute(context)
    assert mock_server.requests == []
    assert operator().execute(context)["status"] == "completed"


def test_as_much_metadata_as_fits_is_sent(context, operator, posts):
    metadata = {f"{number:064}": "v" * 512 for number in range(15)}
    operator(metadata=metadata).execute(context)
    assert len(posts("/runs")[0]["metadata"]) == 16


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"thread_id": None}, "exactly one"),
        ({"thread": None}, "exactly one"),
        ({"thread": {}, "additional_messages": []}, "additional_messages"),
        ({"thread": {}, "additional_instructions": "x"}, "additional_instructions"),
        ({"tool_handlers": {"look_up": "look_up"}}, "tool_handlers"),
        ({"tool_handlers": [str]}, "tool_handlers"),
        ({"tool_handlers": {"look_up": str}, "wait_for_completion": False}, "wait_for_completion"),
        ({"on_requires_action": "panic"}, "on_requires_action"),
    ],
)
def test_arguments_that_exclude_each_other_are_named_when_the_dag_is_parsed(wrong, named, operator):
    with pytest.raises(PortkeyInvalidArgumentError, match=named):
        operator(**wrong)


def test_both_ways_to_name_the_thread_are_one_too_many():
    with pytest.raises(PortkeyInvalidArgumentError, match="exactly one"):
        PortkeyCreateRunOperator(task_id="start", assistant_id="a", thread_id="t", thread={})


def test_a_run_is_cancelled(mock_server, context, mode, carry_out, posts):
    mock_server.add_run(thread_id=THREAD, run_id="run_1", statuses="in_progress")

    def make(**how: Any) -> PortkeyCancelRunOperator:
        how |= {"mode": "reschedule" if mode == "reschedule" else "poke", "deferrable": mode == "deferred"}
        return PortkeyCancelRunOperator(task_id="stop", thread_id=THREAD, run_id="run_1", poke_interval=0, **how)

    requested = carry_out(make, context)
    assert requested["status"] == "cancelling"
    assert not {"instructions", "tools"} & requested.keys()
    assert carry_out(lambda: make(wait_for_completion=True), context)["status"] == "cancelled"
    assert carry_out(lambda: make(wait_for_completion=True), context)["status"] == "cancelled"
    assert len(posts("/cancel")) == 1


@pytest.mark.parametrize("status", ["completed", "failed", "expired", "cancelled", "incomplete"])
def test_cancelling_a_finished_run_is_no_failure(mock_server, context, mode, status, carry_out, posts):
    mock_server.add_run(thread_id=THREAD, run_id="run_1", statuses=status)
    how = {"mode": "reschedule" if mode == "reschedule" else "poke", "deferrable": mode == "deferred"}
    run = carry_out(
        lambda: PortkeyCancelRunOperator(
            task_id="stop", thread_id=THREAD, run_id="run_1", wait_for_completion=True, **how
        ),
        context,
    )
    assert run["status"] == status
    assert posts("/cancel") == []


def test_a_run_that_finishes_while_it_is_cancelled_is_no_failure(mock_server, context):
    mock_server.add_run(thread_id=THREAD, run_id="run_1", statuses=["in_progress", "completed"], advance="per_poll")
    mock_server.fault(status=400, path="*/cancel")
    run = PortkeyCancelRunOperator(task_id="stop", thread_id=THREAD, run_id="run_1").execute(context)
    assert run["status"] == "completed"


def test_a_cancel_that_is_refused_while_the_run_is_active_is_a_failure(mock_server, context):
    mock_server.add_run(thread_id=THREAD, run_id="run_1", statuses="in_progress")
    mock_server.fault(status=400, path="*/cancel")
    with pytest.raises(PortkeyBadRequestError):
        PortkeyCancelRunOperator(task_id="stop", thread_id=THREAD, run_id="run_1").execute(context)


def test_a_deferred_cancel_shares_the_polls_of_its_thread(mock_server, context):
    mock_server.add_run(thread_id=THREAD, run_id="run_1", statuses="in_progress")
    with pytest.raises(TaskDeferred) as deferred:
        PortkeyCancelRunOperator(
            task_id="stop", thread_id=THREAD, run_id="run_1", wait_for_completion=True, deferrable=True
        ).execute(context)
    classpath, arguments = deferred.value.trigger.serialize()
    assert classpath == "airflow_provider_portkey.triggers.run.PortkeyRunTrigger"
    assert (arguments["thread_id"], arguments["run_id"]) == (THREAD, "run_1")
    assert arguments["wait_state"]["on_requires_action"] == "wait"
    # The response to the cancel request is the first poll.
    assert [one.method for one in mock_server.requests] == ["GET", "POST"]


def test_a_resumed_task_requests_its_run_once(mock_server, context, operator, killing, retry):
    mock_server.plan("runs", statuses=["queued", "completed"], advance="per_poll")
    killing(PortkeyClient, "get", done=False)
    with pytest.raises(SystemExit):
        operator().execute(context)
    retry()
    assert operator().execute(context)["status"] == "completed"
    assert [one.method for one in mock_server.requests] == ["POST", "GET"]


def test_a_cancel_has_no_policy_for_required_actions():
    with pytest.raises((TypeError, AirflowException), match="on_requires_action"):
        PortkeyCancelRunOperator(task_id="stop", thread_id=THREAD, run_id="run_1", on_requires_action="fail")


@pytest.mark.parametrize(
    ("choice", "raised"), [({}, PortkeyInvalidArgumentError), ({"soft_fail": True}, AirflowSkipException)]
)
def test_a_cancel_with_a_value_that_is_wrong_after_rendering_sends_nothing(mock_server, context, choice, raised):
    stop = PortkeyCancelRunOperator(
        task_id="stop", thread_id=THREAD, run_id="run_1", max_consecutive_failures="{{ params.limit }}", **choice
    )
    with pytest.raises(raised, match="max_consecutive_failures"):
        stop.execute(context)
    assert mock_server.requests == []


def test_a_cancelled_run_may_have_more_fields_and_no_error(mock_server, context, mode, carry_out):
    mock_server.add_run(thread_id=THREAD, run_id="run_1", statuses="cancelled", fields={"instructions": "i" * 100})

    def make(**changes: Any) -> PortkeyCancelRunOperator:
        how = {"mode": "reschedule" if mode == "reschedule" else "poke", "deferrable": mode == "deferred"}
        arguments = {"thread_id": THREAD, "run_id": "run_1", "include_fields": ["instructions"], "poke_interval": 0}
        return PortkeyCancelRunOperator(task_id="cancel", **how, **(arguments | changes))

    for wait in (True, False):
        run = carry_out(lambda wait=wait: make(wait_for_completion=wait), context)
        assert (run["status"], run["instructions"]) == ("cancelled", "i" * 100)
        assert "error_message" not in run
        with pytest.raises(PortkeyXComTooLargeError):
            carry_out(lambda wait=wait: make(wait_for_completion=wait, max_bytes=50), context)
        with pytest.raises(AirflowSkipException):
            carry_out(lambda wait=wait: make(wait_for_completion=wait, max_bytes=50, soft_fail=True), context)
