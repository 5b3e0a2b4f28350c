"""The run of an assistant on a thread. Statuses as in OpenAI's reference of the Assistants API, version 2."""

from __future__ import annotations

import math
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

RUN = JobSpec(
    kind="run",
    path="/threads/{thread_id}/runs/{run_id}",
    active_statuses={"queued", "in_progress", "cancelling"},
    success_statuses={"completed"},
    failure_statuses={"failed", "cancelled", "expired", "incomplete"},
    action_required_statuses={"requires_action"},
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
RUN_GROUP = replace(RUN, kind="runs", excluded_fields=(), failure_exception=PortkeyRunsFailedError)

#: The fields of a run's ``usage``.
TOKENS = ("prompt_tokens", "completion_tokens", "total_tokens")


def tokens_of(run: Mapping[str, Any]) -> tuple[int, ...]:
    """Return a run's tokens in the order of :data:`TOKENS`; 0 for a missing number."""
    usage = run.get("usage")
    usage = usage if isinstance(usage, Mapping) else {}
    return tuple(value if type(value := usage.get(name)) is int else 0 for name in TOKENS)


def created_at_of(run: Mapping[str, Any]) -> float:
    """
    Return when a run was created, epoch seconds.

    :raises PortkeyUnexpectedResponseError: where ``created_at`` is missing or no finite number.
    """
    timestamp = epoch_seconds(run.get("created_at"))
    if timestamp is None:
        raise PortkeyUnexpectedResponseError(
            f"Run {run.get('id')!r} has created_at={run.get('created_at')!r}, which is no timestamp."
        )
    return timestamp


def epoch_seconds(value: Any) -> float | None:
    """Return a value that is a finite number, which a boolean is not; ``None`` for any other value."""
    return value if type(value) in (int, float) and math.isfinite(value) else None
