"""What holds for the sensor of every kind of job, in every mode."""

from __future__ import annotations

import asyncio
import json
import re
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

from airflow_provider_portkey.client import aio
from airflow_provider_portkey.exceptions import (
    PortkeyActionRequiredError,
    PortkeyAuthenticationError,
    PortkeyInvalidArgumentError,
    PortkeyPollingGaveUpError,
    PortkeyRequestError,
    PortkeyServerError,
    PortkeyWaitTimeoutError,
)
from airflow_provider_portkey.hooks.portkey import PortkeyHook
from airflow_provider_portkey.jobs.spec import JobSpec
from airflow_provider_portkey.sensors.job import (
    PortkeyBatchSensor,
    PortkeyCustomJobSensor,
    PortkeyFineTuningJobSensor,
    PortkeyLogExportSensor,
    PortkeyResponseSensor,
)
from airflow_provider_portkey.sensors.run import PortkeyRunSensor
from airflow_provider_portkey.tasks.wait import BasePortkeyWaitOperator
from airflow_provider_portkey.triggers import job as trigger_module

GET_JOB = PortkeyHook.get_job
MODES = ("poke", "reschedule", "deferred")


@dataclass(frozen=True)
class Kind:
    """A sensor with the ids it takes."""

    sensor: type[BasePortkeyWaitOperator]
    ids: dict[str, str]

    def answer(self, status: str, **fields: Any) -> dict[str, Any]:
        return {
            "id": "job_1",
            "status": status,
            **dict.fromkeys(self.sensor.job.excluded_fields, "excluded_fields"),
            **fields,
        }


FILE_BATCH = JobSpec(
    kind="file batch",
    path="/vector_stores/{vector_store_id}/file_batches/{batch_id}",
    active_statuses=["in_progress"],
    success_statuses=["completed"],
    failure_statuses=["failed", "cancelled"],
    error_fields=["last_error"],
    cancel_path="/vector_stores/{vector_store_id}/file_batches/{batch_id}/cancel",
)


class FileBatchSensor(PortkeyCustomJobSensor):
    """The sensor for any kind with a user's declaration, made to take its ids as the others do."""

    job = FILE_BATCH
    template_fields = (*PortkeyCustomJobSensor.template_fields, *FILE_BATCH.id_names)

    def __init__(self, *, vector_store_id, batch_id, **kwargs):
        self.vector_store_id, self.batch_id = vector_store_id, batch_id
        super().__init__(job_spec=FILE_BATCH, ids={"vector_store_id": vector_store_id, "batch_id": batch_id}, **kwargs)


KINDS = [
    Kind(PortkeyRunSensor, {"thread_id": "thread_1", "run_id": "run_1"}),
    Kind(PortkeyResponseSensor, {"response_id": "resp_1"}),
    Kind(PortkeyBatchSensor, {"batch_id": "batch_1"}),
    Kind(PortkeyFineTuningJobSensor, {"fine_tuning_job_id": "ftjob_1"}),
    Kind(PortkeyLogExportSensor, {"export_id": "export_1"}),
    Kind(FileBatchSensor, {"vector_store_id": "vs_1", "batch_id": "vsfb_1"}),
]


def all_of(statuses: str) -> list[Any]:
    return [
        pytest.param(kind, status, id=f"{kind.sensor.job.kind}-{status}")
        for kind in KINDS
        for status in sorted(getattr(kind.sensor.job, statuses))
    ]


@dataclass
class Portkey:
    """Answers looks from a script; the last answer is repeated. It keeps the time, which only sleeping moves."""

    script: list[dict[str, Any] | Exception]
    now: float = 1_800_000_000.0
    looks: int = 0
    cancelled: list[dict[str, str]] = field(default_factory=list)
    rescheduled: datetime | None = None

    def look(self) -> dict[str, Any]:
        answer = self.script[min(self.looks, len(self.script) - 1)]
        self.looks += 1
        if isinstance(answer, Exception):
            raise answer
        return answer

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


