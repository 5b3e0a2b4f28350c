"""A response that is made in the background. Statuses as OpenAI's API answers them, which its schema lags behind."""

from __future__ import annotations

from airflow_provider_portkey.jobs.base import Job

RESPONSE = Job(
    kind="response",
    path="/responses/{response_id}",
    going={"queued", "in_progress"},
    ended_well={"completed"},
    ended_badly={"failed", "cancelled", "incomplete"},
    reasons=("error", "incomplete_details"),
    bulky={"instructions", "tools", "input", "output"},
    create_path="/responses",
    cancel_path="/responses/{response_id}/cancel",
)

#: The columns of a table of response items: ``"text"`` or ``"json"``.
ITEM_COLUMNS = {
    "id": "text",
    "type": "text",
    "status": "text",
    "role": "text",
    "content": "json",
    "summary": "json",
    "name": "text",
    "call_id": "text",
    "arguments": "text",
    "output": "json",
}
