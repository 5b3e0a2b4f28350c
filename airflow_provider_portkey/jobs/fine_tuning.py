"""A fine-tuning job. The tables say which words of which provider mean what, as in ``batch.py``."""

from __future__ import annotations

from airflow_provider_portkey.jobs.spec import JobSpec, merge_statuses

#: OpenAI's reference of fine-tuning. The gateway translates the words of Bedrock, Vertex and Fireworks into these
#: (mapping of the open-source gateway 1.15.2).
OPENAI = {
    "active_statuses": {"validating_files", "queued", "running"},
    "success_statuses": {"succeeded"},
    "failure_statuses": {"failed", "cancelled"},
}
#: Azure's own words, which the gateway translates for one job, and not in the response that creates it
#: (``azure-openai``, ``retrieveFinetune``).
AZURE = {"active_statuses": {"created", "pending"}}

FINE_TUNING = JobSpec(
    kind="fine-tuning job",
    path="/fine_tuning/jobs/{fine_tuning_job_id}",
    **merge_statuses(OPENAI, AZURE),
    error_fields=("error",),
    cancel_path="/fine_tuning/jobs/{fine_tuning_job_id}/cancel",
)
