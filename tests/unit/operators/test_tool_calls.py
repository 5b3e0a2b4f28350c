"""The function calls of a run are handled and their outputs submitted, in every mode and over real HTTP."""

from __future__ import annotations

import asyncio
import copy
import json
import threading
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowSkipException, TaskDeferred

from airflow_provider_portkey.client.sync import PortkeyClient
from airflow_provider_portkey.exceptions import (
    PortkeyBadRequestError,
    PortkeyInvalidArgumentError,
    PortkeyPermissionDeniedError,
    PortkeyRunFailedError,
    PortkeyToolCallFailedError,
    PortkeyUnreachableError,
    PortkeyWaitTimeoutError,
)
from airflow_provider_portkey.hooks.portkey import PortkeyHook
from airflow_provider_portkey.operators.run import PortkeyCreateRunOperator, PortkeySubmitToolOutputsOperator

THREAD = "thread_1"
SUBMIT = "/submit_tool_outputs"


def call(call_id: str, name: str = "look_up", arguments: str = '{"word": "x"}') -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_handlers_are_called_in_several_rounds(mock_server, context, mode, caplog, capsys, operator, carry_out, posts):
    mock_server.plan(
        "runs",
        statuses=["queued", "in_progress", "requires_action"],
        advance="per_poll",
        tool_calls=[call("call_1"), call("call_2", "add", '{"one": 1, "other": "s3cret"}')],
        further_tool_calls=[[call("call_3")], [call("call_4", "nothing", "{}")]],
    )
    called = []

    def look_up(word):
        called.append(word)
        return f"found {word}"

    def add(one, other):
        return {"sum": [one, other, "ü"]}

    handlers = {"look_up": look_up, "add": add, "nothing": lambda: None}
    with caplog.at_level("INFO"):
        run = carry_out(lambda: operator(mode, tool_handlers=handlers), context)
    assert (run["status"], run["required_action"]) == ("completed", None)
    assert [[(one["tool_call_id"], one["output"]) for one in body["tool_outputs"]] for body in posts(SUBMIT)] == [
        [("call_1", "found x"), ("call_2", json.dumps({"sum": [1, "s3cret", "ü"]}))],
        [("call_3", "found x")],
        [("call_4", "null")],
    ]
    assert called == ["x", "x"]
    assert len(posts("/runs")) == 1
    log = caplog.text + capsys.readouterr().out
    assert "look_up (call_3)" in log
    assert "s3cret" not in log


@pytest.mark.parametrize(("last", "end"), [("requires_action", "completed"), ("failed", "failed")])
def test_a_run_with_handlers_is_returned_with_its_included_fields(
    mock_server, context, mode, operator, carry_out, posts, last, end
):
    mock_server.plan(
        "runs",
        statuses=["queued", "in_progress", last],
        advance="per_poll",
        tool_calls=[call("call_1")],
        fields={"instructions": "i" * 500},
    )
    choices = {
        "tool_handlers": {"look_up": lambda word: word},
        "include_fields": ["instructions"],
        "on_failed": "return",
    }
    run = carry_out(lambda: operator(mode, **choices), context)
    assert (run["status"], run["instructions"]) == (end, "i" * 500)
    assert ("error_message" in run) == (end == "failed")
    assert len(posts(SUBMIT)) == (end == "completed")


def test_the_arguments_of_a_call_stay_out_of_the_event_that_airflow_logs(mock_server, context, operator):
    called = call("call_1", arguments='{"word": "s3cret"}')
    mock_server.plan(
        "runs", statuses=["queued", "in_progress", "requires_action"], advance="per_poll", tool_calls=[called]
    )
    with pytest.raises(TaskDeferred) as deferred:
        operator("deferred", tool_handlers={"look_up": str}).execute(context)

    async def event() -> Any:
        return await anext(deferred.value.trigger.run())

    payload = asyncio.run(event()).payload
    assert payload["reason"] == "returned"
    assert "s3cret" not in json.dumps(payload)


def broken(word):
    raise RuntimeError("no s3cret")


