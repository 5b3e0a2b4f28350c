"""A batch of requests that the provider works off within a day."""

from __future__ import annotations

from airflow_provider_portkey.jobs.base import Job

BATCH = Job(
    kind="batch",
    path="/batches/{batch_id}",
    going={"validating", "in_progress", "finalizing", "cancelling"},
    ended_well={"completed"},
    ended_badly={"failed", "expired", "cancelled"},
    reasons=("errors",),
    progress="request_counts",
    create_path="/batches",
    cancel_path="/batches/{batch_id}/cancel",
)
