"""A background response. Statuses as OpenAI's API returns them; Portkey's schema lacks some of them."""

from __future__ import annotations

from airflow_provider_portkey.jobs.spec import JobSpec

RESPONSE = JobSpec(
    kind="response",
    path="/responses/{response_id}",
    active_statuses={"queued", "in_progress"},
    success_statuses={"completed"},
    failure_statuses={"failed", "cancelled", "incomplete"},
    #: OpenAI's reference of responses (``ResponseErrorCode``); all other codes are about the request.
    retryable_error_codes={"server_error", "rate_limit_exceeded"},
    error_fields=("error", "incomplete_details"),
    excluded_fields={"instructions", "tools", "input", "output"},
    field_operators=dict.fromkeys(("input", "output"), "PortkeyResponseItemsToObjectStorageOperator"),
    create_path="/responses",
    cancel_path="/responses/{response_id}/cancel",
    cancel_body={},  # the gateway's route for this call reads JSON
)