@pytest.mark.parametrize(
    ("tool_call", "why", "cause"),
    [
        (call("call_1", "unheard_of"), "no such tool", None),
        (call("call_1", arguments="word=x"), "no JSON", ValueError),
        (call("call_1", arguments='["x"]'), "no JSON object", None),
        (call("call_1", arguments='{"letter": "x"}'), "raised TypeError", TypeError),
        (call("call_1", "broken"), "raised RuntimeError", RuntimeError),
        (call("call_1", "not_json"), "returned a set that JSON does not know", TypeError),
        (call("call_1", "not_a_number"), "returned a float", ValueError),
    ],
)
def test_a_call_that_cannot_be_handled_fails_with_its_tool_and_cancels_the_run(
    mock_server, context, mode, tool_call, why, cause, operator, carry_out, posts
):
    statuses = ["queued", "in_progress", "requires_action"]
    mock_server.plan("runs", statuses=statuses, advance="per_poll", tool_calls=[tool_call])
    handlers = {
        "look_up": lambda word: word,
        "broken": broken,
        "not_json": lambda word: {word},
        "not_a_number": lambda word: float("nan"),
    }
    with pytest.raises(PortkeyToolCallFailedError, match=why) as raised:
        carry_out(lambda: operator(mode, tool_handlers=handlers), context)
    assert (raised.value.tool, raised.value.call_id) == (tool_call["function"]["name"], "call_1")
    assert f"Tool {tool_call['function']['name']!r} (call_1)" in str(raised.value)
    assert "s3cret" not in str(raised.value)
    assert isinstance(raised.value.__cause__, cause or type(None))
    assert len(posts("/cancel")) == 1
    assert posts(SUBMIT) == []


def test_no_handler_is_called_before_all_calls_are_checked(mock_server, context, operator):
    mock_server.plan("runs", statuses="requires_action", tool_calls=[call("call_1"), call("call_2", "unheard_of")])
    called = []
    with pytest.raises(PortkeyToolCallFailedError, match="unheard_of"):
        operator(tool_handlers={"look_up": called.append}).execute(context)
    assert called == []


@pytest.mark.parametrize(
    ("required_action", "named"),
    [
        (None, "None"),
        ({"type": "submit_tool_approval", "submit_tool_approval": {}}, "'submit_tool_approval'"),
        ({"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": []}}, "'submit_tool_outputs'"),
        ({"type": "submit_tool_outputs", "submit_tool_outputs": None}, "'submit_tool_outputs'"),
        ({"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": [{"id": "c", "type": "mcp"}]}}, "'mcp'"),
    ],
)
def test_what_is_no_call_of_a_function_fails_and_cancels_the_run(
    mock_server, context, required_action, named, operator, posts
):
    mock_server.plan("runs", statuses="requires_action", fields={"required_action": required_action})
    with pytest.raises(PortkeyToolCallFailedError, match=named):
        operator(tool_handlers={"look_up": str}).execute(context)
    assert len(posts("/cancel")) == 1


def test_a_cancel_that_fails_does_not_hide_the_tools_error(mock_server, context, caplog, capsys, operator):
    mock_server.plan("runs", statuses="requires_action", tool_calls=[call("call_1", "broken")])
    mock_server.fault(status=500, path="*/cancel")
    with pytest.raises(PortkeyToolCallFailedError, match="broken"):
        operator(tool_handlers={"broken": broken}).execute(context)
    assert "Cancelling run 'run_000001' (thread_id 'thread_1') failed" in caplog.text + capsys.readouterr().out


def test_with_soft_fail_a_tool_that_failed_skips_the_task(mock_server, context, mode, operator, carry_out, posts):
    statuses = ["queued", "in_progress", "requires_action"]
    mock_server.plan("runs", statuses=statuses, advance="per_poll", tool_calls=[call("call_1", "broken")])
    with pytest.raises(AirflowSkipException, match="broken"):
        carry_out(lambda: operator(mode, tool_handlers={"broken": broken}, soft_fail=True), context)
    assert len(posts("/cancel")) == 1


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize(
    "method",
    [(PortkeyHook, "create_run"), (PortkeyClient, "get"), (PortkeyHook, "submit_tool_outputs")],
    ids=["create_run", "get", "submit_tool_outputs"],
)
def test_wherever_a_worker_dies_the_next_try_continues_with_the_same_run(
    mock_server, context, mode, method, done, operator, carry_out, retry, killing, posts
):
    statuses = ["queued", "requires_action"]
    mock_server.plan("runs", statuses=statuses, advance="per_poll", tool_calls=[call("call_1")], times=None)

    def make() -> PortkeyCreateRunOperator:
        return operator(mode, tool_handlers={"look_up": lambda word: word})

    killing(*method, done=done)
    with pytest.raises(SystemExit):
        carry_out(make, context)
    retry()
    assert carry_out(make, context)["status"] == "completed"
    assert len(posts("/runs")) == 1
    assert len(posts(SUBMIT)) == 1
    assert posts("/cancel") == []


def test_a_worker_that_dies_in_a_handler_has_it_called_again(mock_server, context, operator, retry, posts):
    mock_server.plan("runs", statuses="requires_action", tool_calls=[call("call_1")])
    called = []

    def look_up(word):
        called.append(word)
        if len(called) == 1:
            raise SystemExit
        return word

    with pytest.raises(SystemExit):
        operator(tool_handlers={"look_up": look_up}).execute(context)
    retry()
    assert operator(tool_handlers={"look_up": look_up}).execute(context)["status"] == "completed"
    assert called == ["x", "x"]
    assert (len(posts("/runs")), len(posts(SUBMIT))) == (1, 1)


