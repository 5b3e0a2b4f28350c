"""The run of an assistant on a thread. Statuses as in OpenAI's reference of the Assistants API, version 2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from airflow_provider_portkey.exceptions import PortkeyRunFailed, PortkeyRunsFailed
from airflow_provider_portkey.jobs.base import Job

RUN = Job(
    kind="run",
    path="/threads/{thread_id}/runs/{run_id}",
    going={"queued", "in_progress", "cancelling"},
    ended_well={"completed"},
    ended_badly={"failed", "cancelled", "expired", "incomplete"},
    waits_for_caller={"requires_action"},
    reasons=("last_error", "incomplete_details"),
    bulky={"instructions", "tools"},
    cancel_path="/threads/{thread_id}/runs/{run_id}/cancel",
    metric="portkey.run.tokens",
    failure=PortkeyRunFailed,
)

#: Where a thread's runs are listed.
RUNS_PATH = "/threads/{thread_id}/runs"
#: Many runs of one thread, waited for together.
RUNS = replace(RUN, kind="runs", bulky=(), failure=PortkeyRunsFailed)

#: What a run says that it used.
TOKENS = ("prompt_tokens", "completion_tokens", "total_tokens")

#: The columns of a table of steps: ``"text"``, ``"integer"`` (times are epoch seconds) or ``"json"``.
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


def tokens_of(run: Mapping[str, Any]) -> tuple[int, ...]:
    """Return what a run used, in the order of :data:`TOKENS`, and 0 for what it does not say."""
    usage = run.get("usage")
    usage = usage if isinstance(usage, Mapping) else {}
    return tuple(value if type(value := usage.get(name)) is int else 0 for name in TOKENS)
