"""A run is started once, its function calls are answered, and it is cancelled, in every mode and over real HTTP."""

from __future__ import annotations

import asyncio
import copy
import json
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import DAG, AirflowSkipException, BaseSensorOperator, TaskDeferred, Variable

from airflow_provider_portkey.exceptions import (
    PortkeyActionRequired,
    PortkeyBadRequest,
    PortkeyInvalidArgument,
    PortkeyPermissionDenied,
    PortkeyRunFailed,
    PortkeyServerError,
    PortkeySubmissionUnknown,
    PortkeyToolCallFailed,
    PortkeyUnreachable,
    PortkeyWaitTimeout,
)
from airflow_provider_portkey.hooks.portkey import PortkeyHook
from airflow_provider_portkey.operators.run import (
    PortkeyCancelRunOperator,
    PortkeyCreateRunOperator,
    PortkeySubmitToolOutputsOperator,
)
from airflow_provider_portkey.testing import PortkeyMockServer

MODES = ("poke", "reschedule", "deferred")
THREAD = "thread_1"
SUBMIT = "/submit_tool_outputs"


class Killed(BaseException):
    """The worker is gone at once; no ``except Exception`` sees it."""


class Store(dict):
    """Airflow's task state store, as far as it is used: what it holds has been JSON."""

    def set(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))


@pytest.fixture
def mock_server(monkeypatch: pytest.MonkeyPatch):
    with PortkeyMockServer(run_seconds=0) as mock_server:
        connection = mock_server.connection()
        connection["extra"]["max_retries"] = 0
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(connection))
        monkeypatch.setattr("airflow_provider_portkey.sensors.base.time.sleep", lambda seconds: None)
        for name in ("_orig_start_date", "_is_metadatabase_mysql"):  # of Airflow 2, which asks its database
            monkeypatch.setattr(f"{BaseSensorOperator.__module__}.{name}", lambda **_: None, raising=False)
        mock_server.add_messages(thread_id=THREAD, texts=["Why?"])
        yield mock_server