@pytest.fixture
def portkey(monkeypatch: pytest.MonkeyPatch, portkey_connection: object) -> Portkey:
    """Stand for Portkey in both clients, and for the clock."""
    fake = Portkey([])

    async def aget(self, path, ids):
        return fake.look()

    async def asleep(seconds: float) -> None:
        if seconds > 0:
            fake.sleep(seconds)

    class Time:
        time = staticmethod(lambda: fake.now)
        monotonic = staticmethod(lambda: fake.now)
        sleep = staticmethod(fake.sleep)

    monkeypatch.setattr(PortkeyHook, "get_job", lambda self, job, ids, max_retries=None: fake.look())
    monkeypatch.setattr(PortkeyHook, "cancel_job", lambda self, job, ids: fake.cancelled.append(dict(ids)))
    monkeypatch.setattr(aio.AsyncPortkeyClient, "get", aget)
    monkeypatch.setattr(trigger_module, "sleep_to_grid", asleep)
    monkeypatch.setattr(trigger_module, "time", Time)
    monkeypatch.setattr("airflow_provider_portkey.tasks.wait.time", Time)
    base = next(cls for cls in BasePortkeyWaitOperator.__mro__ if cls.__name__ == "BaseSensorOperator")
    monkeypatch.setattr(f"{base.__module__}.time", Time)
    if not AIRFLOW_V_3_0_PLUS:
        monkeypatch.setattr(f"{base.__module__}._orig_start_date", lambda **_: fake.rescheduled)
        monkeypatch.setattr(f"{base.__module__}._is_metadatabase_mysql", lambda: False)
        clock = SimpleNamespace(utcnow=lambda: datetime.fromtimestamp(fake.now, tz=UTC))
        monkeypatch.setattr(f"{base.__module__}.timezone", clock)
    return fake


class Task:
    """Runs a sensor to its end as Airflow would, in one of the three modes."""

    def __init__(self, kind: Kind, mode: str, portkey: Portkey, **arguments: Any) -> None:
        self.mode = mode
        self.portkey = portkey
        self.store: dict[str, Any] = {}
        self.events: list[dict[str, Any]] = []
        how = {"deferrable": True} if mode == "deferred" else {"mode": mode, "deferrable": False}
        self._make = lambda: kind.sensor(
            task_id="wait", **({"poke_interval": 10, "timeout": 300} | kind.ids | how | arguments)
        )

    def run(self) -> Any:
        if self.mode == "deferred":
            return self._run_deferred()
        while True:
            try:
                return self._make().execute(self._context(self.portkey.rescheduled))
            except AirflowRescheduleException:
                self.portkey.rescheduled = self.portkey.rescheduled or datetime.fromtimestamp(self.portkey.now, tz=UTC)
                self.portkey.sleep(10)

    def _context(self, first: datetime | None) -> dict[str, Any]:
        class Store:
            get = staticmethod(self.store.get)
            set = staticmethod(self.store.__setitem__)

        class TaskInstance:
            dag_id, task_id, run_id, map_index = "dag", "wait", "run", -1
            try_number, max_tries = 1, 0
            get_first_reschedule_date = staticmethod(lambda context: first)

        return {"ti": TaskInstance, "task_state_store": Store, "task_reschedule_count": 0 if first is None else 1}

    def _run_deferred(self) -> Any:
        sensor = self._make()
        try:
            return sensor.execute(self._context(None))
        except TaskDeferred as deferred:
            classpath, arguments = deferred.trigger.serialize()
            assert deferred.timeout > timedelta(seconds=arguments["deadline"] - self.portkey.now)
        module, _, name = classpath.rpartition(".")
        trigger = getattr(__import__(module, fromlist=[name]), name)(**json.loads(json.dumps(arguments)))
        event = json.loads(json.dumps(asyncio.run(anext(trigger.run())).payload))
        self.events.append(event)
        return self._make().resume_execution("execute_complete", {"event": event}, self._context(None))


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=KINDS, ids=lambda kind: kind.sensor.job.kind)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


def active_statuses(kind: Kind) -> dict[str, Any]:
    return kind.answer(sorted(kind.sensor.job.active_statuses)[0])


def well(kind: Kind) -> dict[str, Any]:
    return kind.answer(sorted(kind.sensor.job.success_statuses)[0], usage={"total_tokens": 5})


def badly(kind: Kind) -> dict[str, Any]:
    return kind.answer(sorted(kind.sensor.job.failure_statuses)[0])


