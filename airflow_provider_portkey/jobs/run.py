"""The run of an assistant on a thread. Statuses as in OpenAI's reference of the Assistants API, version 2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from airflow_provider_portkey.exceptions import (
    PortkeyRunFailedError,
    PortkeyRunsFailedError,
    PortkeyUnexpectedResponseError,
)
from airflow_provider_portkey.jobs.spec import JobSpec
from airflow_provider_portkey.jobs.values import epoch_seconds

RUN = JobSpec(
    kind="run",
    path="/threads/{thread_id}/runs/{run_id}",
    active_statuses={"queued", "in_progress", "cancelling"},
    success_statuses={"completed"},
    failure_statuses={"failed", "cancelled", "expired", "incomplete"},
    action_required_statuses={"requires_action"},
    #: OpenAI's reference of runs; ``invalid_prompt`` would come again.
    retryable_error_codes={"server_error", "rate_limit_exceeded"},
    echoed_ids={"thread_id"},
    error_fields=("last_error", "incomplete_details"),
    excluded_fields={"instructions", "tools"},
    cancel_path="/threads/{thread_id}/runs/{run_id}/cancel",
    metric="portkey.run.tokens",
    failure_exception=PortkeyRunFailedError,
)

#: Path of the list of a thread's runs.
RUNS_PATH = "/threads/{thread_id}/runs"
#: Several runs of one thread, polled together.
RUNS = replace(RUN, kind="runs", excluded_fields=(), retryable_error_codes=(), failure_exception=PortkeyRunsFailedError)

#: The fields that the ``usage`` of a run always has.
TOKENS = ("prompt_tokens", "completion_tokens", "total_tokens")

#: The columns of a table of steps: ``"text"``, ``"integer"`` (epoch seconds for times) or ``"json"``.
STEP_COLUMNS = {
    "id": "text",
    "object": "text",
    "created_at": "integer",
    "assistant_id": "text",
    "thread_id": "text",
    "run_id": "text",
    "type": "text",
    "status": "text",
    "step_details": "json",
    "last_error": "json",
    "expired_at": "integer",
    "cancelled_at": "integer",
    "failed_at": "integer",
    "completed_at": "integer",
    "metadata": "json",
    "usage": "json",
}


def created_at_of(run: Mapping[str, Any]) -> float:
    """
    Return when a run was created, epoch seconds.

    :raises PortkeyUnexpectedResponseError: where ``created_at`` is no timestamp.
    """
    timestamp = epoch_seconds(run.get("created_at"))
    if timestamp is None:
        raise PortkeyUnexpectedResponseError(
            f"Run {run.get('id')!r} has created_at={run.get('created_at')!r}, which is no timestamp."
        )
    return timestamp
