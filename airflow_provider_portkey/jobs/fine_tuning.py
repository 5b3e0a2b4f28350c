"""A fine-tuning job. Statuses as in OpenAI's reference."""

from __future__ import annotations

from airflow_provider_portkey.jobs.spec import JobSpec

FINE_TUNING = JobSpec(
    kind="fine-tuning job",
    path="/fine_tuning/jobs/{fine_tuning_job_id}",
    active_statuses={"validating_files", "queued", "running"},
    success_statuses={"succeeded"},
    failure_statuses={"failed", "cancelled"},
    error_fields=("error",),
    cancel_path="/fine_tuning/jobs/{fine_tuning_job_id}/cancel",
)