def test_a_lost_response_is_no_failure_where_the_run_has_moved_on(
    mock_server, context, mode, operator, carry_out, posts
):
    mock_server.plan("runs", statuses="requires_action", tool_calls=[call("call_1")])
    mock_server.fault(cut_after=10, path="*" + SUBMIT)
    run = carry_out(lambda: operator(mode, tool_handlers={"look_up": lambda word: word}), context)
    assert run["status"] == "completed"
    assert len(posts(SUBMIT)) == 1


@pytest.mark.parametrize(("times", "ends"), [(2, None), (3, PortkeyUnreachableError)])
def test_outputs_with_an_unknown_outcome_are_sent_again_while_the_run_requires_them(
    mock_server, context, times, ends, operator, posts
):
    mock_server.plan("runs", statuses="requires_action", tool_calls=[call("call_1")])
    mock_server.fault(disconnect=True, path="*" + SUBMIT, times=times)
    called = []

    def look_up(word):
        called.append(word)

    one = operator(tool_handlers={"look_up": look_up})
    if ends:
        with pytest.raises(ends):
            one.execute(context)
    else:
        assert one.execute(context)["status"] == "completed"
    assert (called, len(posts(SUBMIT))) == (["x"], 3)


def test_refused_outputs_are_not_sent_again(mock_server, context, operator, posts):
    mock_server.plan("runs", statuses="requires_action", tool_calls=[call("call_1")])
    mock_server.fault(status=400, body={"error": {"message": "Too long."}}, path="*" + SUBMIT)
    with pytest.raises(PortkeyBadRequestError, match="Too long"):
        operator(tool_handlers={"look_up": lambda word: word}).execute(context)
    assert len(posts(SUBMIT)) == 1


def test_outputs_that_may_not_be_sent_are_not_sent_again(mock_server, context, operator):
    mock_server.plan("runs", statuses="requires_action", tool_calls=[call("call_1")])
    mock_server.fault(status=403, path="*" + SUBMIT)
    with pytest.raises(PortkeyPermissionDeniedError):
        operator(tool_handlers={"look_up": lambda word: word}).execute(context)
    assert mock_server.requests[-1].path.endswith(SUBMIT)


def test_a_run_that_was_cancelled_while_a_handler_worked_is_reported_as_cancelled(
    mock_server, context, mode, operator, carry_out
):
    mock_server.plan("runs", statuses="requires_action", tool_calls=[call("call_1")])

    def look_up(word):
        PortkeyHook().cancel_run(THREAD, "run_000001")
        return word

    with pytest.raises(PortkeyRunFailedError, match="finished as cancelled"):
        carry_out(lambda: operator(mode, tool_handlers={"look_up": look_up}), context)


def test_the_timeout_is_for_all_rounds_together(mock_server, context, mode, operator, carry_out, posts, clock):
    rounds = [[call(f"call_{number}")] for number in range(9)]
    statuses = ["queued", "in_progress", "requires_action"]
    mock_server.plan("runs", statuses=statuses, advance="per_poll", tool_calls=rounds[0], further_tool_calls=rounds[1:])
    called = []

    def look_up(word):
        called.append(word)
        clock.now += 25
        return word

    with pytest.raises(PortkeyWaitTimeoutError, match=r"timeout of 1 min 0 s\. The run was left running"):
        carry_out(lambda: operator(mode, tool_handlers={"look_up": look_up}), context)
    assert len(called) == 3
    assert posts("/cancel") == []


def test_handlers_stay_out_of_the_serialized_dag_and_survive_a_copy():
    try:
        from airflow.serialization.serialized_objects import DagSerialization as Serialization
    except ImportError:
        from airflow.serialization.serialized_objects import SerializedDAG as Serialization

    lock = threading.Lock()  # cannot be copied
    with DAG(dag_id="dag", schedule=None) as dag:
        PortkeyCreateRunOperator(
            task_id="start", assistant_id="a", thread_id="t", tool_handlers={"look_up": lambda word, lock=lock: word}
        )
        PortkeyCreateRunOperator(
            task_id="bound", assistant_id="a", thread_id="t", tool_handlers={"look_up": lock.acquire}
        )
    serialized = json.dumps(Serialization.to_dict(dag))
    assert "tool_handlers" not in serialized
    assert "look_up" not in serialized
    assert "tool_handlers" not in PortkeyCreateRunOperator.template_fields
    bound = dag.get_task("bound")
    assert copy.deepcopy(bound).tool_handlers["look_up"] == bound.tool_handlers["look_up"]


def submit(outputs: Any) -> PortkeySubmitToolOutputsOperator:
    return PortkeySubmitToolOutputsOperator(task_id="submit", thread_id=THREAD, run_id="run_1", tool_outputs=outputs)


