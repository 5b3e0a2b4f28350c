"""A job is submitted once, however often its task is started; shown with the operator that creates responses."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import AirflowSkipException, TaskDeferred

from airflow_provider_portkey.client.sync import PortkeyClient
from airflow_provider_portkey.exceptions import (
    PortkeyBadRequestError,
    PortkeyError,
    PortkeyInvalidArgumentError,
    PortkeyNotFoundError,
    PortkeyPollingGaveUpError,
    PortkeyRunFailedError,
    PortkeyServerError,
    PortkeySubmissionUnknownError,
    PortkeyUnexpectedResponseError,
    PortkeyUnreachableError,
    PortkeyXComTooLargeError,
)
from airflow_provider_portkey.hooks.portkey import PortkeyHook
from airflow_provider_portkey.operators.job import PortkeyCreateResponseOperator


class Portkey:
    """Creates responses with running numbers; a test sets what becomes of them."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.cancelled: list[str] = []
        #: The status of each response, or the error of the request for it.
        self.status: dict[str, str | Exception] = {}
        self.gets: list[str] = []
        #: The response to the submission, or its error.
        self.post: Any = None

    def create(self, job, body):
        self.bodies.append(dict(body))
        if isinstance(self.post, Exception):
            raise self.post
        response_id = f"resp_{len(self.bodies)}"
        self.status.setdefault(response_id, "completed")
        return self.post or {"id": response_id, "status": "queued", "instructions": "excluded"}

    def get(self, path, ids, query=None, *, max_retries=None):
        self.gets.append(ids["response_id"])
        status = self.status[ids["response_id"]]
        if isinstance(status, Exception):
            raise status
        return {"id": ids["response_id"], "status": status, "output": ["excluded"]}


GONE = PortkeyNotFoundError("gone", status_code=404)
BROKEN = PortkeyServerError("broken", status_code=500)


@pytest.fixture
def portkey(monkeypatch: pytest.MonkeyPatch, portkey_connection: object, without_reschedules: None) -> Portkey:
    fake = Portkey()
    monkeypatch.setattr(PortkeyHook, "create_job", lambda self, job, body: fake.create(job, body))
    monkeypatch.setattr(PortkeyClient, "get", lambda self, *request, **options: fake.get(*request, **options))
    monkeypatch.setattr(PortkeyHook, "cancel_job", lambda self, job, ids: fake.cancelled.append(ids["response_id"]))
    monkeypatch.setattr("airflow_provider_portkey.tasks.wait.time.sleep", lambda seconds: None)
    return fake


@pytest.fixture
def context(task_context) -> dict[str, Any]:
    return task_context()


def operator(**changes) -> PortkeyCreateResponseOperator:
    arguments = {"model": "gpt", "input": "Hello", "poke_interval": 1, "timeout": 60} | changes
    return PortkeyCreateResponseOperator(task_id="create", **arguments)


def test_submits_waits_and_returns_the_job_without_its_excluded_fields(portkey, context):
    one = operator(instructions="Be short.", metadata={"a": "b"}, extra_body={"tools": [], "store": True})
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


def test_without_waiting_the_job_is_returned_as_it_was_submitted(portkey, context):
    portkey.status["resp_1"] = "in_progress"
    assert operator(wait_for_completion=False).execute(context) == {"id": "resp_1", "status": "queued"}


def test_a_retry_continues_with_the_submitted_job(portkey, context, monkeypatch):
    portkey.status["resp_1"] = "in_progress"
    with monkeypatch.context() as crash:
        crash.setattr(PortkeyCreateResponseOperator, "_poll", lambda self: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            operator().execute(context)
    portkey.status["resp_1"] = "completed"
    assert operator().execute(context)["id"] == "resp_1"
    assert len(portkey.bodies) == 1


def test_a_crash_before_the_response_is_stored_leaves_the_outcome_unknown(portkey, context, monkeypatch):
    with monkeypatch.context() as crash:
        crash.setattr(
            PortkeyCreateResponseOperator, "_remember", lambda *args, **kwargs: (_ for _ in ()).throw(MemoryError)
        )
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
        ("failed", False, 2),
        ("failed", True, 2),
        (GONE, False, 2),
    ],
)
def test_what_a_later_try_submits_again(portkey, context, status, cleared, submissions):
    assert operator(wait_for_completion=False).execute(context)["id"] == "resp_1"
    portkey.status["resp_1"] = status
    context["ti"].try_number += 1
    if cleared:
        context["ti"].max_tries += 1
    operator(wait_for_completion=False).execute(context)
    assert len(portkey.bodies) == submissions


