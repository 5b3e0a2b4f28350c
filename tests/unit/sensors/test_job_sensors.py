"""What holds for the sensor of every kind of job, in every mode."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
)
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_portkey.client.paths import expand_path
from airflow_provider_portkey.exceptions import (
    PortkeyActionRequiredError,
    PortkeyAuthenticationError,
    PortkeyInvalidArgumentError,
    PortkeyPollingGaveUpError,
    PortkeyRequestError,
    PortkeyServerError,
    PortkeyWaitTimeoutError,
    PortkeyXComTooLargeError,
)
from airflow_provider_portkey.hooks.portkey import PortkeyHook
from airflow_provider_portkey.jobs.run import RUN
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


@dataclass(frozen=True)
class Kind:
    """A sensor and the ids of a job."""

    sensor: type[BasePortkeyWaitOperator]
    ids: dict[str, str]

    def response(self, status: str, **fields: Any) -> dict[str, Any]:
        return {
            **self.ids,
            "id": next(reversed(self.ids.values())),
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
    """The sensor for a declared kind of job, with an argument for each id as the other sensors have."""

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
    """Returns the responses of a script, one for each poll; the last response is repeated."""

    script: list[dict[str, Any] | Exception] = field(default_factory=list)
    polls: int = 0
    cancelled: list[dict[str, str]] = field(default_factory=list)

    def get(self, path: str, ids: dict[str, str], query: object) -> dict[str, Any]:
        expand_path(path, ids)
        response = self.script[min(self.polls, len(self.script) - 1)]
        self.polls += 1
        if isinstance(response, Exception):
            raise response
        return response


@pytest.fixture
def portkey(monkeypatch, serve) -> Portkey:
    fake = Portkey()
    serve(fake.get)
    monkeypatch.setattr(PortkeyHook, "cancel_job", lambda self, job, ids: fake.cancelled.append(dict(ids)))
    return fake


@pytest.fixture
def wait(task, mode):
    """Wait in one of the three modes for a job of a kind."""
    return lambda kind, **arguments: task(mode, kind.sensor, **(kind.ids | arguments)).run()


@pytest.fixture(params=KINDS, ids=lambda kind: kind.sensor.job.kind)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


def active(kind: Kind) -> dict[str, Any]:
    return kind.response(sorted(kind.sensor.job.active_statuses)[0])


def succeeded(kind: Kind) -> dict[str, Any]:
    return kind.response(sorted(kind.sensor.job.success_statuses)[0], usage={"total_tokens": 5})


def failed(kind: Kind) -> dict[str, Any]:
    return kind.response(sorted(kind.sensor.job.failure_statuses)[0])


def test_waits_and_returns_the_job_without_its_excluded_fields(kind, wait, portkey):
    portkey.script = [active(kind), active(kind), active(kind), succeeded(kind)]
    job = wait(kind)
    assert job == {
        name: value for name, value in succeeded(kind).items() if name not in kind.sensor.job.excluded_fields
    }
    assert portkey.polls == 4


@pytest.mark.parametrize(("kind", "status"), all_of("active_statuses"))
def test_the_wait_continues_at_every_active_status(kind, status, wait, portkey):
    portkey.script = [kind.response(status), succeeded(kind)]
    wait(kind)
    assert portkey.polls == 2


@pytest.mark.parametrize(("kind", "status"), all_of("success_statuses"))
def test_every_success_status_succeeds(kind, status, wait, portkey):
    portkey.script = [active(kind), kind.response(status)]
    assert wait(kind)["status"] == status


@pytest.mark.parametrize(("kind", "status"), all_of("failure_statuses"))
def test_every_failure_status_fails_without_a_retry_and_with_the_jobs_reason(kind, status, wait, portkey):
    reasons = {kind.sensor.job.error_fields[0]: {"code": "some_code", "message": "Some words."}}
    portkey.script = [active(kind), kind.response(status, **reasons)]
    with pytest.raises(kind.sensor.job.failure_exception, match=r"some_code: Some words\.") as raised:
        wait(kind)
    assert isinstance(raised.value, AirflowFailException)
    assert raised.value.status == status


def test_the_wait_continues_at_an_unknown_status(kind, wait, portkey):
    portkey.script = [active(kind), kind.response("meditating"), kind.response("meditating"), succeeded(kind)]
    assert wait(kind)["status"] == succeeded(kind)["status"]


def test_the_deadline_ends_the_wait_with_a_sensor_timeout(kind, mode, wait, portkey, clock):
    portkey.script = [active(kind)]
    with pytest.raises(AirflowSensorTimeout) as raised:
        wait(kind)
    # Airflow 2 does not tell a rescheduled task when its wait began; Airflow's own time-out ends the wait there.
    if AIRFLOW_V_3_0_PLUS or mode != "reschedule":
        assert isinstance(raised.value, PortkeyWaitTimeoutError)
        assert re.search("timeout of 5 min 0 s.*left running", str(raised.value))
    assert 300 <= clock.seconds <= 310


def test_fewer_consecutive_failures_than_the_limit_are_tolerated(kind, wait, portkey):
    broken = PortkeyServerError("broken", status_code=500)
    portkey.script = [active(kind), *[broken] * 4, active(kind), *[broken] * 4, succeeded(kind)]
    wait(kind)
    assert portkey.polls == 11


def test_the_wait_is_given_up_at_the_same_poll_in_every_mode(kind, wait, portkey):
    portkey.script = [active(kind), PortkeyServerError("broken", status_code=500)]
    with pytest.raises(PortkeyPollingGaveUpError, match="5 consecutive polls failed") as raised:
        wait(kind)
    assert not isinstance(raised.value, (AirflowFailException, AirflowSensorTimeout))
    assert portkey.polls == 6


def test_the_first_poll_may_be_a_failed_one(kind, wait, portkey):
    portkey.script = [PortkeyServerError("broken", status_code=500)]
    with pytest.raises(PortkeyPollingGaveUpError):
        wait(kind, max_consecutive_failures=3)
    assert portkey.polls == 3


@pytest.mark.parametrize("before", [0, 2])
def test_a_refused_poll_ends_the_wait_at_once(kind, wait, portkey, before):
    refusal = PortkeyAuthenticationError("The provider refused.", status_code=401, refused_by="provider")
    portkey.script = [*[active(kind)] * before, refusal]
    with pytest.raises(PortkeyAuthenticationError, match=r"The provider refused\.") as raised:
        wait(kind)
    assert raised.value.refused_by == "provider"
    assert portkey.polls == before + 1


def test_with_silent_fail_the_wait_is_not_given_up_before_the_deadline(kind, wait, portkey):
    refusal = PortkeyAuthenticationError("no", status_code=401)
    portkey.script = [active(kind), *[refusal] * 12, succeeded(kind)]
    wait(kind, silent_fail=True)
    assert portkey.polls == 14


FAILURES = {
    "failed": failed,
    "timed out": active,
    "gave up": lambda kind: PortkeyServerError("broken", status_code=500),
    "refused": lambda kind: PortkeyAuthenticationError("no", status_code=401),
}


#: What the log of a skipped task has to say.
REASONS = {"failed": "finished as", "timed out": "not finished within", "gave up": "Gave up.*broken", "refused": "No"}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("early", [True, False], ids=["first poll", "later"])
@pytest.mark.parametrize("choice", ["soft_fail", "never_fail"])
def test_soft_fail_and_never_fail_skip_at_every_failure(kind, wait, portkey, failure, choice, early):
    portkey.script = [FAILURES[failure](kind)] if early else [active(kind), FAILURES[failure](kind)]
    # Airflow 2 times out a rescheduled sensor by itself.
    reason = f"^(Skipped instead of failed: .*{REASONS[failure]}|(Skipped instead of failed: )?Sensor has timed out)"
    with pytest.raises(AirflowSkipException, match=reason):
        wait(kind, **{choice: True})


@pytest.mark.parametrize("choice", [{"soft_fail": True}, {"never_fail": True}])
def test_a_skip_after_the_trigger_itself_failed_has_the_reason_too(kind, task, choice):
    one = task("deferred", kind.sensor, **kind.ids, **choice)._sensor()
    with pytest.raises(AirflowException, match="the triggerer is gone") as raised:
        one.resume_execution("__fail__", {"error": "the triggerer is gone"}, {})
    # Before Airflow 3.1 never_fail ends with a poked sensor.
    assert isinstance(raised.value, AirflowSkipException) or "never_fail" in choice


@pytest.mark.parametrize("failure", FAILURES)
def test_without_them_each_failure_raises(kind, wait, portkey, failure):
    portkey.script = [active(kind), FAILURES[failure](kind)]
    with pytest.raises(
        (
            kind.sensor.job.failure_exception,
            PortkeyWaitTimeoutError if AIRFLOW_V_3_0_PLUS else AirflowSensorTimeout,
            PortkeyPollingGaveUpError,
            PortkeyRequestError,
        )
    ):
        wait(kind)


def test_a_job_that_has_finished_is_not_deferred(kind, task, portkey):
    portkey.script = [succeeded(kind)]
    one = task("deferred", kind.sensor, **kind.ids)
    assert one.run()["status"] == succeeded(kind)["status"]
    assert one.events == []


def test_each_change_of_status_is_one_line_in_every_mode(kind, wait, mode, portkey, caplog, capsys):
    portkey.script = [
        active(kind),
        active(kind),
        active(kind),
        kind.response("meditating"),
        kind.response("meditating"),
        succeeded(kind),
    ]
    with caplog.at_level("INFO"):
        wait(kind)
    shown = [caplog.text, capsys.readouterr().out]  # Airflow 2 logs to both
    if mode == "reschedule" and not AIRFLOW_V_3_0_PLUS:  # it does not tell a process of those before
        assert max(text.count(f"is {active(kind)['status']} after") for text in shown) == 3
        assert max(text.count("is meditating after") for text in shown) == 2
        return
    assert max(text.count(f"is {active(kind)['status']} after") for text in shown) == 1
    assert max(text.count("to meditating after") for text in shown) == 1


def test_a_kill_cancels_only_where_that_was_requested(kind, portkey):
    for requested, cancelled in [(False, []), (True, [kind.ids])]:
        kind.sensor(task_id="wait", cancel_on_kill=requested, **kind.ids).on_kill()
        assert portkey.cancelled == cancelled


@pytest.mark.parametrize("wrong", [{"max_consecutive_failures": 0}, {"max_consecutive_failures": None}])
def test_a_wrong_argument_is_refused_when_the_dag_is_parsed(kind, wrong):
    with pytest.raises(PortkeyInvalidArgumentError, match=next(iter(wrong))):
        kind.sensor(task_id="wait", **kind.ids, **wrong)


def test_every_id_and_the_connection_id_are_templated(kind):
    assert {"portkey_conn_id", *kind.ids} <= set(kind.sensor.template_fields)


def test_an_id_that_rendered_to_nothing_is_named_and_nothing_is_sent(kind, wait, portkey):
    name = next(iter(kind.ids))
    with pytest.raises(PortkeyInvalidArgumentError, match=name):
        wait(kind, **{name: ""})
    assert portkey.polls == 0


@pytest.mark.parametrize("choice", ["soft_fail", "never_fail"])
def test_a_value_that_is_wrong_after_rendering_is_named_or_skips(kind, wait, portkey, choice):
    wrong = {"max_consecutive_failures": "{{ params.limit }}"}  # nobody renders it here
    with pytest.raises(PortkeyInvalidArgumentError, match="max_consecutive_failures"):
        wait(kind, **wrong)
    with pytest.raises(AirflowSkipException, match="max_consecutive_failures"):
        wait(kind, **wrong, **{choice: True})
    assert portkey.polls == 0


def test_a_poke_without_execute_checks_the_parameters_and_has_a_trace_id(kind, portkey, task_context):
    portkey.script = [active(kind), succeeded(kind)]
    one = kind.sensor(task_id="wait", **kind.ids)
    assert not one.poke(task_context())
    assert one.poke(task_context()).xcom_value["status"] == succeeded(kind)["status"]
    assert one.hook.trace_id
    one.max_consecutive_failures = "many"
    with pytest.raises(PortkeyInvalidArgumentError, match="max_consecutive_failures"):
        one.poke(task_context())


def test_a_job_that_failed_may_be_returned_with_its_reason(kind, wait, portkey):
    reasons = {kind.sensor.job.error_fields[0]: {"code": "some_code", "message": "Some words."}}
    job = {**failed(kind), **reasons}
    portkey.script = [active(kind), job]
    found = wait(kind, on_failed="return")
    assert found == {**kind.sensor.job.summary(job), "error_message": "some_code: Some words."}


def test_a_job_that_failed_without_a_reason_is_returned_with_a_sentence(kind, wait, portkey):
    portkey.script = [failed(kind)]
    found = wait(kind, on_failed="return", soft_fail=True)
    assert re.search(r"finished as \w+ after .* and gave no reason\.", found["error_message"])


def test_a_job_that_succeeded_is_the_same_whatever_a_failed_one_does(kind, wait, portkey):
    portkey.script = [succeeded(kind)]
    assert "error_message" not in wait(kind, on_failed="return")


@pytest.mark.parametrize("failure", [name for name in FAILURES if name != "failed"])
def test_only_a_job_that_failed_is_returned(kind, wait, portkey, failure):
    portkey.script = [active(kind), FAILURES[failure](kind)]
    with pytest.raises((PortkeyWaitTimeoutError, PortkeyPollingGaveUpError, PortkeyRequestError, AirflowSensorTimeout)):
        wait(kind, on_failed="return")


WITH_EXCLUDED = [kind for kind in KINDS if kind.sensor.job.excluded_fields]


@pytest.fixture(params=WITH_EXCLUDED, ids=lambda kind: kind.sensor.job.kind)
def excluding(request: pytest.FixtureRequest) -> Kind:
    return request.param


@pytest.mark.parametrize("early", [True, False], ids=["first poll", "later"])
@pytest.mark.parametrize("status", [succeeded, failed])
def test_excluded_fields_may_be_included(excluding, wait, portkey, early, status):
    names = sorted(excluding.sensor.job.excluded_fields)
    job = {**status(excluding), names[0]: [{"deep": None}]}
    portkey.script = [job] if early else [active(excluding), job]
    found = wait(excluding, include_fields=names[:1], on_failed="return")
    assert found.pop("error_message", "") == "" or status is failed
    assert found == {name: value for name, value in job.items() if name not in names[1:]}


def test_a_field_that_the_job_does_not_have_is_left_out(excluding, wait, portkey):
    name = sorted(excluding.sensor.job.excluded_fields)[0]
    job = {field: value for field, value in succeeded(excluding).items() if field != name}
    portkey.script = [active(excluding), job]
    assert name not in wait(excluding, include_fields=[name])


@pytest.mark.parametrize("status", [succeeded, failed])
def test_an_included_field_that_is_too_large_fails_and_is_named(excluding, mode, task, portkey, status):
    small, large, *_ = sorted(excluding.sensor.job.excluded_fields)
    job = {**status(excluding), small: "s", large: "x" * 60_000}
    portkey.script = [active(excluding), job]
    one = task(mode, excluding.sensor, include_fields=f"{small}, {large}", on_failed="return", **excluding.ids)
    with pytest.raises(PortkeyXComTooLargeError, match=rf"max_bytes=49152, and 60002 of them are its field '{large}'"):
        one.run()
    assert all(len(str(event)) < 2_000 for event in one.events)
    portkey.polls = 0
    assert len(task(mode, excluding.sensor, include_fields=[large], max_bytes="70000", on_failed="return",
                    **excluding.ids).run()[large]) == 60_000  # fmt: skip


def test_a_failure_is_raised_also_where_a_field_is_too_large(excluding, wait, portkey):
    name = sorted(excluding.sensor.job.excluded_fields)[0]
    portkey.script = [active(excluding), {**failed(excluding), name: "x" * 60_000}]
    with pytest.raises(excluding.sensor.job.failure_exception) as raised:
        wait(excluding, include_fields=[name])
    assert name not in raised.value.job


@pytest.mark.parametrize("wrong", ["outptu", "status", '["id"]', [1], {"tools": 1}, ["tools", ""]])
def test_fields_that_are_not_left_out_are_refused_when_the_dag_is_parsed(kind, wrong):
    with pytest.raises(PortkeyInvalidArgumentError, match=r"^include_fields="):
        kind.sensor(task_id="wait", include_fields=wrong, **kind.ids)


def test_included_fields_may_be_a_template(excluding, portkey):
    names = sorted(excluding.sensor.job.excluded_fields)
    portkey.script = [succeeded(excluding)]
    for template, rendered in (("{{ params.fields }}", str(names)), (["{{ params.field }}"], names[:1])):
        sensor = excluding.sensor(task_id="wait", include_fields=template, **excluding.ids)
        sensor.include_fields = rendered
        assert names[0] in sensor.execute({})
        sensor.include_fields = "other"
        with pytest.raises(PortkeyInvalidArgumentError, match="only fields that are left out by default"):
            sensor.execute({})


def test_a_job_that_cannot_be_cancelled_is_left_running_at_a_kill(portkey, caplog, capsys):
    spec = JobSpec(**{**FILE_BATCH.to_dict(), "cancel_path": None})
    sensor = PortkeyCustomJobSensor(task_id="wait", job_spec=spec, ids=KINDS[-1].ids, cancel_on_kill=True)
    sensor.on_kill()
    assert portkey.cancelled == []
    assert "it cannot be cancelled" in caplog.text + capsys.readouterr().out


ACTING = [Kind(PortkeyRunSensor, KINDS[0].ids), Kind(PortkeyCustomJobSensor, {"job_spec": RUN, "ids": KINDS[0].ids})]


@pytest.mark.parametrize("kind", ACTING, ids=["run", "custom"])
@pytest.mark.parametrize("choice", ["fail", "return", "wait"])
def test_a_job_that_requires_action(wait, portkey, kind, choice):
    action = {"required_action": {"type": "submit_tool_outputs"}}
    run = {"id": KINDS[0].ids["run_id"], "thread_id": KINDS[0].ids["thread_id"]}
    portkey.script = [
        {**run, "status": "in_progress"},
        {**run, "status": "requires_action", **action},
        {**run, "status": "requires_action", **action},
        {**run, "status": "completed"},
    ]
    if choice == "fail":
        with pytest.raises(PortkeyActionRequiredError, match="on_requires_action"):
            wait(kind, on_requires_action=choice)
    else:
        job = wait(kind, on_requires_action=choice)
        expected = {"status": "completed"} if choice == "wait" else {"status": "requires_action", **action}
        assert job == {**run, **expected}


@pytest.mark.parametrize("kind", ACTING, ids=["run", "custom"])
def test_an_unknown_policy_is_refused_when_the_dag_is_parsed(kind):
    with pytest.raises(PortkeyInvalidArgumentError, match="on_requires_action"):
        kind.sensor(task_id="wait", on_requires_action="x", **kind.ids)


@pytest.mark.parametrize(
    "ids", ['{"vector_store_id": "vs_1", "batch_id": "b"}', {"vector_store_id": "vs_1", "batch_id": "b"}]
)
def test_the_ids_of_a_declared_job_may_be_a_json_string(ids):
    sensor = PortkeyCustomJobSensor(task_id="wait", job_spec=FILE_BATCH, ids=ids)
    assert sensor._job_ids == {"vector_store_id": "vs_1", "batch_id": "b"}


@pytest.mark.parametrize(
    "ids", [{}, {"batch_id": "b"}, {"vector_store_id": "v", "batch_id": "b", "more": "m"}, "b", []]
)
def test_ids_that_do_not_fit_the_declaration_are_refused_when_the_dag_is_parsed(ids):
    with pytest.raises(PortkeyInvalidArgumentError, match="ids"):
        PortkeyCustomJobSensor(task_id="wait", job_spec=FILE_BATCH, ids=ids)


def test_ids_that_a_template_renders_are_checked_afterwards(wait, portkey):
    class Reference:
        def iter_references(self): ...

    for ids in ("{{ ti.xcom_pull('submit') | tojson }}", Reference()):
        PortkeyCustomJobSensor(task_id="wait", job_spec=FILE_BATCH, ids=ids)
    sensor = PortkeyCustomJobSensor(task_id="wait", job_spec=FILE_BATCH, ids="{{ params.ids }}")
    sensor.ids = '{"batch_id": "b"}'
    with pytest.raises(PortkeyInvalidArgumentError, match="ids"):
        sensor.execute({})
    assert portkey.polls == 0
