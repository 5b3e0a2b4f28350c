"""A job of a declared kind is created once and waited for, in every mode and over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_portkey.exceptions import (
    PortkeyActionRequiredError,
    PortkeyBadRequestError,
    PortkeyInvalidArgumentError,
    PortkeyPollingGaveUpError,
    PortkeyRemoteJobFailedError,
    PortkeySubmissionUnknownError,
    PortkeyXComTooLargeError,
)
from airflow_provider_portkey.hooks.portkey import PortkeyHook
from airflow_provider_portkey.jobs import RUNS, JobSpec
from airflow_provider_portkey.operators.job import PortkeyCreateCustomJobOperator
from airflow_provider_portkey.tasks.submit import BasePortkeySubmitOperator

THREAD = "thread_1"
FILE_BATCH = JobSpec(
    kind="file batch",
    path="/vector_stores/{vector_store_id}/file_batches/{batch_id}",
    active_statuses=["in_progress"],
    success_statuses=["completed"],
    failure_statuses=["failed", "cancelled"],
    progress_field="file_counts",
    excluded_fields=["object"],
    create_path="/vector_stores/{vector_store_id}/file_batches",
    cancel_path="/vector_stores/{vector_store_id}/file_batches/{batch_id}/cancel",
)
#: A kind whose list can be searched, as a DAG author would declare it.
TURN = JobSpec(
    kind="turn",
    path="/threads/{thread_id}/runs/{turn_id}",
    active_statuses=["queued", "in_progress", "cancelling"],
    success_statuses=["completed"],
    failure_statuses=["failed", "cancelled", "expired", "incomplete"],
    action_required_statuses=["requires_action"],
    error_fields=["last_error"],
    create_path="/threads/{thread_id}/runs",
    cancel_path="/threads/{thread_id}/runs/{turn_id}/cancel",
    list_spec=RUNS,
    metadata_field="metadata",
)


def file_batch(mode: str = "poke", **changes: Any) -> PortkeyCreateCustomJobOperator:
    arguments = {"job_spec": FILE_BATCH, "body": {"file_ids": ["a", "b"]}, "ids": {"vector_store_id": "vs_1"}} | changes
    return make(mode, arguments)


def turn(mode: str = "poke", **changes: Any) -> PortkeyCreateCustomJobOperator:
    body = {"assistant_id": "asst_1", "metadata": {"team": "data"}}
    return make(mode, {"job_spec": TURN, "body": body, "ids": {"thread_id": THREAD}} | changes)


def make(mode: str, arguments: dict[str, Any]) -> PortkeyCreateCustomJobOperator:
    how = {"mode": "reschedule" if mode == "reschedule" else "poke", "deferrable": mode == "deferred"}
    return PortkeyCreateCustomJobOperator(task_id="start", poke_interval=0, timeout=60, **how, **arguments)


def test_a_job_is_created_and_waited_for(mock_server, context, mode, carry_out, posts, variables):
    mock_server.plan("file_batches", statuses=["in_progress", "in_progress", "completed"], advance="per_poll")
    job = carry_out(lambda: file_batch(mode), context)
    assert (job["id"], job["status"], job["file_counts"]["total"]) == ("vsfb_000001", "completed", 2)
    assert "object" not in job
    assert posts("/vector_stores/vs_1/file_batches") == [{"file_ids": ["a", "b"]}]
    assert variables == {}


def test_excluded_fields_and_failures_may_be_returned(mock_server, context, mode, carry_out):
    mock_server.plan("file_batches", statuses=["in_progress", "in_progress", "failed"], advance="per_poll")
    job = carry_out(lambda: file_batch(mode, on_failed="return", include_fields=["object"]), context)
    assert (job["status"], job["object"]) == ("failed", "vector_store.file_batch")
    assert "gave no reason" in job["error_message"]


def test_a_job_that_failed_fails_the_task_and_the_next_try_creates_another(
    mock_server, context, mode, carry_out, retry
):
    mock_server.plan("file_batches", statuses=["in_progress", "failed"], advance="per_poll")
    with pytest.raises(PortkeyRemoteJobFailedError):
        carry_out(lambda: file_batch(mode), context)
    retry()
    assert carry_out(lambda: file_batch(mode), context)["id"] == "vsfb_000002"


def test_an_included_field_that_is_too_large_fails_the_task(mock_server, context, mode, carry_out):
    with pytest.raises(PortkeyXComTooLargeError, match=r"field 'object'.*PortkeyHook\.get_job"):
        carry_out(lambda: file_batch(mode, include_fields="object", max_bytes=20), context)


def test_the_body_and_the_ids_may_be_json_strings(context, posts):
    ids, body = json.dumps({"vector_store_id": "vs_1"}), json.dumps({"file_ids": ["a"]})
    assert file_batch(ids=ids, body=body).execute(context)["file_counts"]["total"] == 1
    assert posts("/file_batches") == [{"file_ids": ["a"]}]


def test_the_idempotency_key_is_in_the_metadata_of_a_kind_that_can_be_searched(context, mode, carry_out, posts):
    job = carry_out(lambda: turn(mode), context)
    assert job["status"] == "completed"
    (body,) = posts("/runs")
    assert len(body["metadata"].pop("airflow_idempotency_key")) == 32
    assert body == {"assistant_id": "asst_1", "metadata": {"team": "data"}}


@pytest.mark.parametrize("mode", ["poke", "reschedule", "deferred"])
@pytest.mark.parametrize(
    ("owner", "method", "done", "created"),
    [
        (PortkeyHook, "create_job", False, 1),
        (PortkeyHook, "create_job", True, 1),
        (BasePortkeySubmitOperator, "_remember", False, 1),
        (BasePortkeySubmitOperator, "_remember", True, 1),
        (BasePortkeySubmitOperator, "_poll", False, 1),
        (BasePortkeySubmitOperator, "_conclude", False, 1),
    ],
)
def test_killed_at_any_step_the_next_try_continues_with_the_one_job(
    context, carry_out, retry, killing, posts, mode, owner, method, done, created
):
    killing(owner, method, done=done)
    with pytest.raises(SystemExit):
        carry_out(lambda: turn(mode), context)
    retry()
    assert carry_out(lambda: turn(mode), context)["id"] == "run_000001"
    assert len(posts("/runs")) == created


def test_the_job_is_distinguished_from_others_of_the_list(mock_server, context, retry, killing, posts):
    killing(PortkeyHook, "create_job", done=True)
    with pytest.raises(SystemExit):
        turn().execute(context)
    mock_server.add_run(thread_id=THREAD, fields={"metadata": {"airflow_idempotency_key": "another"}})
    mock_server.add_run(thread_id=THREAD, fields={"metadata": None})
    retry()
    assert turn().execute(context)["id"] == "run_000001"
    (search,) = [one for one in mock_server.requests if one.method == "GET" and one.path.endswith("/runs")]
    assert search.query == "limit=100"


def test_without_a_list_an_unknown_outcome_is_not_submitted_again(context, retry, killing, posts):
    killing(PortkeyHook, "create_job", done=True)
    with pytest.raises(SystemExit):
        file_batch().execute(context)
    retry()
    with pytest.raises(PortkeySubmissionUnknownError, match="sent a file batch"):
        file_batch().execute(context)
    assert len(posts("/file_batches")) == 1
    assert file_batch(resubmit_unknown=True).execute(context)["id"] == "vsfb_000002"


def test_where_the_list_cannot_be_read_the_outcome_is_unknown(mock_server, context, retry, killing):
    killing(PortkeyHook, "create_job", done=True)
    with pytest.raises(SystemExit):
        turn().execute(context)
    retry()
    mock_server.fault(status=404, path="*/runs", method="GET", times=1)
    with pytest.raises(PortkeySubmissionUnknownError):
        turn().execute(context)
    assert turn().execute(context)["id"] == "run_000001"


def test_a_request_that_was_refused_is_sent_again(context, retry, posts):
    with pytest.raises(PortkeyBadRequestError, match="file_ids"):
        file_batch(body={}).execute(context)
    retry()
    assert file_batch().execute(context)["id"] == "vsfb_000001"


def test_a_wait_that_broke_off_continues_with_the_job(mock_server, context, mode, carry_out, retry, posts):
    mock_server.plan("file_batches", statuses=["in_progress"] * 3 + ["completed"], advance="per_poll")
    mock_server.fault(status=500, path="*/file_batches/*", times=2)
    with pytest.raises(PortkeyPollingGaveUpError):
        carry_out(lambda: file_batch(mode, max_consecutive_failures=2), context)
    retry()
    assert carry_out(lambda: file_batch(mode), context)["id"] == "vsfb_000001"
    assert len(posts("/file_batches")) == 1


@pytest.mark.parametrize("requested", [True, False])
def test_a_kill_cancels_the_job(mock_server, context, posts, requested):
    mock_server.plan("file_batches", statuses="in_progress")
    one = file_batch(wait_for_completion=False, cancel_on_kill=requested)
    one.execute(context)
    one.on_kill()
    assert len(posts("/vsfb_000001/cancel")) == requested


def test_a_job_without_a_way_to_cancel_is_left_running(mock_server, context, posts):
    mock_server.plan("file_batches", statuses="in_progress")
    one = file_batch(job_spec=replace(FILE_BATCH, cancel_path=None), wait_for_completion=False)
    one.execute(context)
    one.on_kill()
    assert posts("/cancel") == []


@pytest.mark.parametrize("choice", ["fail", "return"])
def test_a_job_that_requires_action(mock_server, context, mode, carry_out, choice):
    mock_server.plan("runs", statuses=["queued", "in_progress", "requires_action"], advance="per_poll")
    waiting: Callable[[], Any] = lambda: carry_out(lambda: turn(mode, on_requires_action=choice), context)  # noqa: E731
    if choice == "return":
        assert waiting()["status"] == "requires_action"
    else:
        with pytest.raises(PortkeyActionRequiredError):
            waiting()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"job_spec": replace(FILE_BATCH, create_path=None)}, "job_spec"),
        ({"ids": None}, "ids"),
        ({"ids": {}}, "ids"),
        ({"ids": {"vector_store_id": "v", "batch_id": "b"}}, "ids"),
        ({"ids": "vs_1"}, "ids"),
        ({"on_requires_action": "x"}, "on_requires_action"),
        ({"on_failed": "x"}, "on_failed"),
        ({"include_fields": ["file_counts"]}, "include_fields"),
    ],
)
def test_a_wrong_argument_is_refused_when_the_dag_is_parsed(wrong, field):
    with pytest.raises(PortkeyInvalidArgumentError, match=rf"^{field}="):
        file_batch(**wrong)


@pytest.mark.parametrize(
    ("make_one", "wrong", "named"),
    [
        (file_batch, {"body": "no object"}, "body="),
        (file_batch, {"body": None}, "body="),
        (file_batch, {"ids": {"vector_store_id": ".."}}, "vector_store_id="),
        (turn, {"body": {"metadata": {"airflow_idempotency_key": "mine"}}}, "metadata="),
        (turn, {"body": {"metadata": "text"}}, r"body\['metadata'\]="),
    ],
)
def test_a_wrong_request_is_named_before_it_is_sent(mock_server, context, make_one, wrong, named):
    with pytest.raises(PortkeyInvalidArgumentError, match=f"^{named}"):
        make_one(**wrong).execute(context)
    assert mock_server.requests == []


def test_ids_of_a_template_are_checked_after_rendering(mock_server, context):
    one = file_batch(ids="{{ params.ids }}")
    one.ids = "{}"
    with pytest.raises(PortkeyInvalidArgumentError, match=r"^ids="):
        one.execute(context)
    assert mock_server.requests == []
