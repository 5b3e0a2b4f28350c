"""A job is submitted once, however often its task is started; shown on the operator that makes responses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import TaskDeferred, Variable

from airflow_provider_portkey.exceptions import (
    PortkeyBadRequestError,
    PortkeyInvalidArgumentError,
    PortkeyNotFoundError,
    PortkeyRunFailedError,
    PortkeyServerError,
    PortkeySubmissionUnknownError,
    PortkeyUnexpectedResponseError,
    PortkeyUnreachableError,
)
from airflow_provider_portkey.hooks.portkey import PortkeyHook
from airflow_provider_portkey.operators.response import PortkeyCreateResponseOperator


class Portkey:
    """Makes responses with running numbers; a test sets what becomes of them."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.cancelled: list[str] = []
        self.status: dict[str, str] = {}
        self.post: Any = None

    def create(self, job, body):
        self.bodies.append(dict(body))
        if isinstance(self.post, Exception):
            raise self.post
        name = f"resp_{len(self.bodies)}"
        self.status.setdefault(name, "completed")
        return {"id": name, "status": "queued", "instructions": "excluded_fields"}

    def get(self, job, ids, max_retries=None):
        status = self.status[ids["response_id"]]
        if status == "gone":
            raise PortkeyNotFoundError("gone", status_code=404)
        return {"id": ids["response_id"], "status": status, "output": ["excluded_fields"]}


@pytest.fixture
def portkey(monkeypatch: pytest.MonkeyPatch, portkey_connection: object) -> Portkey:
    fake = Portkey()
    monkeypatch.setattr(PortkeyHook, "create_job", lambda self, job, body: fake.create(job, body))
    monkeypatch.setattr(PortkeyHook, "get_job", lambda self, job, ids, max_retries=None: fake.get(job, ids))
    monkeypatch.setattr(PortkeyHook, "cancel_job", lambda self, job, ids: fake.cancelled.append(ids["response_id"]))
    monkeypatch.setattr("airflow_provider_portkey.tasks.wait.time.sleep", lambda seconds: None)
    return fake


class Store(dict):
    """Airflow's task state store, as far as it is used."""

    set = dict.__setitem__


@pytest.fixture
def context() -> dict[str, Any]:
    ti = SimpleNamespace(
        dag_id="dag",
        task_id="ask",
        run_id="run",
        map_index=-1,
        max_tries=2,
        try_number=1,
        get_first_reschedule_date=lambda context: None,
    )
    return {"ti": ti, "task_state_store": Store()}


def operator(**changes) -> PortkeyCreateResponseOperator:
    arguments = {"model": "gpt", "input": "Hello", "poke_interval": 1, "timeout": 60} | changes
    return PortkeyCreateResponseOperator(task_id="ask", **arguments)


def test_submits_waits_and_returns_the_job_without_its_bulky_fields(portkey, context):
    one = operator(instructions="Be short.", metadata={"a": "b"}, parameters={"tools": [], "store": True})
    assert one.execute(context) == {"id": "resp_1", "status": "completed"}
    assert portkey.bodies == [
        {
            "model": "gpt",
            "input": "Hello",
            "instructions": "Be short.",
            "metadata": {"a": "b"},
            "tools": [],
            "store": True,
            "background": True,
        }
    ]


def test_returns_at_once_where_it_need_not_wait(portkey, context):
    portkey.status["resp_1"] = "in_progress"
    assert operator(wait_for_completion=False).execute(context) == {"id": "resp_1", "status": "queued"}