@pytest.fixture(params=["task state store", "variable"])
def context(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    ti = SimpleNamespace(
        dag_id="dag",
        task_id="ask",
        run_id="run",
        map_index=-1,
        max_tries=2,
        try_number=1,
        get_first_reschedule_date=lambda context: None,
    )
    if request.param == "task state store":
        return {"ti": ti, "task_state_store": Store()}
    variables = Store()
    monkeypatch.setattr(
        Variable, "get", lambda key, default, deserialize_json: copy.deepcopy(variables.get(key, default))
    )
    monkeypatch.setattr(Variable, "set", lambda key, value, serialize_json: variables.set(key, value))
    monkeypatch.setattr(Variable, "delete", lambda key: variables.pop(key, None))
    return {"ti": ti, "variables": variables}


def operator(mode: str = "poke", **changes: Any) -> PortkeyCreateRunOperator:
    arguments = {"assistant_id": "asst_1", "thread_id": THREAD, "poke_interval": 0, "timeout": 60} | changes
    if "thread" in changes:
        del arguments["thread_id"]
    how = {"mode": "reschedule" if mode == "reschedule" else "poke", "deferrable": mode == "deferred"}
    return PortkeyCreateRunOperator(task_id="ask", **how, **arguments)


def carry_out(make: Any, context: dict[str, Any]) -> Any:
    """Run a task as Airflow does, with a new operator and a new trigger in each process."""
    try:
        return make().execute(context)
    except AirflowRescheduleException:
        return carry_out(make, context)
    except TaskDeferred as deferred:
        return resume(make, context, deferred)


def resume(make: Any, context: dict[str, Any], deferred: TaskDeferred) -> Any:
    _, arguments = deferred.trigger.serialize()
    trigger = type(deferred.trigger)(**json.loads(json.dumps(arguments)))

    async def event() -> Any:
        return await anext(trigger.run())

    payload = json.loads(json.dumps(asyncio.run(event()).payload))
    try:
        return make().execute_complete(context, payload)
    except TaskDeferred as again:
        return resume(make, context, again)


def retry(context: dict[str, Any]) -> None:
    context["ti"].try_number += 1


def call(call_id: str, name: str = "look_up", arguments: str = '{"word": "x"}') -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def posts(mock_server: PortkeyMockServer, end: str) -> list[Any]:
    found = [one for one in mock_server.requests if one.method == "POST" and one.path.endswith(end)]
    return [json.loads(one.body) for one in found]


def starts(mock_server: PortkeyMockServer) -> int:
    return len(posts(mock_server, "/runs"))


@pytest.mark.parametrize("mode", MODES)
def test_a_run_is_started_on_a_thread_and_waited_for(mock_server, context, mode):
    mock_server.plan("runs", statuses=["queued", "in_progress", "completed"], advance="per_poll", steps=2)
    choices = {
        "instructions": "Be short.",
        "additional_instructions": "Be kind.",
        "additional_messages": [{"role": "user", "content": "And now?"}],
        "model": "gpt",
        "tools": [{"type": "code_interpreter"}],
    }
    run = carry_out(
        lambda: operator(mode, metadata={"team": "data"}, parameters={"temperature": 0.5}, **choices), context
    )
    assert (run["status"], run["thread_id"], run["usage"]["total_tokens"]) == ("completed", THREAD, 50)
    assert not {"instructions", "tools"} & run.keys()
    (body,) = posts(mock_server, "/runs")
    marker = body["metadata"].pop("airflow_marker")
    assert len(marker) == 32
    assert body == {"assistant_id": "asst_1", "temperature": 0.5, "metadata": {"team": "data"}, **choices}
    assert context.get("variables", {}) == {}


@pytest.mark.parametrize("mode", MODES)
def test_a_thread_and_a_run_are_started_in_one_call(mock_server, context, mode):
    thread = {"messages": [{"role": "user", "content": "Why?"}]}
    mock_server.plan("runs", statuses=["queued", "in_progress", "completed"], advance="per_poll")
    run = carry_out(lambda: operator(mode, thread=thread), context)
    assert (run["status"], run["thread_id"]) == ("completed", "thread_000001")
    (body,) = posts(mock_server, "/threads/runs")
    assert body["thread"] == thread


def test_an_empty_thread_is_a_thread(mock_server, context):
    assert operator(thread={}).execute(context)["status"] == "completed"
    assert posts(mock_server, "/threads/runs")[0]["thread"] == {}


def test_without_waiting_the_run_is_returned_as_it_was_started(mock_server, context):
    mock_server.plan("runs", statuses="queued")
    assert operator(wait_for_completion=False).execute(context)["status"] == "queued"
    assert len(mock_server.requests) == 1


@pytest.mark.parametrize("mode", MODES)
def test_a_run_that_ends_badly_fails_with_its_reason(mock_server, context, mode):
    error = {"code": "rate_limit_exceeded", "message": "Slow down."}
    mock_server.plan("runs", statuses=["queued", "in_progress", "failed"], advance="per_poll", last_error=error)
    with pytest.raises(PortkeyRunFailed, match="Slow down"):
        carry_out(lambda: operator(mode), context)


@pytest.mark.parametrize("mode", MODES)
def test_without_handlers_a_run_that_asks_fails_as_in_a_sensor(mock_server, context, mode):
    mock_server.plan("runs", statuses=["queued", "in_progress", "requires_action"], advance="per_poll")
    with pytest.raises(PortkeyActionRequired):
        carry_out(lambda: operator(mode), context)


@pytest.mark.parametrize("mode", MODES)
def test_without_handlers_a_run_that_asks_can_be_handed_over(mock_server, context, mode):
    mock_server.plan("runs", statuses=["queued", "in_progress", "requires_action"], advance="per_poll")
    run = carry_out(lambda: operator(mode, on_requires_action="return"), context)
    assert run["required_action"]["type"] == "submit_tool_outputs"


@pytest.mark.parametrize("mode", MODES)
def test_handlers_answer_several_rounds_of_calls(mock_server, context, mode, caplog, capsys):
    mock_server.plan(
        "runs",
        statuses=["queued", "in_progress", "requires_action"],
        advance="per_poll",
        tool_calls=[call("call_1"), call("call_2", "add", '{"one": 1, "other": "s3cret"}')],
        further_tool_calls=[[call("call_3")], [call("call_4", "nothing", "{}")]],
    )
    asked = []

    def look_up(word):
        asked.append(word)
        return f"found {word}"

    def add(one, other):
        return {"sum": [one, other, "ü"]}

    handlers = {"look_up": look_up, "add": add, "nothing": lambda: None}
    with caplog.at_level("INFO"):
        run = carry_out(lambda: operator(mode, tool_handlers=handlers), context)
    assert (run["status"], run["required_action"]) == ("completed", None)
    assert [
        [(one["tool_call_id"], one["output"]) for one in body["tool_outputs"]] for body in posts(mock_server, SUBMIT)
    ] == [
        [("call_1", "found x"), ("call_2", json.dumps({"sum": [1, "s3cret", "ü"]}))],
        [("call_3", "found x")],
        [("call_4", "null")],
    ]
    assert asked == ["x", "x"]
    assert starts(mock_server) == 1
    log = caplog.text + capsys.readouterr().out
    assert "look_up (call_3)" in log
    assert "s3cret" not in log


def test_what_a_run_asks_stays_out_of_the_event_that_airflow_logs(mock_server, context):
    asked = call("call_1", arguments='{"word": "s3cret"}')
    mock_server.plan(
        "runs", statuses=["queued", "in_progress", "requires_action"], advance="per_poll", tool_calls=[asked]
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


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("asked", "why", "cause"),
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
def test_a_call_that_cannot_be_answered_fails_with_its_tool_and_cancels_the_run(
    mock_server, context, mode, asked, why, cause
):
    statuses = ["queued", "in_progress", "requires_action"]
    mock_server.plan("runs", statuses=statuses, advance="per_poll", tool_calls=[asked])
    handlers = {
        "look_up": lambda word: word,
        "broken": broken,
        "not_json": lambda word: {word},
        "not_a_number": lambda word: float("nan"),
    }
    with pytest.raises(PortkeyToolCallFailed, match=why) as raised:
        carry_out(lambda: operator(mode, tool_handlers=handlers), context)
    assert (raised.value.tool, raised.value.call_id) == (asked["function"]["name"], "call_1")
    assert f"Tool {asked['function']['name']!r} (call_1)" in str(raised.value)
    assert "s3cret" not in str(raised.value)
    assert isinstance(raised.value.__cause__, cause or type(None))
    assert len(posts(mock_server, "/cancel")) == 1
    assert posts(mock_server, SUBMIT) == []


def test_no_handler_is_called_before_all_calls_are_found_to_be_right(mock_server, context):
    mock_server.plan("runs", statuses="requires_action", tool_calls=[call("call_1"), call("call_2", "unheard_of")])
    asked = []
    with pytest.raises(PortkeyToolCallFailed, match="unheard_of"):
        operator(tool_handlers={"look_up": asked.append}).execute(context)
    assert asked == []


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
def test_what_is_no_call_of_a_function_fails_and_cancels_the_run(mock_server, context, required_action, named):
    mock_server.plan("runs", statuses="requires_action", fields={"required_action": required_action})
    with pytest.raises(PortkeyToolCallFailed, match=named):
        operator(tool_handlers={"look_up": str}).execute(context)
    assert len(posts(mock_server, "/cancel")) == 1


def test_a_cancel_that_fails_does_not_hide_the_tools_error(mock_server, context, caplog, capsys):
    mock_server.plan("runs", statuses="requires_action", tool_calls=[call("call_1", "broken")])
    mock_server.fault(status=500, path="*/cancel")
    with pytest.raises(PortkeyToolCallFailed, match="broken"):
        operator(tool_handlers={"broken": broken}).execute(context)
    assert "Cancelling run 'run_000001' (thread_id 'thread_1') failed" in caplog.text + capsys.readouterr().out


@pytest.mark.parametrize("mode", MODES)
def test_a_tool_that_failed_skips_the_task_where_failures_do(mock_server, context, mode):
    statuses = ["queued", "in_progress", "requires_action"]
    mock_server.plan("runs", statuses=statuses, advance="per_poll", tool_calls=[call("call_1", "broken")])
    with pytest.raises(AirflowSkipException, match="broken"):
        carry_out(lambda: operator(mode, tool_handlers={"broken": broken}, soft_fail=True), context)
    assert len(posts(mock_server, "/cancel")) == 1


def killing(monkeypatch: pytest.MonkeyPatch, name: str, *, done: bool) -> None:
    """Have the worker die at the first call of a hook's method: before it, or after it was carried out."""
    method = getattr(PortkeyHook, name)

    def killed(self, *args, **kwargs):
        monkeypatch.setattr(PortkeyHook, name, method)
        if done:
            method(self, *args, **kwargs)
        raise Killed

    monkeypatch.setattr(PortkeyHook, name, killed)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("method", ["create_run", "get_job", "submit_tool_outputs"])
def test_wherever_a_worker_dies_the_next_try_goes_on_with_the_same_run(
    mock_server, context, monkeypatch, mode, method, done
):
    mock_server.plan("runs", statuses="requires_action", tool_calls=[call("call_1")], times=None)

    def make() -> PortkeyCreateRunOperator:
        return operator(mode, tool_handlers={"look_up": lambda word: word})

    killing(monkeypatch, method, done=done)
    with pytest.raises(Killed):
        carry_out(make, context)
    retry(context)
    assert carry_out(make, context)["status"] == "completed"
    assert starts(mock_server) == 1
    assert len(posts(mock_server, SUBMIT)) == 1
    assert posts(mock_server, "/cancel") == []


def test_a_worker_that_dies_in_a_handler_has_it_called_again(mock_server, context):
    mock_server.plan("runs", statuses="requires_action", tool_calls=[call("call_1")])
    asked = []

    def look_up(word):
        asked.append(word)
        if len(asked) == 1:
            raise Killed
        return word

    with pytest.raises(Killed):
        operator(tool_handlers={"look_up": look_up}).execute(context)
    retry(context)
    assert operator(tool_handlers={"look_up": look_up}).execute(context)["status"] == "completed"
    assert asked == ["x", "x"]
    assert (starts(mock_server), len(posts(mock_server, SUBMIT))) == (1, 1)


def test_an_earlier_run_is_told_from_those_of_others(mock_server, context, monkeypatch):
    killing(monkeypatch, "create_run", done=True)
    with pytest.raises(Killed):
        operator().execute(context)
    mock_server.add_run(thread_id=THREAD, fields={"metadata": {"airflow_marker": "another"}})
    mock_server.add_run(thread_id=THREAD, fields={"metadata": None})
    retry(context)
    assert operator().execute(context)["id"] == "run_000001"
    assert starts(mock_server) == 1


def test_the_search_for_an_earlier_run_ends_at_old_ones(mock_server, context, monkeypatch):
    mock_server.add_runs(thread_id=THREAD, count=250, created_at=1_600_000_000)
    killing(monkeypatch, "create_run", done=False)
    with pytest.raises(Killed):
        operator().execute(context)
    retry(context)
    assert operator().execute(context)["id"] == "run_000251"
    assert sum(one.path.endswith("/runs") and one.method == "GET" for one in mock_server.requests) == 1


def test_where_runs_cannot_be_listed_nobody_knows(mock_server, context, monkeypatch):
    killing(monkeypatch, "create_run", done=True)
    with pytest.raises(Killed):
        operator().execute(context)
    retry(context)
    mock_server.fault(status=404, path="*/runs", method="GET", times=2)
    with pytest.raises(PortkeySubmissionUnknown, match="resubmit_unknown"):
        operator().execute(context)
    assert operator(resubmit_unknown=True).execute(context)["id"] == "run_000002"


def test_a_list_that_may_come_a_moment_later_is_left_to_the_next_try(mock_server, context, monkeypatch):
    killing(monkeypatch, "create_run", done=True)
    with pytest.raises(Killed):
        operator().execute(context)
    retry(context)
    mock_server.fault(status=503, path="*/runs", method="GET")
    with pytest.raises(PortkeyServerError):
        operator().execute(context)
    retry(context)
    assert operator().execute(context)["id"] == "run_000001"


@pytest.mark.parametrize("again", [False, True])
def test_a_thread_that_was_made_in_the_same_call_cannot_be_looked_for(mock_server, context, monkeypatch, again):
    killing(monkeypatch, "create_thread_and_run", done=True)
    with pytest.raises(Killed):
        operator(thread={}).execute(context)
    retry(context)
    if again:
        run = operator(thread={}, resubmit_unknown=True).execute(context)
        assert run["thread_id"] == "thread_000002"
    else:
        with pytest.raises(PortkeySubmissionUnknown):
            operator(thread={}).execute(context)
    assert len(posts(mock_server, "/threads/runs")) == (2 if again else 1)


def test_a_run_whose_thread_was_made_in_the_same_call_is_resumed_once_it_is_known(
    mock_server, context, monkeypatch
):
    mock_server.plan("runs", statuses=["queued", "completed"], advance="per_poll")
    killing(monkeypatch, "get_job", done=False)
    with pytest.raises(Killed):
        operator(thread={}).execute(context)
    retry(context)
    assert operator(thread={}).execute(context)["id"] == "run_000001"
    assert len(posts(mock_server, "/threads/runs")) == 1


def test_a_refused_start_is_sent_again_and_a_broken_one_is_looked_for(mock_server, context):
    mock_server.fault(status=400, path="*/runs", method="POST")
    with pytest.raises(PortkeyBadRequest):
        operator().execute(context)
    mock_server.fault(disconnect=True, path="*/runs", method="POST")
    with pytest.raises(PortkeyUnreachable):
        operator().execute(context)
    assert operator().execute(context)["status"] == "completed"
    assert [one.method for one in mock_server.requests if one.path.endswith("/runs")] == ["POST", "POST", "GET", "POST"]


@pytest.mark.parametrize("mode", MODES)
def test_an_answer_that_was_lost_is_no_failure_where_the_run_has_moved_on(mock_server, context, mode):
    mock_server.plan("runs", statuses="requires_action", tool_calls=[call("call_1")])
    mock_server.fault(cut_after=10, path="*" + SUBMIT)
    run = carry_out(lambda: operator(mode, tool_handlers={"look_up": lambda word: word}), context)
    assert run["status"] == "completed"
    assert len(posts(mock_server, SUBMIT)) == 1


@pytest.mark.parametrize(("times", "ends"), [(2, None), (3, PortkeyUnreachable)])
def test_outputs_of_which_nobody_knows_are_sent_again_while_the_run_waits(mock_server, context, times, ends):
    mock_server.plan("runs", statuses="requires_action", tool_calls=[call("call_1")])
    mock_server.fault(disconnect=True, path="*" + SUBMIT, times=times)
    asked = []

    def look_up(word):
        asked.append(word)

    one = operator(tool_handlers={"look_up": look_up})
    if ends:
        with pytest.raises(ends):
            one.execute(context)
    else:
        assert one.execute(context)["status"] == "completed"
    assert (asked, len(posts(mock_server, SUBMIT))) == (["x"], 3)


def test_outputs_that_are_refused_while_the_run_waits_are_not_sent_again(mock_server, context):
    mock_server.plan("runs", statuses="requires_action", tool_calls=[call("call_1")])
    mock_server.fault(status=400, body={"error": {"message": "Too long."}}, path="*" + SUBMIT)
    with pytest.raises(PortkeyBadRequest, match="Too long"):
        operator(tool_handlers={"look_up": lambda word: word}).execute(context)
    assert len(posts(mock_server, SUBMIT)) == 1


def test_outputs_that_may_not_be_sent_are_not_sent_again(mock_server, context):
    mock_server.plan("runs", statuses="requires_action", tool_calls=[call("call_1")])
    mock_server.fault(status=403, path="*" + SUBMIT)
    with pytest.raises(PortkeyPermissionDenied):
        operator(tool_handlers={"look_up": lambda word: word}).execute(context)
    assert mock_server.requests[-1].path.endswith(SUBMIT)


@pytest.mark.parametrize("mode", MODES)
def test_a_run_that_was_cancelled_while_a_handler_worked_ends_as_what_it_is(mock_server, context, mode):
    mock_server.plan("runs", statuses="requires_action", tool_calls=[call("call_1")])

    def look_up(word):
        PortkeyHook().cancel_run(THREAD, "run_000001")
        return word

    with pytest.raises(PortkeyRunFailed, match="ended as cancelled"):
        carry_out(lambda: operator(mode, tool_handlers={"look_up": look_up}), context)


class Clock:
    """What the operator and its trigger take for the time; a handler takes long."""

    now = 1_800_000_000.0

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in ("sensors.base", "operators.run", "triggers.job"):
            time = SimpleNamespace(time=lambda: self.now, sleep=lambda seconds: None)
            monkeypatch.setattr(f"airflow_provider_portkey.{module}.time", time)


@pytest.mark.parametrize("mode", MODES)
def test_the_timeout_is_for_all_rounds_together(mock_server, context, mode, monkeypatch):
    clock = Clock(monkeypatch)
    rounds = [[call(f"call_{number}")] for number in range(9)]
    statuses = ["queued", "in_progress", "requires_action"]
    mock_server.plan("runs", statuses=statuses, advance="per_poll", tool_calls=rounds[0], further_tool_calls=rounds[1:])
    asked = []

    def look_up(word):
        asked.append(word)
        clock.now += 25
        return word

    with pytest.raises(PortkeyWaitTimeout, match=r"timeout of 1 min 0 s\. The run was left as it is"):
        carry_out(lambda: operator(mode, tool_handlers={"look_up": look_up}), context)
    assert len(asked) == 3
    assert posts(mock_server, "/cancel") == []


def test_a_retry_has_the_whole_timeout_again(mock_server, context, monkeypatch):
    clock = Clock(monkeypatch)
    mock_server.plan("runs", statuses=["in_progress", "in_progress", "completed"], advance="per_poll")
    killing(monkeypatch, "get_job", done=True)
    with pytest.raises(Killed):
        operator().execute(context)
    clock.now += 3600
    retry(context)
    assert operator().execute(context)["status"] == "completed"


@pytest.mark.parametrize(("asked", "cancels"), [(True, 1), (False, 0)])
def test_a_kill_cancels_the_run_that_the_task_started(mock_server, context, asked, cancels):
    mock_server.plan("runs", statuses="in_progress")
    one = operator(wait_for_completion=False, cancel_on_kill=asked)
    one.on_kill()
    assert mock_server.requests == []
    one.execute(context)
    one.on_kill()
    assert len(posts(mock_server, "/runs/run_000001/cancel")) == cancels


def test_a_kill_on_the_triggerer_cancels_the_run(mock_server, context):
    mock_server.plan("runs", statuses="in_progress")
    with pytest.raises(TaskDeferred) as deferred:
        operator("deferred").execute(context)
    classpath, arguments = deferred.value.trigger.serialize()
    assert classpath == "airflow_provider_portkey.triggers.run.PortkeyRunTrigger"
    assert (arguments["thread_id"], arguments["run_id"]) == (THREAD, "run_000001")
    asyncio.run(type(deferred.value.trigger)(**json.loads(json.dumps(arguments))).on_kill())
    assert len(posts(mock_server, "/runs/run_000001/cancel")) == 1


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"assistant_id": ""}, "assistant_id"),
        ({"thread_id": ""}, "thread_id"),
        ({"thread_id": ".."}, "thread_id"),
        ({"thread": "{}"}, "thread"),
        ({"additional_messages": "Hello"}, "additional_messages"),
        ({"tools": "search"}, "tools"),
        ({"metadata": "team=data"}, "metadata"),
        ({"metadata": {"airflow_marker": "x"}}, "airflow_marker"),
        ({"metadata": {str(number): "" for number in range(16)}}, "at most 15 pairs"),
        ({"metadata": {"k" * 65: "v"}}, "64"),
        ({"metadata": {"": "v"}}, "64"),
        ({"metadata": {"k": "v" * 513}}, "512"),
        ({"metadata": {"k": 1}}, "512"),
        ({"parameters": {"stream": True}}, "stream"),
        ({"parameters": {"thread_id": "t"}}, "thread_id"),
        ({"parameters": {"thread": {}}}, "thread"),
        ({"parameters": {"assistant_id": "a"}}, "assistant_id"),
        ({"parameters": {"metadata": {}}}, "metadata"),
        ({"parameters": "x"}, "parameters"),
    ],
)
def test_a_wrong_argument_is_named_before_anything_is_sent(mock_server, context, wrong, named):
    with pytest.raises(PortkeyInvalidArgument, match=named):
        operator(**wrong).execute(context)
    assert mock_server.requests == []
    assert operator().execute(context)["status"] == "completed"


