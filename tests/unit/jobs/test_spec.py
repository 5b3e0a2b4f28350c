"""The declaration of a kind of job."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_portkey.exceptions import (
    PortkeyRemoteJobFailedError,
    PortkeyRemoteJobFailedTransientlyError,
    PortkeyRunFailedError,
    PortkeyUnexpectedResponseError,
)
from airflow_provider_portkey.jobs import BATCHES, RUNS, JobSpec
from airflow_provider_portkey.jobs.batch import BATCH
from airflow_provider_portkey.jobs.fine_tuning import FINE_TUNING
from airflow_provider_portkey.jobs.log_export import LOG_EXPORT
from airflow_provider_portkey.jobs.response import RESPONSE
from airflow_provider_portkey.jobs.run import RUN, RUN_GROUP
from airflow_provider_portkey.jobs.spec import STATUS_SETS

KINDS = {
    "run": RUN,
    "runs": RUN_GROUP,
    "response": RESPONSE,
    "batch": BATCH,
    "tuning": FINE_TUNING,
    "export": LOG_EXPORT,
}


def spec(**fields: Any) -> JobSpec:
    required = {
        "kind": "file batch",
        "path": "/stores/{store_id}/batches/{batch_id}",
        "active_statuses": ["in_progress"],
        "success_statuses": ["completed"],
        "failure_statuses": ["failed"],
    }
    return JobSpec(**required | fields)


def test_the_package_offers_the_declaration_without_importing_it() -> None:
    code = (
        "import sys, airflow_provider_portkey.jobs as jobs;"
        "assert 'airflow_provider_portkey.jobs.spec' not in sys.modules;"
        "assert jobs.JobSpec.__module__ == 'airflow_provider_portkey.jobs.spec'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

    with pytest.raises(ImportError):
        from airflow_provider_portkey.jobs import NoSuchName  # noqa: F401


@pytest.mark.parametrize("collection", [list, tuple, set, frozenset, iter])
def test_statuses_may_be_any_collection_of_strings(collection: Any) -> None:
    declared = spec(active_statuses=collection(["queued", "in_progress"]))

    assert declared.active_statuses == {"queued", "in_progress"}
    assert declared.terminal_statuses == {"completed", "failed"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        *[({name: "done"}, f"^Job 'file batch': {name} must be a collection .* not a string") for name in STATUS_SETS],
        ({"failure_statuses": ["failed", "completed"]}, r"a status belongs to one set only: completed\."),
        ({"action_required_statuses": ["failed", "in_progress"]}, r"one set only: failed, in_progress\."),
        ({"success_statuses": []}, "must not be empty"),
        ({"failure_statuses": []}, "must not be empty"),
        ({"path": "stores/{store_id}"}, "path='stores/{store_id}' is not valid: expected a path that begins with '/'"),
        ({"path": "/stores"}, "has a {name} for the job's id"),
        ({"partial_statuses": ["failed"]}, "partial_statuses must be among success_statuses"),
        ({"echoed_ids": ["batch_id"]}, r"echoed_ids are not in the path: batch_id\."),
        ({"retryable_error_codes": "busy"}, "retryable_error_codes must be a collection .* not a string"),
        ({"create_path": "/stores/{store}/batches"}, "create_path has store, which is no id known then"),
        ({"create_path": "/stores/{store_id}/batches/{batch_id}"}, "create_path has batch_id"),
        ({"list_spec": RUNS, "metadata_field": "metadata"}, "list_spec has thread_id, which is no id known then"),
        ({"cancel_path": "/stores/{store_id}/{id}/cancel"}, "cancel_path has id"),
        ({"list_spec": BATCHES}, "list_spec and metadata_field find a job together"),
        ({"metadata_field": "metadata"}, "list_spec and metadata_field find a job together"),
    ],
)  # fmt: skip
def test_a_wrong_declaration_is_refused_by_field(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spec(**fields)


def test_a_declaration_survives_json() -> None:
    declared = spec(
        error_fields=["last_error"],
        excluded_fields=["files"],
        field_operators={"files": "ListFilesOperator"},
        metric="tokens",
        cancel_path="/cancel",
        create_path="/stores/{store_id}/batches",
    )
    declared = replace(declared, cancel_body={"reason": "killed"})
    restored = JobSpec(**json.loads(json.dumps(declared.to_dict())))

    assert restored.to_dict() == declared.to_dict()
    assert restored.error_fields == ("last_error",)


def test_what_triggers_do_not_use_is_not_serialized() -> None:
    assert not {"list_spec", "metadata_field"} & spec(list_spec=BATCHES, metadata_field="metadata").to_dict().keys()
    assert "failure_exception" not in spec(failure_exception=PortkeyRunFailedError).to_dict()


def test_a_description_names_the_job_and_its_parents() -> None:
    assert spec().id_names == ("store_id", "batch_id")
    assert spec().describe({"store_id": "s", "batch_id": "b"}) == "file batch 'b' (store_id 's')"
    assert BATCH.describe({"batch_id": "b"}) == "batch 'b'"


def test_a_summary_lacks_the_excluded_fields() -> None:
    job = {"id": "b", "files": [1], "new": 2}
    assert spec(excluded_fields=["files"]).summary(job) == {"id": "b", "new": 2}
    assert spec(excluded_fields=["files"]).summary(job, ["files", "absent"]) == job


def test_ids_that_are_known_before_the_creation_are_those_of_its_path() -> None:
    assert spec(create_path="/stores/{store_id}/batches").create_id_names == ("store_id",)
    assert spec(create_path="/batches").create_id_names == spec().create_id_names == ()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ({"code": "rate_limit_exceeded", "message": "Slow down"}, "rate_limit_exceeded: Slow down"),
        ({"reason": "max_prompt_tokens"}, "max_prompt_tokens"),
        ({"code": 400, "message": "no", "line": 7}, "400: no (line 7)"),
        ({"object": "list", "data": [{"message": "a"}, {"message": "b"}]}, "a; b"),
        ([{"message": name} for name in "abcde"], "a; b; c; and 2 more"),
        (["a", {}, "b"], "a; b"),
        ("a string", "a string"),
        ({}, ""),
        ([], ""),
        (None, ""),
    ],
)
def test_an_error_message_is_one_line(error: Any, message: str) -> None:
    assert spec(error_fields=["last_error"]).error_message({"last_error": error}) == message


def test_the_first_error_that_is_not_empty_counts() -> None:
    declared = spec(error_fields=["error", "message"])

    assert declared.error_message({"error": None, "message": "second"}) == "second"
    assert declared.error_message({"error": {"message": "first"}, "message": "second"}) == "first"
    assert declared.error_message({}) == ""


@pytest.mark.parametrize(
    ("counts", "progress"),
    [
        ({"total": 200, "completed": 120, "failed": 3}, "completed 120, failed 3, total 200"),
        ({"total": 2, "note": "text"}, "total 2"),
        ({"total": 3, "completed": "3", "failed": None}, "completed 3, total 3"),
        (None, ""),
        ([1], ""),
    ],
)
def test_progress_is_the_counts_in_one_order(counts: Any, progress: str) -> None:
    assert spec(progress_field="request_counts").progress({"request_counts": counts}) == progress
    assert spec().progress({"request_counts": counts}) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_this_provider_has_the_documented_statuses(kind: str) -> None:
    documented = {
        "run": (
            {"queued", "in_progress", "cancelling"}, {"completed"}, {"failed", "cancelled", "expired", "incomplete"}
        ),
        "response": ({"queued", "in_progress"}, {"completed"}, {"failed", "cancelled", "incomplete"}),
        "batch": (
            {
                "validating", "in_progress", "finalizing", "cancelling",
                "submitted", "scheduled", "stopping", "processing", "processing_post_request_guardrails",
                "Validating", "InProgress", "Submitted", "Scheduled", "Stopping",
            },
            {"completed", "partially_completed", "complete", "Completed", "PartiallyCompleted"},
            {"failed", "expired", "cancelled", "stopped", "Failed", "Expired", "Stopped"},
        ),
        "tuning": (
            {"validating_files", "queued", "running", "created", "pending"}, {"succeeded"}, {"failed", "cancelled"}
        ),
        "export": ({"draft", "in_progress"}, {"success"}, {"failed", "failure", "stopped"}),
    }  # fmt: skip
    active, success, failure = documented["run" if kind == "runs" else kind]

    assert KINDS[kind].active_statuses == active
    assert KINDS[kind].success_statuses == success
    assert KINDS[kind].failure_statuses == failure
    assert KINDS[kind].action_required_statuses == ({"requires_action"} if kind in ("run", "runs") else set())


IDS = {"store_id": "s", "batch_id": "b"}


def test_a_response_about_the_job_has_its_status() -> None:
    declared = spec(echoed_ids=["store_id"])

    assert declared.status_of(IDS, {"id": "b", "store_id": "s", "status": "unheard of"}) == "unheard of"
    assert spec().status_of(IDS, {"id": "b", "status": "completed"}) == "completed"
    assert spec(id_field="name").status_of(IDS, {"name": "b", "status": "completed"}) == "completed"
    assert spec(id_field=None).status_of(IDS, {"status": "completed"}) == "completed"


@pytest.mark.parametrize(
    ("requested", "sent"),
    [
        ("arn%3Aaws%3Ax%2Fb", "arn%3Aaws%3Ax%2Fb"),
        ("arn%3Aaws%3Ax%2Fb", "arn:aws:x/b"),
        ("arn:aws:x/b", "arn%3aaws%3ax%2fb"),
    ],
)
def test_ids_are_compared_decoded(requested: str, sent: str) -> None:
    assert BATCH.status_of({"batch_id": requested}, {"id": sent, "status": "submitted"}) == "submitted"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "other"}, r"^The response is not about file batch 'b' \(store_id 's'\): its id is 'other'\.$"),
        ({"id": None}, "its id is None"),
        ({"id": ["b"]}, r"its id is \['b'\]"),
        ({"store_id": "other"}, "its store_id is 'other'"),
        ({"store_id": None}, "its store_id is None"),
        ({"status": []}, r"is no file batch: its status is \[\], a string was expected"),
        ({"status": ""}, "its status is ''"),
    ],
)
def test_a_response_about_another_job_is_unexpected(changes: dict[str, Any], message: str) -> None:
    job = {"id": "b", "store_id": "s", "status": "completed", **changes}
    with pytest.raises(PortkeyUnexpectedResponseError, match=message):
        spec(echoed_ids=["store_id"]).status_of(IDS, {name: value for name, value in job.items() if value is not None})


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        ({"code": "busy", "message": "Come back."}, True),
        ({"data": [{"code": "busy"}, {"code": "busy"}]}, True),
        ([{"code": "busy"}], True),
        ({"data": [{"code": "busy"}, {"code": "invalid"}]}, False),
        ({"data": [{"code": "busy"}, {"message": "no code"}]}, False),
        ({"code": ["busy"]}, False),
        ("busy", False),
        ({}, False),
        (None, False),
    ],
)
def test_a_failure_passes_where_every_code_is_retryable(error: Any, passes: bool) -> None:
    declared = spec(error_fields=["last_error"], retryable_error_codes=["busy", "slow"])
    failure = declared.failure("It failed.", status="failed", job={"last_error": error})

    assert type(failure) is (PortkeyRemoteJobFailedTransientlyError if passes else PortkeyRemoteJobFailedError)
    assert (str(failure), failure.status, failure.job) == ("It failed.", "failed", {"last_error": error})


@pytest.mark.parametrize(
    ("kind", "code", "passes"),
    [
        (RUN, "server_error", True),
        (RUN, "rate_limit_exceeded", True),
        (RUN, "invalid_prompt", False),
        (RUN_GROUP, "server_error", False),
        (RESPONSE, "server_error", True),
        (BATCH, "token_limit_exceeded", True),
        (BATCH, "invalid_json_line", False),
        (FINE_TUNING, "server_error", False),
    ],
)
def test_each_kind_has_its_codes_of_failures_that_pass(kind: JobSpec, code: str, passes: bool) -> None:
    failure = kind.failure("", status="failed", job={kind.error_fields[0]: {"code": code}})
    assert isinstance(failure, PortkeyRemoteJobFailedTransientlyError) is passes


def test_the_same_declaration_has_the_same_text_in_every_process() -> None:
    """Airflow compares the texts of serialized DAGs: one that differs would be a new version of the DAG."""
    code = "from airflow_provider_portkey.jobs.run import RUN\nprint(RUN)"
    texts = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(texts) == 1
    assert "0x" not in texts.pop()