@pytest.mark.parametrize(("cleared", "submissions"), [(False, 1), (True, 2)])
def test_a_failed_job_that_is_a_result_is_returned_by_a_later_try(portkey, context, cleared, submissions):
    operator(wait_for_completion=False, on_failed="return").execute(context)
    portkey.status |= {"resp_1": "failed", "resp_2": "failed"}
    context["ti"].try_number += 1
    if cleared:
        context["ti"].max_tries += 1
    found = operator(on_failed="return").execute(context)
    assert (found["id"], found["status"]) == (f"resp_{submissions}", "failed")
    assert "gave no reason" in found["error_message"]
    assert len(portkey.bodies) == submissions


@pytest.mark.parametrize("store", [True, False], ids=["task state store", "variable"])
def test_a_job_that_was_too_large_to_return_is_not_submitted_again(portkey, task_context, variables, store):
    context = task_context(store=store)
    with pytest.raises(PortkeyXComTooLargeError, match="PortkeyResponseItemsToObjectStorageOperator"):
        operator(include_fields=["output"], max_bytes=30).execute(context)
    for max_bytes in (40, 100):
        context["ti"].try_number += 1
        context["ti"].max_tries += 1
        if max_bytes == 40:
            with pytest.raises(PortkeyXComTooLargeError):
                operator(include_fields=["output"], max_bytes=max_bytes).execute(context)
    found = operator(include_fields=["output"], max_bytes=100).execute(context)
    assert found == {"id": "resp_1", "status": "completed", "output": ["excluded"]}
    assert len(portkey.bodies) == 1
    context["ti"].try_number += 1
    context["ti"].max_tries += 1
    assert operator().execute(context)["id"] == "resp_2"


def test_without_waiting_the_included_fields_are_those_of_the_submission(portkey, context):
    portkey.status["resp_1"] = "in_progress"
    one = operator(wait_for_completion=False, include_fields=["instructions"])
    assert one.execute(context) == {"id": "resp_1", "status": "queued", "instructions": "excluded"}


def test_a_job_that_failed_fails_the_task(portkey, context):
    portkey.status["resp_1"] = "failed"
    with pytest.raises(operator().job.failure_exception) as raised:
        operator().execute(context)
    assert not isinstance(raised.value, PortkeyRunFailedError)


def test_a_rescheduled_wait_submits_once(portkey, context):
    portkey.status["resp_1"] = "in_progress"
    for _ in range(3):
        with pytest.raises(AirflowRescheduleException):
            operator(mode="reschedule").execute(context)
    portkey.status["resp_1"] = "completed"
    assert operator(mode="reschedule").execute(context)["id"] == "resp_1"
    assert len(portkey.bodies) == 1


def test_a_job_that_fails_between_two_polls_of_one_try_fails_that_try(portkey, context):
    portkey.status["resp_1"] = "in_progress"
    for process in range(4):
        if process == 2:
            context["ti"].try_number += 1
        with pytest.raises(AirflowRescheduleException):
            operator(mode="reschedule").execute(context)
    portkey.status["resp_1"] = "failed"
    with pytest.raises(operator().job.failure_exception):
        operator(mode="reschedule").execute(context)
    assert len(portkey.bodies) == 1
    context["ti"].try_number += 1
    with pytest.raises(AirflowRescheduleException):
        operator(mode="reschedule").execute(context)
    assert operator(mode="reschedule").execute(context)["id"] == "resp_2"


@pytest.mark.parametrize(
    ("error", "choice", "raised", "gets"),
    [
        (BROKEN, {}, PortkeyPollingGaveUpError, 5),
        (BROKEN, {"max_consecutive_failures": 2}, PortkeyPollingGaveUpError, 2),
        (BROKEN, {"soft_fail": True}, AirflowSkipException, 5),
        (GONE, {}, PortkeyNotFoundError, 1),
        (GONE, {"never_fail": True}, AirflowSkipException, 1),
    ],
)
def test_a_rescheduled_poll_fails_as_in_the_other_modes(portkey, context, error, choice, raised, gets):
    portkey.status["resp_1"] = "in_progress"
    with pytest.raises(AirflowRescheduleException):
        operator(mode="reschedule").execute(context)
    portkey.status["resp_1"] = error
    portkey.gets.clear()
    with pytest.raises(raised):
        operator(mode="reschedule", **choice).execute(context)
    assert len(portkey.gets) == gets
    assert len(portkey.bodies) == 1


