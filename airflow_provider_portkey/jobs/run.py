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
from airflow_provider_portkey.jobs.lists import RUNS
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
    create_path=RUNS.path,
    cancel_path="/threads/{thread_id}/runs/{run_id}/cancel",
    list_spec=RUNS,
    metadata_field="metadata",
    metric="portkey.run.tokens",
    failure_exception=PortkeyRunFailedError,
)

#: Several runs of one thread, polled together.
RUN_GROUP = replace(
    RUN, kind="runs", excluded_fields=(), retryable_error_codes=(), failure_exception=PortkeyRunsFailedError
)

#: The fields that the ``usage`` of a run always has.
TOKENS = ("prompt_tokens", "completion_tokens", "total_tokens")


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
