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

#: The columns of a table of events: ``"text"``, ``"integer"`` (epoch seconds) or ``"json"``.
EVENT_COLUMNS = {
    "id": "text",
    "object": "text",
    "created_at": "integer",
    "level": "text",
    "type": "text",
    "message": "text",
    "data": "json",
}

#: The columns of a table of checkpoints.
CHECKPOINT_COLUMNS = {
    "id": "text",
    "object": "text",
    "created_at": "integer",
    "fine_tuned_model_checkpoint": "text",
    "fine_tuning_job_id": "text",
    "step_number": "integer",
    "metrics": "json",
}