def test_with_silent_fail_failed_rescheduled_polls_do_not_end_the_wait(portkey, context, monkeypatch):
    portkey.status["resp_1"] = "in_progress"
    with pytest.raises(AirflowRescheduleException):
        operator(mode="reschedule").execute(context)
    failures = [BROKEN] * 9

    def get(self, path, ids, query=None, *, max_retries=None):
        if failures:
            raise failures.pop()
        return {"id": ids["response_id"], "status": "completed"}

    monkeypatch.setattr(PortkeyClient, "get", get)
    assert operator(mode="reschedule", silent_fail=True).execute(context)["status"] == "completed"


class TestRequests:
    """A task sends the requests that it needs, and no other."""

    def test_the_submission_is_the_first_poll(self, portkey, context):
        portkey.post = {"id": "resp_1", "status": "completed"}
        assert operator().execute(context)["status"] == "completed"
        assert (len(portkey.bodies), portkey.gets) == (1, [])

    def test_a_job_that_is_active_after_the_submission_is_requested_once(self, portkey, context):
        operator().execute(context)
        assert (len(portkey.bodies), portkey.gets) == (1, ["resp_1"])

    def test_a_submission_without_a_status_is_no_poll(self, portkey, context):
        portkey.post = {"id": "resp_1"}
        assert operator(max_consecutive_failures=1).execute(context)["status"] == "completed"
        assert portkey.gets == ["resp_1"]

    def test_a_deferred_task_defers_without_a_poll_after_the_submission(self, portkey, context):
        with pytest.raises(TaskDeferred):
            operator(deferrable=True).execute(context)
        assert (len(portkey.bodies), portkey.gets) == (1, [])

    @pytest.mark.parametrize("how", [{}, {"deferrable": True}, {"mode": "reschedule"}])
    def test_a_retry_requests_the_job_once(self, portkey, context, how):
        operator(wait_for_completion=False).execute(context)
        context["ti"].try_number += 1
        assert operator(**how).execute(context)["status"] == "completed"
        assert (len(portkey.bodies), portkey.gets) == (1, ["resp_1"])

    def test_a_rescheduled_process_requests_the_job_once(self, portkey, context):
        portkey.status["resp_1"] = "in_progress"
        for gets in range(3):
            with pytest.raises(AirflowRescheduleException):
                operator(mode="reschedule").execute(context)
            assert len(portkey.gets) == gets
        portkey.status["resp_1"] = "completed"
        operator(mode="reschedule").execute(context)
        assert (len(portkey.bodies), len(portkey.gets)) == (1, 3)

    def test_without_waiting_nothing_is_requested(self, portkey, context):
        operator(wait_for_completion=False).execute(context)
        assert (len(portkey.bodies), portkey.gets) == (1, [])


def test_a_deferred_wait_knows_the_job_and_cancels_it_on_a_kill(portkey, context):
    portkey.status["resp_1"] = "in_progress"
    with pytest.raises(TaskDeferred) as deferred:
        operator(deferrable=True).execute(context)
    _, arguments = deferred.value.trigger.serialize()
    assert arguments["ids"] == {"response_id": "resp_1"}
    assert arguments["cancel_on_kill"] is True


@pytest.mark.parametrize(("requested", "cancelled"), [(True, ["resp_1"]), (False, [])])
def test_a_kill_on_the_worker_cancels_the_submitted_job(portkey, context, requested, cancelled):
    one = operator(cancel_on_kill=requested, wait_for_completion=False)
    one.execute(context)
    one.on_kill()
    assert portkey.cancelled == cancelled


def test_a_kill_before_the_submission_cancels_nothing(portkey):
    operator().on_kill()
    assert portkey.cancelled == []


def test_a_kill_in_a_rescheduled_process_cancels_the_submitted_job(portkey, context):
    portkey.status["resp_1"] = "in_progress"
    for _ in range(2):
        one = operator(mode="reschedule")
        with pytest.raises(AirflowRescheduleException):
            one.execute(context)
    one.on_kill()
    assert portkey.cancelled == ["resp_1"]


@pytest.mark.parametrize("continues", [True, False])
def test_a_kill_during_the_submission_cancels_the_job_when_the_response_arrives(
    portkey, context, monkeypatch, continues
):
    one = operator(wait_for_completion=False)
    create = portkey.create

    def killed(job, body):
        one.on_kill()
        if not continues:
            raise SystemExit
        return create(job, body)

    monkeypatch.setattr(portkey, "create", killed)
    lines = []
    monkeypatch.setattr(one.log, "warning", lambda message, *args: lines.append(message % args))
    if continues:
        one.execute(context)
        assert portkey.cancelled == ["resp_1"]
    else:
        with pytest.raises(SystemExit):
            one.execute(context)
        assert portkey.cancelled == []
    (line,) = [line for line in lines if "killed" in line]
    assert "before the response to the submission of its response arrived" in line
    assert "trace id" in line


