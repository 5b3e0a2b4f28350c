"""An export of Portkey's own logs. Its guide and its schema spell the failure status differently: both count."""

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

#: Rows of one export at most (Portkey's guide on log exports).
MAX_ROWS = 50_000

#: The fields of a row (Portkey's schema, ``LogExportsRequestedData``), with their types as columns of a table.
LOG_COLUMNS = {
    "id": "text",
    "trace_id": "text",
    "created_at": "timestamp",
    "request": "json",
    "response": "json",
    "is_success": "boolean",
    "ai_org": "text",
    "ai_model": "text",
    "req_units": "integer",
    "res_units": "integer",
    "total_units": "integer",
    "request_url": "text",
    "cost": "number",
    "cost_currency": "text",
    "response_time": "integer",
    "response_status_code": "integer",
    "mode": "text",
    "config": "json",
    "prompt_slug": "text",
    "metadata": "json",
}