def test_a_retry_goes_on_with_the_job_that_was_submitted(portkey, context, monkeypatch):
    portkey.status["resp_1"] = "in_progress"
    with monkeypatch.context() as crash:
        crash.setattr(PortkeyCreateResponseOperator, "_look", lambda self: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            operator().execute(context)
    portkey.status["resp_1"] = "completed"
    assert operator().execute(context)["id"] == "resp_1"
    assert len(portkey.bodies) == 1


def test_a_crash_before_the_answer_was_remembered_is_not_taken_for_nothing(portkey, context, monkeypatch):
    with monkeypatch.context() as crash:
        crash.setattr(PortkeyCreateResponseOperator, "_remember", lambda *args: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            operator().execute(context)
    with pytest.raises(PortkeySubmissionUnknownError, match="resubmit_unknown=True"):
        operator().execute(context)
    assert len(portkey.bodies) == 1
    assert operator(resubmit_unknown=True).execute(context)["id"] == "resp_2"


@pytest.mark.parametrize(
    "error", [PortkeyBadRequestError("no", status_code=400), PortkeyUnreachableError("no", request_sent=False)]
)
def test_a_submission_that_was_refused_may_be_sent_again(portkey, context, error):
    portkey.post = error
    with pytest.raises(type(error)):
        operator().execute(context)
    portkey.post = None
    assert operator().execute(context)["id"] == "resp_2"


@pytest.mark.parametrize("error", [PortkeyServerError("no", status_code=502), PortkeyUnreachableError("no")])
def test_a_submission_that_broke_off_is_not_sent_again(portkey, context, error):
    portkey.post = error
    with pytest.raises(type(error)):
        operator().execute(context)
    portkey.post = None
    with pytest.raises(PortkeySubmissionUnknownError):
        operator().execute(context)
    assert len(portkey.bodies) == 1


@pytest.mark.parametrize(
    ("status", "cleared", "submissions"),
    [
        ("in_progress", False, 1),
        ("in_progress", True, 1),
        ("completed", False, 1),
        ("completed", True, 2),
        ("failed", True, 2),
        ("gone", False, 2),
    ],
)
def test_what_a_later_try_submits_anew(portkey, context, status, cleared, submissions):
    assert operator(wait_for_completion=False).execute(context)["id"] == "resp_1"
    portkey.status["resp_1"] = status
    if cleared:
        context["ti"].max_tries += 1
    operator(wait_for_completion=False).execute(context)
    assert len(portkey.bodies) == submissions


def test_a_job_that_ended_badly_fails_the_task(portkey, context):
    portkey.status["resp_1"] = "failed"
    with pytest.raises(operator().job.failure_exception) as raised:
        operator().execute(context)
    assert not isinstance(raised.value, PortkeyRunFailedError)


def test_a_rescheduled_wait_submits_once(portkey, context, monkeypatch):
    base = next(cls for cls in PortkeyCreateResponseOperator.__mro__ if cls.__name__ == "BaseSensorOperator")
    for name in ("_orig_start_date", "_is_metadatabase_mysql"):  # of Airflow 2, which asks its database
        monkeypatch.setattr(f"{base.__module__}.{name}", lambda **_: None, raising=False)
    portkey.status["resp_1"] = "in_progress"
    for _ in range(3):
        with pytest.raises(AirflowRescheduleException):
            operator(mode="reschedule").execute(context)
    portkey.status["resp_1"] = "completed"
    assert operator(mode="reschedule").execute(context)["id"] == "resp_1"
    assert len(portkey.bodies) == 1


def test_a_job_that_ends_badly_between_two_looks_of_one_try_fails_that_try(portkey, context, monkeypatch):
    base = next(cls for cls in PortkeyCreateResponseOperator.__mro__ if cls.__name__ == "BaseSensorOperator")
    for name in ("_orig_start_date", "_is_metadatabase_mysql"):  # of Airflow 2, which asks its database
        monkeypatch.setattr(f"{base.__module__}.{name}", lambda **_: None, raising=False)
    portkey.status["resp_1"] = "in_progress"
    for look in range(4):
        if look == 2:
            context["ti"].try_number += 1
        with pytest.raises(AirflowRescheduleException):
            operator(mode="reschedule").execute(context)
    portkey.status["resp_1"] = "failed"
    with pytest.raises(operator().job.failure_exception):
        operator(mode="reschedule").execute(context)
    assert len(portkey.bodies) == 1
    context["ti"].try_number += 1
    assert operator(mode="reschedule").execute(context)["id"] == "resp_2"


def test_a_deferred_wait_knows_the_job_and_cancels_it_on_a_kill(portkey, context):
    portkey.status["resp_1"] = "in_progress"
    with pytest.raises(TaskDeferred) as deferred:
        operator(deferrable=True).execute(context)
    _, arguments = deferred.value.trigger.serialize()
    assert arguments["ids"] == {"response_id": "resp_1"}
    assert arguments["cancel_on_kill"] is True


@pytest.mark.parametrize(("asked", "cancelled"), [(True, ["resp_1"]), (False, [])])
def test_a_kill_on_the_worker_cancels_what_was_submitted(portkey, context, asked, cancelled):
    one = operator(cancel_on_kill=asked, wait_for_completion=False)
    one.execute(context)
    one.on_kill()
    assert portkey.cancelled == cancelled


def test_a_kill_before_the_submission_cancels_nothing(portkey):
    operator().on_kill()
    assert portkey.cancelled == []


def test_without_a_task_state_store_a_variable_remembers(portkey, context, monkeypatch):
    del context["task_state_store"]
    variables: dict[str, Any] = {}
    monkeypatch.setattr(Variable, "get", lambda key, default, deserialize_json: variables.get(key, default))
    monkeypatch.setattr(Variable, "set", lambda key, value, serialize_json: variables.update({key: value}))
    monkeypatch.setattr(Variable, "delete", variables.pop)
    portkey.status["resp_1"] = "in_progress"
    with pytest.raises(TaskDeferred):
        operator(deferrable=True).execute(context)
    assert list(variables) == ["portkey_job__dag__ask__run__-1"]
    portkey.status["resp_1"] = "completed"
    assert operator().execute(context)["id"] == "resp_1"
    assert len(portkey.bodies) == 1
    assert variables == {}


def test_an_answer_without_an_id_is_an_error(portkey, context, monkeypatch):
    monkeypatch.setattr(PortkeyHook, "create_job", lambda self, job, body: {"status": "queued"})
    with pytest.raises(PortkeyUnexpectedResponseError, match="no id"):
        operator().execute(context)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"input": ""}, "input"),
        ({"model": ""}, "model"),
        ({"parameters": {"background": False}}, "background"),
        ({"parameters": {"model": "other"}}, "model"),
        ({"parameters": {"stream": True}}, "stream"),
    ],
)
def test_a_wrong_request_is_named_before_it_is_sent(portkey, context, wrong, named):
    with pytest.raises(PortkeyInvalidArgumentError, match=named):
        operator(**wrong).execute(context)
    assert portkey.bodies == []
    assert operator().execute(context)["id"] == "resp_1"