def test_a_kill_before_the_submission_prevents_the_submission(portkey, context, monkeypatch):
    one = operator(wait_for_completion=False)
    write = context["task_state_store"].set

    def killed(key, value):
        write(key, value)
        one.on_kill()

    monkeypatch.setattr(context["task_state_store"], "set", killed)
    with pytest.raises(PortkeyError, match="killed before it submitted its response"):
        one.execute(context)
    assert (portkey.bodies, portkey.cancelled) == ([], [])
    monkeypatch.setattr(context["task_state_store"], "set", write)
    assert operator(wait_for_completion=False).execute(context)["id"] == "resp_1"


def test_a_kill_while_an_earlier_job_is_requested_cancels_that_job(portkey, context, monkeypatch):
    operator(wait_for_completion=False).execute(context)
    one = operator(wait_for_completion=False)
    get = portkey.get

    def killed(*request, **options):
        one.on_kill()
        return get(*request, **options)

    monkeypatch.setattr(portkey, "get", killed)
    one.execute(context)
    assert portkey.cancelled == ["resp_1"]


def test_a_job_that_lags_is_not_taken_for_gone(portkey, context):
    operator(wait_for_completion=False).execute(context)
    portkey.status["resp_1"] = GONE
    get = portkey.get

    def lagging(*request, **options):
        if len(portkey.gets) == 2:
            portkey.status["resp_1"] = "completed"
        return get(*request, **options)

    portkey.get = lagging
    context["ti"].try_number += 1
    assert operator().execute(context)["id"] == "resp_1"
    assert (len(portkey.bodies), portkey.gets) == (1, ["resp_1"] * 3)


def test_a_retry_after_a_clear_continues_with_the_job_that_was_active_when_the_task_was_cleared(portkey, context):
    operator(wait_for_completion=False).execute(context)
    portkey.status["resp_1"] = "in_progress"
    context["ti"].try_number += 1
    context["ti"].max_tries += 1
    with pytest.raises(TaskDeferred):
        operator(deferrable=True).execute(context)
    portkey.status["resp_1"] = "completed"
    context["ti"].try_number += 1
    assert operator().execute(context)["id"] == "resp_1"
    assert len(portkey.bodies) == 1


def test_without_a_task_state_store_a_variable_holds_the_job(portkey, task_context, variables):
    context = task_context(store=False, task_id="create")
    portkey.status["resp_1"] = "in_progress"
    with pytest.raises(TaskDeferred):
        operator(deferrable=True).execute(context)
    assert variables.keys() == {"portkey_job__dag__create__run__-1"}
    portkey.status["resp_1"] = "completed"
    assert operator().execute(context)["id"] == "resp_1"
    assert len(portkey.bodies) == 1
    assert variables == {}


def test_a_submission_without_an_id_is_an_error(portkey, context, monkeypatch):
    monkeypatch.setattr(PortkeyHook, "create_job", lambda self, job, body: {"status": "queued"})
    with pytest.raises(PortkeyUnexpectedResponseError, match="no id"):
        operator().execute(context)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"input": ""}, "input"),
        ({"model": ""}, "model"),
        ({"extra_body": {"background": False}}, "background"),
        ({"extra_body": {"model": "other"}}, "model"),
        ({"extra_body": {"stream": True}}, "stream"),
    ],
)
def test_a_wrong_request_is_named_before_it_is_sent(portkey, context, wrong, named):
    with pytest.raises(PortkeyInvalidArgumentError, match=named):
        operator(**wrong).execute(context)
    assert portkey.bodies == []
    assert operator().execute(context)["id"] == "resp_1"


def test_whether_to_submit_again_may_be_a_template(portkey, context):
    assert operator(resubmit_unknown="{{ params.again }}").resubmit_unknown == "{{ params.again }}"
    with pytest.raises(PortkeyInvalidArgumentError, match="resubmit_unknown"):
        operator(resubmit_unknown="perhaps")
    portkey.post = BROKEN
    with pytest.raises(PortkeyServerError):
        operator().execute(context)
    portkey.post = None
    with pytest.raises(PortkeySubmissionUnknownError):
        operator(resubmit_unknown="False").execute(context)
    assert operator(resubmit_unknown="True").execute(context)["id"] == "resp_2"
