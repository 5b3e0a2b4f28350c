"""An export of Portkey's own logs. Its guide and its schema spell a bad end differently: both count."""

from __future__ import annotations

from airflow_provider_portkey.jobs.spec import JobSpec

LOG_EXPORT = JobSpec(
    kind="log export",
    path="/logs/exports/{export_id}",
    active_statuses={"draft", "in_progress"},
    success_statuses={"success"},
    failure_statuses={"failed", "failure", "stopped"},
    error_fields=("error", "message"),  # "description" is what its maker wrote
    excluded_fields={"filters", "requested_data"},
    create_path="/logs/exports",
    cancel_path="/logs/exports/{export_id}/cancel",
)

#: Rows that Portkey puts into one export at the most (its guide on log exports).
MAX_ROWS = 50_000

#: What an export may ask for (Portkey's schema, ``LogExportsRequestedData``).
FIELDS = (
    "id",
    "trace_id",
    "created_at",
    "request",
    "response",
    "is_success",
    "ai_org",
    "ai_model",
    "req_units",
    "res_units",
    "total_units",
    "request_url",
    "cost",
    "cost_currency",
    "response_time",
    "response_status_code",
    "mode",
    "config",
    "prompt_slug",
    "metadata",
)
