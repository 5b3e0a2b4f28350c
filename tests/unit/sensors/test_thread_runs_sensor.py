"""Waiting for many runs of a thread, alike in every mode."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_portkey.client import aio, sync
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
from airflow_provider_portkey.triggers import job as trigger_module
from airflow_provider_portkey.triggers import run as run_triggers

BEGAN = 1_800_000_000.0
MODES = ("poke", "reschedule", "deferred")
BROKEN = PortkeyServerError("broken", status_code=500)
NEVER = 10**6

A_SECOND_EACH = {f"run_{number}": [("completed", number)] for number in range(250)}


@dataclass
class Portkey:
    """A thread whose runs move with the time, which only sleeping moves."""

    now: float = BEGAN
    runs: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    unlisted: set[str] = field(default_factory=set)
    #: Seconds at which the list, or single runs, fail.
    failures: list[tuple[float, float, Exception]] = field(default_factory=list)
    asked: list[tuple[float, str]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    rescheduled: datetime | None = None

    def run(self, run_id: str) -> dict[str, Any]:
        status, since = "in_progress", 0.0
        for after, moment in self.runs[run_id]:
            if self.now - BEGAN >= moment:
                status, since = after, moment
        over = status in ("completed", "failed", "expired", "incomplete", "cancelled")
        return {
            "id": run_id,
            "status": status,
            "created_at": int(BEGAN) - 30,
            "completed_at": int(BEGAN + since) if status == "completed" else None,
            "last_error": {"code": "server_error", "message": f"{run_id} broke."} if status == "failed" else None,
            "usage": {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3} if over else None,
            "instructions": "x" * 100,
        }

    def get(self, path: str, ids: dict[str, str], query: list[tuple[str, str]] | None = None) -> dict[str, Any]:
        assert ids["thread_id"] == "thread_1"
        seconds = self.now - BEGAN
        self.asked.append((seconds, ids.get("run_id", "list")))
        for since, until, error in self.failures:
            if since <= seconds < until:
                raise error
        if run_id := ids.get("run_id"):
            if run_id not in self.runs:
                raise PortkeyNotFoundError(f"GET /threads/thread_1/runs/{run_id}: no such run", status_code=404)
            return self.run(run_id)
        asked = dict(query or ())
        assert (asked["limit"], asked["order"]) == ("100", "desc")
        listed = [run_id for run_id in self.runs if run_id not in self.unlisted]
        start = listed.index(asked["after"]) + 1 if "after" in asked else 0
        page = listed[start : start + 100]
        return {"data": [self.run(run_id) for run_id in page], "has_more": start + 100 < len(listed)}

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds

    def requests(self, seconds: float) -> list[str]:
        return [what for moment, what in self.asked if moment == seconds]


@pytest.fixture
def portkey(monkeypatch: pytest.MonkeyPatch, portkey_connection: object) -> Portkey:
    fake = Portkey()

    async def aget(self, path, ids, query=None):
        return fake.get(path, ids, query)

    async def asleep(seconds: float) -> None:
        if seconds > 0:
            fake.sleep(seconds)

    class Time:
        time = staticmethod(lambda: fake.now)
        monotonic = staticmethod(lambda: fake.now)
        sleep = staticmethod(fake.sleep)

    monkeypatch.setattr(
        sync.PortkeyClient, "get", lambda self, path, ids, query=None, *, max_retries: fake.get(path, ids, query)
    )
    monkeypatch.setattr(aio.AsyncPortkeyClient, "get", aget)
    monkeypatch.setattr(trigger_module, "sleep_to_grid", asleep)
    base = next(cls for cls in PortkeyThreadRunsSensor.__mro__ if cls.__name__ == "BaseSensorOperator")
    sensors = "airflow_provider_portkey.sensors"
    for module in (
        "airflow_provider_portkey.tasks.wait",
        f"{sensors}.run",
        base.__module__,
        trigger_module,
        run_triggers,
    ):
        monkeypatch.setattr(f"{module}.time" if isinstance(module, str) else f"{module.__name__}.time", Time)
    if not AIRFLOW_V_3_0_PLUS:
        monkeypatch.setattr(f"{base.__module__}._orig_start_date", lambda **_: fake.rescheduled)
        monkeypatch.setattr(f"{base.__module__}._is_metadatabase_mysql", lambda: False)
        clock = SimpleNamespace(utcnow=lambda: datetime.fromtimestamp(fake.now, tz=UTC))
        monkeypatch.setattr(f"{base.__module__}.timezone", clock)
    return fake


class Task:
    """Runs the sensor to its end as Airflow would, in one of the three modes."""

    def __init__(self, mode: str, portkey: Portkey, **arguments: Any) -> None:
        self.mode = mode
        self.portkey = portkey
        self.store: dict[str, Any] | None = {}
        self.try_number = 1
        self.trigger_row = ""
        how = {"deferrable": True} if mode == "deferred" else {"mode": mode, "deferrable": False}
        usual = {"thread_id": "thread_1", "poke_interval": 10, "timeout": 300}
        self._make = lambda: PortkeyThreadRunsSensor(task_id="wait", **(usual | how | arguments))

    def run(self) -> Any:
        if self.mode == "deferred":
            return self._run_deferred()
        while True:
            try:
                return self.process()
            except AirflowRescheduleException:
                self.portkey.rescheduled = self.portkey.rescheduled or datetime.fromtimestamp(self.portkey.now, tz=UTC)
                self.portkey.sleep(10)

    def process(self) -> Any:
        return self._make().execute(self._context(self.portkey.rescheduled))

    def _context(self, first: datetime | None) -> dict[str, Any]:
        class Store:
            get = staticmethod(lambda key: json.loads(self.store.get(key, "null")))
            set = staticmethod(lambda key, value: self.store.__setitem__(key, json.dumps(value)))

        class TaskInstance:
            dag_id, task_id, run_id, map_index = "dag", "wait", "run", -1
            try_number, max_tries = self.try_number, 0
            get_first_reschedule_date = staticmethod(lambda context: first)

        context = {"ti": TaskInstance, "task_reschedule_count": 0 if first is None else 1}
        return context if self.store is None else context | {"task_state_store": Store}

    def _run_deferred(self) -> Any:
        try:
            return self.process()
        except TaskDeferred as deferred:
            classpath, arguments = deferred.trigger.serialize()
            assert deferred.timeout > timedelta(seconds=arguments["deadline"] - self.portkey.now)
        self.trigger_row = json.dumps(arguments)
        module, _, name = classpath.rpartition(".")
        trigger = getattr(__import__(module, fromlist=[name]), name)(**json.loads(self.trigger_row))
        assert trigger.serialize() == (classpath, arguments)
        event = json.loads(json.dumps(asyncio.run(anext(trigger.run())).payload))
        return self._make().resume_execution("execute_complete", {"event": event}, self._context(None))


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


def account(**changes: Any) -> dict[str, Any]:
    counts = changes.get("counts", {})
    ended = {status: count for status, count in counts.items() if status != "in_progress"}
    usage = {
        name: tokens * sum(count for status, count in ended.items() if status != "requires_action")
        for name, tokens in (("prompt_tokens", 2), ("completion_tokens", 1), ("total_tokens", 3))
    }
    return {
        "thread_id": "thread_1",
        "total": sum(counts.values()),
        "failure_statuses": [],
        "requires_action": [],
        "first": None,
        "usage": usage,
        "tokens_by_status": {s: 3 * count for s, count in ended.items() if s != "requires_action"},
    } | changes


ENDS_WELL = {
    "all end well": (
        {"a": [("completed", 25)], "b": [("completed", 5)]},
        {"run_ids": ["a", "b"]},
        account(counts={"completed": 2}),
    ),
    "all had ended before": (
        {"a": [("completed", 0)], "b": [("completed", 0)]},
        {"run_ids": "a, b"},
        account(counts={"completed": 2}),
    ),
    "one run": ({"a": [("completed", 25)]}, {"run_ids": ["a"]}, account(counts={"completed": 1})),
    "two hundred and fifty": (
        A_SECOND_EACH,
        {"run_ids": json.dumps(list(A_SECOND_EACH))},
        account(counts={"completed": 250}),
    ),
    "as many bad ends as allowed": (
        {"a": [("failed", 5)], "b": [("expired", 25)], "c": [("completed", 35)]},
        {"run_ids": "['a', 'b', 'c']", "max_failed_runs": 2},
        account(counts={"completed": 1, "expired": 1, "failed": 1}, failure_statuses=["a", "b"]),
    ),
    "any number of bad ends": (
        {"a": [("failed", 5)], "b": [("failed", 25)]},
        {"run_ids": ["a", "b"], "max_failed_runs": None},
        account(counts={"failed": 2}, failure_statuses=["a", "b"]),
    ),
    "any": (
        {"a": [("failed", 5)], "b": [("completed", 29)], "c": [("completed", 27)], "d": [("completed", NEVER)]},
        {"run_ids": list("abcd"), "wait_for": "any"},
        account(counts={"completed": 2, "failed": 1, "in_progress": 1}, failure_statuses=["a"], first="c"),
    ),
    "one waits for its caller": (
        {"a": [("requires_action", 5)], "b": [("completed", 25)]},
        {"run_ids": ["a", "b"], "on_requires_action": "return"},
        account(counts={"completed": 1, "requires_action": 1}, requires_action=["a"]),
    ),
    "somebody else answers": (
        {"a": [("requires_action", 5), ("in_progress", 12), ("completed", 31)], "b": [("completed", 25)]},
        {"run_ids": ["a", "b"], "on_requires_action": "wait"},
        account(counts={"completed": 2}),
    ),
    "an unknown status": (
        {"a": [("meditating", 5), ("completed", 31)], "b": [("completed", 25)]},
        {"run_ids": ["a", "b"]},
        account(counts={"completed": 2}),
    ),
    "those that are active": (
        {"new": [("completed", 25)], "over": [("completed", 0)], "old": [("completed", 15)]},
        {},
        account(counts={"completed": 2}),
    ),
    "none is active": ({"over": [("failed", 0)]}, {}, account(counts={}, total=0)),
    "an empty list": ({"a": [("completed", NEVER)]}, {"run_ids": []}, account(counts={}, total=0)),
}

FAILS = {
    "a bad end": (
        {"a": [("failed", 25)], "b": [("completed", NEVER)]},
        {},
        (PortkeyRunsFailedError, AirflowFailException),
        r"1 of 2 runs .*max_failed_runs=0\. a failed: server_error: a broke\.\. Those that go on",
        30,
    ),
    "one bad end too many": (
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
    "one waits for its caller": (
        {"a": [("requires_action", 25)], "b": [("completed", NEVER)]},
        {},
        (PortkeyActionRequiredError,),
        "'a' .*on_requires_action",
        30,
    ),
    "time is over": (
        {"a": [("completed", NEVER)], "b": [("completed", 5)]},
        {},
        (AirflowSensorTimeout,),
        "1 of 2 runs .*timeout of 5 min",
        300,
    ),
    "looks fail": (
        {"a": [("completed", NEVER)], "b": [("completed", NEVER)]},
        {"failures": [(15, NEVER, BROKEN)]},
        (PortkeyPollingGaveUpError,),
        "2 of 2 runs .*5 looks in a row failed",
        60,
    ),
    "looks fail from the first one on": (
        {"a": [("completed", NEVER)], "b": [("completed", NEVER)]},
        {"failures": [(0, NEVER, BROKEN)], "max_consecutive_failures": 3},
        (PortkeyPollingGaveUpError,),
        "3 looks in a row failed",
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


def task_of(mode: str, portkey: Portkey, runs: dict[str, Any], arguments: dict[str, Any], **more: Any) -> Task:
    portkey.runs = dict(runs)
    arguments = dict(arguments)
    portkey.failures = arguments.pop("failures", [])
    return Task(mode, portkey, **(arguments | more))


@pytest.mark.parametrize("case", ENDS_WELL)
def test_ends_well_with_the_same_account_in_every_mode(case, mode, portkey):
    runs, arguments, expected = ENDS_WELL[case]
    assert task_of(mode, portkey, runs, arguments).run() == expected


@pytest.mark.parametrize("case", FAILS)
def test_fails_alike_in_every_mode(case, mode, portkey):
    runs, arguments, kinds, message, after = FAILS[case]
    arguments = {"run_ids": list(runs)} | arguments
    by_airflow = case == "time is over" and mode == "reschedule" and not AIRFLOW_V_3_0_PLUS
    # Airflow 2 tells a task in reschedule mode not when its wait began; its own time-out ends it there.
    with pytest.raises(kinds[0], match=None if by_airflow else message) as raised:
        task_of(mode, portkey, runs, arguments).run()
    assert all(isinstance(raised.value, kind) for kind in kinds)
    assert after <= portkey.now - BEGAN <= after + (10 if by_airflow else 0)
    if case == "time is over" and not by_airflow:
        assert isinstance(raised.value, PortkeyWaitTimeoutError)


@pytest.mark.parametrize("choice", ["soft_fail", "never_fail"])
@pytest.mark.parametrize("case", FAILS)
def test_soft_fail_and_never_fail_skip_whatever_the_end(case, choice, mode, portkey):
    runs, arguments, *_ = FAILS[case]
    with pytest.raises(AirflowSkipException):
        task_of(mode, portkey, runs, {"run_ids": list(runs)} | arguments, **{choice: True}).run()


def test_what_a_failure_carries_is_the_account(mode, portkey):
    runs = {"a": [("failed", 25)], "b": [("completed", NEVER)]}
    with pytest.raises(PortkeyRunsFailedError) as raised:
        task_of(mode, portkey, runs, {"run_ids": ["a", "b"]}).run()
    assert raised.value.status == "failed"
    assert raised.value.job == account(counts={"failed": 1, "in_progress": 1}, failure_statuses=["a"])


def test_two_hundred_runs_cost_two_requests_a_look(mode, portkey):
    portkey.runs = {f"run_{number}": [("completed", 55)] for number in range(500)}
    Task(mode, portkey, run_ids=[f"run_{number}" for number in range(200)]).run()
    for moment in range(0, 61, 10):
        assert portkey.requests(moment) == ["list"] * 2


def test_runs_that_the_list_does_not_reach_are_asked_for_by_themselves(mode, portkey):
    portkey.runs = {f"run_{number}": [("completed", 25)] for number in range(300)}
    portkey.unlisted = {"run_7"}
    Task(mode, portkey, run_ids=["run_0", "run_1", "run_7", "run_290"]).run()
    for moment in (10, 20):
        assert sorted(portkey.requests(moment)) == ["list", "run_290", "run_7"]


def test_runs_that_begin_after_the_first_look_are_not_waited_for(mode, portkey):
    portkey.runs = {"a": [("completed", 25)], "b": [("completed", 35)]}
    task = Task(mode, portkey)
    get = portkey.get

    def one_more_later(*arguments):
        if portkey.now > BEGAN + 5:
            portkey.runs = {"late": [("completed", NEVER)], **portkey.runs}
        return get(*arguments)

    portkey.get = one_more_later
    assert task.run() == account(counts={"completed": 2})


def test_the_first_look_may_fail_before_the_active_runs_are_known(mode, portkey):
    portkey.failures = [(0, 15, BROKEN)]
    portkey.runs = {"a": [("completed", 45)], "over": [("completed", 0)]}
    assert Task(mode, portkey).run() == account(counts={"completed": 1})


def test_the_search_for_active_runs_ends_where_all_are_older_than_asked_for(portkey):
    portkey.runs = {f"run_{number}": [("completed", 0)] for number in range(1000)}
    Task("poke", portkey, created_within=20).run()
    assert portkey.requests(0) == ["list"]


def test_each_change_of_the_counts_is_one_line_in_every_mode(mode, portkey, caplog, capsys):
    portkey.runs = {"a": [("completed", 35)], "b": [("completed", 15)]}
    with caplog.at_level("INFO"):
        Task(mode, portkey, run_ids=["a", "b"]).run()
    shown = [caplog.text, capsys.readouterr().out]  # Airflow 2 logs to both
    assert max(text.count("Runs of thread 'thread_1' after") for text in shown) == 3


def test_what_the_trigger_gets_and_what_is_remembered_is_small(portkey):
    runs = {f"run_{number:024}": [("completed", 25)] for number in range(200)}
    for mode in ("deferred", "reschedule"):
        portkey.now, portkey.rescheduled = BEGAN, None
        task = task_of(mode, portkey, runs, {"run_ids": list(runs)})
        task.run()
        assert len(task.trigger_row or json.dumps(task.store)) < 200 * 45
        assert "instructions" not in task.trigger_row + json.dumps(task.store)


def test_a_retry_in_reschedule_mode_begins_anew(portkey):
    portkey.runs = {"a": [("completed", NEVER)]}
    task = Task("reschedule", portkey)
    with pytest.raises(AirflowRescheduleException):
        task.process()
    portkey.runs = {"b": [("completed", 5)]}
    task.try_number, portkey.now = 2, BEGAN + 10
    assert task.run() == account(counts={}, total=0)


@pytest.mark.parametrize("ends", ["completed", "failed"])
def test_before_airflow_3_3_a_variable_is_the_memory_and_is_gone_afterwards(portkey, monkeypatch, ends):
    variables: dict[str, str] = {}

    class Variable:
        @staticmethod
        def get(key, default, deserialize_json):
            return json.loads(variables[key]) if key in variables else default

        @staticmethod
        def set(key, value, serialize_json):
            variables[key] = json.dumps(value)

        @staticmethod
        def delete(key):
            variables.pop(key, None)

    monkeypatch.setattr("airflow.providers.common.compat.sdk.Variable", Variable, raising=False)
    portkey.runs = {"a": [(ends, 25)], "over": [("completed", 0)]}
    task = Task("reschedule", portkey)
    task.store = None
    with pytest.raises(AirflowRescheduleException):
        task.process()
    assert json.loads(variables["portkey_job__dag__wait__run__-1"])["runs"]["waiting"] == ["a"]
    portkey.runs["late"] = [("completed", NEVER)]
    portkey.rescheduled, portkey.now = datetime.fromtimestamp(BEGAN, tz=UTC), BEGAN + 30
    if ends == "completed":
        assert task.process() == account(counts={"completed": 1})
    else:
        with pytest.raises(PortkeyRunsFailedError):
            task.process()
    assert variables == {}


@pytest.mark.parametrize("asked", [True, False])
def test_a_kill_on_the_worker_cancels_what_is_still_active(portkey, monkeypatch, asked):
    def cancel(self, job, ids):
        portkey.cancelled.append(ids["run_id"])
        if ids["run_id"] == "b":
            raise PortkeyServerError("broken", status_code=500)

    monkeypatch.setattr(PortkeyHook, "cancel_job", cancel)
    portkey.runs = {name: [("completed", NEVER)] for name in "bcd"} | {"a": [("completed", 0)]}
    sensor = PortkeyThreadRunsSensor(
        task_id="wait", thread_id="thread_1", run_ids=list("abcd"), cancel_on_kill=asked, timeout=300
    )
    sensor._poller = sensor._start({})
    sensor.poke({})
    sensor.on_kill()
    assert portkey.cancelled == (["b", "c", "d"] if asked else [])


@pytest.mark.parametrize("wrong", ["", "None", {"a": 1}, ["a", ""], ["a", ".."]])
def test_ids_that_rendered_to_nothing_are_named_and_nothing_is_sent(mode, portkey, wrong):
    with pytest.raises(PortkeyInvalidArgumentError, match="run_ids"):
        Task(mode, portkey, run_ids=wrong).run()
    with pytest.raises(AirflowSkipException):
        Task(mode, portkey, run_ids=wrong, soft_fail=True).run()
    assert portkey.asked == []


@pytest.mark.parametrize(
    "wrong",
    [{"wait_for": "none"}, {"max_failed_runs": -1}, {"created_within": 0}, {"on_requires_action": "x"}],
)
def test_a_wrong_argument_is_refused_when_the_dag_is_parsed(wrong):
    with pytest.raises(PortkeyInvalidArgumentError, match=next(iter(wrong))):
        PortkeyThreadRunsSensor(task_id="wait", thread_id="thread_1", **wrong)


def test_the_ids_are_templated():
    assert {"portkey_conn_id", "thread_id", "run_ids"} <= set(PortkeyThreadRunsSensor.template_fields)