def test_as_much_metadata_as_fits_is_sent(mock_server, context):
    metadata = {f"{number:064}": "v" * 512 for number in range(15)}
    operator(metadata=metadata).execute(context)
    assert len(posts(mock_server, "/runs")[0]["metadata"]) == 16


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
def test_arguments_that_cannot_go_together_are_named_while_the_dag_is_read(wrong, named):
    with pytest.raises(PortkeyInvalidArgument, match=named):
        operator(**wrong)


def test_both_ways_to_name_the_thread_are_one_too_many():
    with pytest.raises(PortkeyInvalidArgument, match="exactly one"):
        PortkeyCreateRunOperator(task_id="ask", assistant_id="a", thread_id="t", thread={})


def test_handlers_stay_out_of_the_serialized_dag_and_survive_a_copy():
    try:
        from airflow.serialization.serialized_objects import DagSerialization as Serialization
    except ImportError:
        from airflow.serialization.serialized_objects import SerializedDAG as Serialization

    lock = threading.Lock()  # cannot be copied
    with DAG(dag_id="dag", schedule=None) as dag:
        PortkeyCreateRunOperator(
            task_id="ask", assistant_id="a", thread_id="t", tool_handlers={"look_up": lambda word, lock=lock: word}
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


@pytest.mark.parametrize("mode", MODES)
def test_a_run_is_cancelled(mock_server, context, mode):
    mock_server.add_run(thread_id=THREAD, run_id="run_1", statuses="in_progress")

    def make(**how: Any) -> PortkeyCancelRunOperator:
        how |= {"mode": "reschedule" if mode == "reschedule" else "poke", "deferrable": mode == "deferred"}
        return PortkeyCancelRunOperator(task_id="stop", thread_id=THREAD, run_id="run_1", poke_interval=0, **how)

    asked = carry_out(make, context)
    assert asked["status"] == "cancelling"
    assert not {"instructions", "tools"} & asked.keys()
    assert carry_out(lambda: make(wait_for_completion=True), context)["status"] == "cancelled"
    assert carry_out(lambda: make(wait_for_completion=True), context)["status"] == "cancelled"
    assert len(posts(mock_server, "/cancel")) == 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("status", ["completed", "failed", "expired", "cancelled", "incomplete"])
def test_cancelling_a_run_that_has_ended_is_no_failure(mock_server, context, mode, status):
    mock_server.add_run(thread_id=THREAD, run_id="run_1", statuses=status)
    how = {"mode": "reschedule" if mode == "reschedule" else "poke", "deferrable": mode == "deferred"}
    run = carry_out(
        lambda: PortkeyCancelRunOperator(
            task_id="stop", thread_id=THREAD, run_id="run_1", wait_for_completion=True, **how
        ),
        context,
    )
    assert run["status"] == status
    assert posts(mock_server, "/cancel") == []


def test_a_run_that_ends_while_it_is_cancelled_is_no_failure(mock_server, context):
    mock_server.add_run(thread_id=THREAD, run_id="run_1", statuses=["in_progress", "completed"], advance="per_poll")
    mock_server.fault(status=400, path="*/cancel")
    run = PortkeyCancelRunOperator(task_id="stop", thread_id=THREAD, run_id="run_1").execute(context)
    assert run["status"] == "completed"


def test_a_cancel_that_is_refused_while_the_run_goes_on_is_a_failure(mock_server, context):
    mock_server.add_run(thread_id=THREAD, run_id="run_1", statuses="in_progress")
    mock_server.fault(status=400, path="*/cancel")
    with pytest.raises(PortkeyBadRequest):
        PortkeyCancelRunOperator(task_id="stop", thread_id=THREAD, run_id="run_1").execute(context)


def submit(outputs: Any) -> PortkeySubmitToolOutputsOperator:
    return PortkeySubmitToolOutputsOperator(task_id="answer", thread_id=THREAD, run_id="run_1", tool_outputs=outputs)


@pytest.mark.parametrize(
    "outputs",
    [
        [{"tool_call_id": "call_1", "output": "sunny"}, {"tool_call_id": "call_2", "output": {"degrees": 20}}],
        {"call_1": "sunny", "call_2": {"degrees": 20}},
        '{"call_1": "sunny", "call_2": {"degrees": 20}}',
        '[{"tool_call_id": "call_1", "output": "sunny"}, {"tool_call_id": "call_2", "output": {"degrees": 20}}]',
    ],
)
def test_outputs_are_handed_in(mock_server, context, outputs):
    mock_server.add_run(
        thread_id=THREAD, run_id="run_1", statuses="requires_action", tool_calls=[call("call_1"), call("call_2")]
    )
    run = submit(outputs).execute(context)
    assert run["status"] in ("queued", "in_progress", "completed")
    assert not {"instructions", "tools"} & run.keys()
    (body,) = posts(mock_server, SUBMIT)
    assert body["tool_outputs"] == [
        {"tool_call_id": "call_1", "output": "sunny"},
        {"tool_call_id": "call_2", "output": '{"degrees": 20}'},
    ]
    assert context.get("variables", {}) == {}


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
def test_what_are_no_outputs_is_refused_before_anything_is_sent(mock_server, context, outputs):
    with pytest.raises(PortkeyInvalidArgument, match="tool_outputs") as raised:
        submit(outputs).execute(context)
    assert "s3cret" not in str(raised.value)
    assert mock_server.requests == []


@pytest.mark.parametrize(
    ("status", "outputs", "waits"),
    [
        ("requires_action", {"call_9": "x"}, "waits for call_1"),
        ("requires_action", {"call_1": "x", "call_9": "x"}, "waits for call_1"),
        ("in_progress", {"call_1": "x"}, "is in_progress and waits for none"),
        ("expired", {"call_1": "x"}, "is expired and waits for none"),
    ],
)
def test_outputs_that_the_run_does_not_wait_for_are_refused(mock_server, context, status, outputs, waits):
    mock_server.add_run(thread_id=THREAD, run_id="run_1", statuses=status, tool_calls=[call("call_1")])
    with pytest.raises(PortkeyInvalidArgument, match=waits):
        submit(outputs).execute(context)
    assert posts(mock_server, SUBMIT) == []


@pytest.mark.parametrize("done", [False, True])
def test_a_worker_that_dies_while_it_hands_in_does_it_once(mock_server, context, monkeypatch, done):
    mock_server.add_run(thread_id=THREAD, run_id="run_1", statuses="requires_action", tool_calls=[call("call_1")])
    killing(monkeypatch, "submit_tool_outputs", done=done)
    with pytest.raises(Killed):
        submit({"call_1": "x"}).execute(context)
    retry(context)
    assert submit({"call_1": "x"}).execute(context)["status"] in ("queued", "completed")
    assert len(posts(mock_server, SUBMIT)) == 1


def test_an_answer_to_the_outputs_that_was_lost_is_no_failure(mock_server, context):
    mock_server.add_run(thread_id=THREAD, run_id="run_1", statuses="requires_action", tool_calls=[call("call_1")])
    mock_server.fault(cut_after=10, path="*" + SUBMIT)
    assert submit({"call_1": "x"}).execute(context)["status"] == "completed"
    assert len(posts(mock_server, SUBMIT)) == 1


def test_outputs_that_came_too_late_fail_with_the_runs_reason(mock_server, context, monkeypatch):
    statuses = ["requires_action", "expired"]
    mock_server.add_run(
        thread_id=THREAD, run_id="run_1", statuses=statuses, advance="per_poll", tool_calls=[call("call_1")]
    )
    mock_server.fault(status=400, path="*" + SUBMIT)
    with pytest.raises(PortkeyRunFailed, match=r"Run 'run_1' .* ended as expired"):
        submit({"call_1": "x"}).execute(context)