def test_waits_and_returns_the_job_without_its_bulky_fields(kind, mode, portkey):
    portkey.script = [active_statuses(kind), active_statuses(kind), active_statuses(kind), well(kind)]
    job = Task(kind, mode, portkey).run()
    assert job == {name: value for name, value in well(kind).items() if name not in kind.sensor.job.excluded_fields}
    assert portkey.looks == 4


@pytest.mark.parametrize(("kind", "status"), all_of("active_statuses"))
def test_every_going_status_goes_on(kind, status, mode, portkey):
    portkey.script = [kind.answer(status), well(kind)]
    Task(kind, mode, portkey).run()
    assert portkey.looks == 2


@pytest.mark.parametrize(("kind", "status"), all_of("success_statuses"))
def test_every_good_status_succeeds(kind, status, mode, portkey):
    portkey.script = [active_statuses(kind), kind.answer(status)]
    assert Task(kind, mode, portkey).run()["status"] == status


@pytest.mark.parametrize(("kind", "status"), all_of("failure_statuses"))
def test_every_bad_status_fails_without_a_retry_and_with_the_jobs_reason(kind, status, mode, portkey):
    reasons = {kind.sensor.job.error_fields[0]: {"code": "some_code", "message": "Some words."}}
    portkey.script = [active_statuses(kind), kind.answer(status, **reasons)]
    with pytest.raises(kind.sensor.job.failure_exception, match=r"some_code: Some words\.") as raised:
        Task(kind, mode, portkey).run()
    assert isinstance(raised.value, AirflowFailException)
    assert raised.value.status == status


def test_an_unknown_status_is_no_end(kind, mode, portkey):
    portkey.script = [active_statuses(kind), kind.answer("meditating"), kind.answer("meditating"), well(kind)]
    assert Task(kind, mode, portkey).run()["status"] == well(kind)["status"]


def test_the_deadline_ends_the_wait_with_a_sensor_timeout(kind, mode, portkey):
    portkey.script = [active_statuses(kind)]
    began = portkey.now
    with pytest.raises(AirflowSensorTimeout) as raised:
        Task(kind, mode, portkey).run()
    # Airflow 2 tells a task in reschedule mode not when its wait began; its own time-out ends it there.
    if AIRFLOW_V_3_0_PLUS or mode != "reschedule":
        assert isinstance(raised.value, PortkeyWaitTimeoutError)
        assert re.search("timeout of 5 min 0 s.*left as it is", str(raised.value))
    assert 300 <= portkey.now - began <= 310


def test_failures_that_pass_are_tolerated(kind, mode, portkey):
    broken = PortkeyServerError("broken", status_code=500)
    portkey.script = [active_statuses(kind), *[broken] * 4, active_statuses(kind), *[broken] * 4, well(kind)]
    Task(kind, mode, portkey).run()
    assert portkey.looks == 11


def test_failures_that_stay_give_up_at_the_same_look_in_every_mode(kind, mode, portkey):
    portkey.script = [active_statuses(kind), PortkeyServerError("broken", status_code=500)]
    with pytest.raises(PortkeyPollingGaveUpError, match="5 looks in a row failed") as raised:
        Task(kind, mode, portkey).run()
    assert not isinstance(raised.value, (AirflowFailException, AirflowSensorTimeout))
    assert portkey.looks == 6


def test_failures_from_the_first_look_on_count_alike(kind, mode, portkey):
    portkey.script = [PortkeyServerError("broken", status_code=500)]
    with pytest.raises(PortkeyPollingGaveUpError):
        Task(kind, mode, portkey, max_consecutive_failures=3).run()
    assert portkey.looks == 3


@pytest.mark.parametrize("before", [0, 2])
def test_a_refusal_ends_the_wait_at_once(kind, mode, portkey, before):
    refusal = PortkeyAuthenticationError("The provider refused.", status_code=401, refused_by="provider")
    portkey.script = [*[active_statuses(kind)] * before, refusal]
    with pytest.raises(PortkeyAuthenticationError, match=r"The provider refused\.") as raised:
        Task(kind, mode, portkey).run()
    assert raised.value.refused_by == "provider"
    assert portkey.looks == before + 1