@pytest.mark.parametrize(
    "outputs",
    [
        [{"tool_call_id": "call_1", "output": "sunny"}, {"tool_call_id": "call_2", "output": {"degrees": 20}}],
        {"call_1": "sunny", "call_2": {"degrees": 20}},
        '{"call_1": "sunny", "call_2": {"degrees": 20}}',
        '[{"tool_call_id": "call_1", "output": "sunny"}, {"tool_call_id": "call_2", "output": {"degrees": 20}}]',
    ],
)
def test_outputs_are_submitted(mock_server, context, outputs, posts, variables):
    mock_server.add_run(
        thread_id=THREAD, run_id="run_1", statuses="requires_action", tool_calls=[call("call_1"), call("call_2")]
    )
    run = submit(outputs).execute(context)
    assert run["status"] in ("queued", "in_progress", "completed")
    assert not {"instructions", "tools"} & run.keys()
    (body,) = posts(SUBMIT)
    assert body["tool_outputs"] == [
        {"tool_call_id": "call_1", "output": "sunny"},
        {"tool_call_id": "call_2", "output": '{"degrees": 20}'},
    ]
    assert variables == {}


@pytest.mark.parametrize(
    "outputs",
    [
        [],
        {},
        None,
        7,
        "",
        "{'call_1': 's3cret'}",
        "7",
        ["s3cret"],
        [{"tool_call_id": "call_1"}],
        [{"tool_call_id": "call_1", "output": "s3cret", "more": 1}],
        [{"tool_call_id": "", "output": "s3cret"}],
        [{"tool_call_id": 1, "output": "s3cret"}],
        [{"tool_call_id": "call_1", "output": "s3cret"}] * 2,
        {"call_1": {"s3cret"}},
        {"call_1": float("inf")},
    ],
)
def test_a_value_that_is_no_outputs_is_refused_before_anything_is_sent(mock_server, context, outputs):
    with pytest.raises(PortkeyInvalidArgumentError, match="tool_outputs") as raised:
        submit(outputs).execute(context)
    assert "s3cret" not in str(raised.value)
    assert mock_server.requests == []


@pytest.mark.parametrize(
    ("status", "outputs", "requires"),
    [
        ("requires_action", {"call_9": "x"}, "requires call_1"),
        ("requires_action", {"call_1": "x", "call_9": "x"}, "requires call_1"),
        ("in_progress", {"call_1": "x"}, "is in_progress and requires none"),
        ("completed", {"call_1": "x"}, "is completed and requires none"),
    ],
)
def test_outputs_that_the_run_does_not_require_are_refused(mock_server, context, status, outputs, requires, posts):
    mock_server.add_run(thread_id=THREAD, run_id="run_1", statuses=status, tool_calls=[call("call_1")])
    with pytest.raises(PortkeyInvalidArgumentError, match=requires):
        submit(outputs).execute(context)
    assert posts(SUBMIT) == []


@pytest.mark.parametrize("done", [False, True])
def test_a_worker_that_dies_while_it_submits_does_so_once(mock_server, context, done, retry, killing, posts):
    mock_server.add_run(thread_id=THREAD, run_id="run_1", statuses="requires_action", tool_calls=[call("call_1")])
    killing(PortkeyHook, "submit_tool_outputs", done=done)
    with pytest.raises(SystemExit):
        submit({"call_1": "x"}).execute(context)
    retry()
    assert submit({"call_1": "x"}).execute(context)["status"] in ("queued", "completed")
    assert len(posts(SUBMIT)) == 1


def test_a_lost_response_to_the_outputs_is_no_failure(mock_server, context, posts):
    mock_server.add_run(thread_id=THREAD, run_id="run_1", statuses="requires_action", tool_calls=[call("call_1")])
    mock_server.fault(cut_after=10, path="*" + SUBMIT)
    assert submit({"call_1": "x"}).execute(context)["status"] == "completed"
    assert len(posts(SUBMIT)) == 1


def test_outputs_for_a_run_that_has_expired_fail_with_the_runs_reason(mock_server, context, posts):
    mock_server.add_run(thread_id=THREAD, run_id="run_1", statuses="expired", tool_calls=[call("call_1")])
    with pytest.raises(PortkeyRunFailedError, match=r"Run 'run_1' .* finished as expired"):
        submit({"call_1": "x"}).execute(context)
    assert posts(SUBMIT) == []


def test_late_outputs_fail_with_the_runs_reason(mock_server, context):
    statuses = ["requires_action", "expired"]
    mock_server.add_run(
        thread_id=THREAD, run_id="run_1", statuses=statuses, advance="per_poll", tool_calls=[call("call_1")]
    )
    mock_server.fault(status=400, path="*" + SUBMIT)
    with pytest.raises(PortkeyRunFailedError, match=r"Run 'run_1' .* finished as expired"):
        submit({"call_1": "x"}).execute(context)
