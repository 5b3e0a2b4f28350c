"""A batch of requests, which the provider processes within a day. Statuses as in OpenAI's reference."""

from __future__ import annotations

from airflow_provider_portkey.jobs.lists import BATCHES
from airflow_provider_portkey.jobs.spec import JobSpec

BATCH = JobSpec(
    kind="batch",
    path="/batches/{batch_id}",
    active_statuses={"validating", "in_progress", "finalizing", "cancelling"},
    success_statuses={"completed"},
    failure_statuses={"failed", "expired", "cancelled"},
    error_fields=("errors",),
    progress_field="request_counts",
    create_path="/batches",
    cancel_path="/batches/{batch_id}/cancel",
    list_spec=BATCHES,
    metadata_field="metadata",
)