def test_silent_fail_never_gives_up_before_the_deadline(kind, mode, portkey):
    refusal = PortkeyAuthenticationError("no", status_code=401)
    portkey.script = [active_statuses(kind), *[refusal] * 12, well(kind)]
    Task(kind, mode, portkey, silent_fail=True).run()
    assert portkey.looks == 14


ENDS = {
    "ended badly": badly,
    "timed out": active_statuses,
    "gave up": lambda kind: PortkeyServerError("broken", status_code=500),
    "refused": lambda kind: PortkeyAuthenticationError("no", status_code=401),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("early", [True, False], ids=["at the first look", "later"])
@pytest.mark.parametrize("choice", ["soft_fail", "never_fail"])
def test_soft_fail_and_never_fail_skip_whatever_the_end(kind, mode, portkey, end, choice, early):
    portkey.script = [ENDS[end](kind)] if early else [active_statuses(kind), ENDS[end](kind)]
    with pytest.raises(AirflowSkipException):
        Task(kind, mode, portkey, **{choice: True}).run()


@pytest.mark.parametrize("end", ENDS)
def test_without_them_each_end_raises(kind, mode, portkey, end):
    portkey.script = [active_statuses(kind), ENDS[end](kind)]
    with pytest.raises(
        (kind.sensor.job.failure_exception, PortkeyWaitTimeoutError, PortkeyPollingGaveUpError, PortkeyRequestError)
    ):
        Task(kind, mode, portkey).run()


def test_a_job_that_has_ended_is_not_deferred(kind, portkey):
    portkey.script = [well(kind)]
    task = Task(kind, "deferred", portkey)
    assert task.run()["status"] == well(kind)["status"]
    assert task.events == []


def test_each_change_of_status_is_one_line_in_every_mode(kind, mode, portkey, caplog, capsys):
    portkey.script = [
        active_statuses(kind),
        active_statuses(kind),
        active_statuses(kind),
        kind.answer("meditating"),
        kind.answer("meditating"),
        well(kind),
    ]
    with caplog.at_level("INFO"):
        Task(kind, mode, portkey).run()
    shown = [caplog.text, capsys.readouterr().out]  # Airflow 2 logs to both
    assert max(text.count(f"is {active_statuses(kind)['status']} after") for text in shown) == 1
    assert max(text.count("to meditating after") for text in shown) == 1


def test_a_kill_cancels_only_where_it_was_asked_for(kind, portkey):
    for asked, cancelled in [(False, []), (True, [kind.ids])]:
        kind.sensor(task_id="wait", cancel_on_kill=asked, **kind.ids).on_kill()
        assert portkey.cancelled == cancelled


@pytest.mark.parametrize(
    "wrong", [{"on_requires_action": "x"}, {"max_consecutive_failures": 0}, {"max_consecutive_failures": None}]
)
def test_a_wrong_argument_is_refused_when_the_dag_is_parsed(kind, wrong):
    with pytest.raises(PortkeyInvalidArgumentError, match=next(iter(wrong))):
        kind.sensor(task_id="wait", **kind.ids, **wrong)


def test_every_id_and_the_connection_id_are_templated(kind):
    assert {"portkey_conn_id", *kind.ids} <= set(kind.sensor.template_fields)


def test_an_id_that_rendered_to_nothing_is_named_and_nothing_is_sent(kind, mode, portkey, monkeypatch):
    monkeypatch.setattr(PortkeyHook, "get_job", GET_JOB)
    name = next(iter(kind.ids))
    monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", '{"conn_type": "portkey", "host": "http://127.0.0.1:9"}')
    with pytest.raises(PortkeyInvalidArgumentError, match=name):
        Task(kind, mode, portkey, **{name: ""}).run()


@pytest.mark.parametrize(("choice", "ends"), [("fail", PortkeyActionRequiredError), ("return", None)])
def test_a_run_that_waits_for_its_caller(mode, portkey, choice, ends):
    kind = KINDS[0]
    portkey.script = [
        active_statuses(kind),
        kind.answer("requires_action", required_action={"type": "submit_tool_outputs"}),
    ]
    task = Task(kind, mode, portkey, on_requires_action=choice)
    if ends:
        with pytest.raises(ends, match="on_requires_action"):
            task.run()
    else:
        assert task.run()["required_action"] == {"type": "submit_tool_outputs"}
