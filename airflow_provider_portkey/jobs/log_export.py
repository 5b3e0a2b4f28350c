"""An export of Portkey's own logs. Portkey's guide and schema spell the failure status differently; both count."""

from __future__ import annotations

from airflow_provider_portkey.jobs.spec import JobSpec

LOG_EXPORT = JobSpec(
    kind="log export",
    path="/logs/exports/{export_id}",
    active_statuses={"draft", "in_progress"},
    success_statuses={"success"},
    failure_statuses={"failed", "failure", "stopped"},
    error_fields=("error", "message"),  # "description" is the creator's own
    excluded_fields={"filters", "requested_data"},
    create_path="/logs/exports",
    cancel_path="/logs/exports/{export_id}/cancel",
)

#: Rows of one export at most (Portkey's guide on log exports).
MAX_ROWS = 50_000

#: Fields of a row that an export may request (Portkey's schema, ``LogExportsRequestedData``).
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
