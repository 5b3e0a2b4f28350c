"""
A batch of requests, which the provider processes within a day, and its uploaded files.

Portkey passes the statuses of some providers on as they are. The tables say which words mean what; the documentation
of each table names its source. ``docs/providers.md`` shows them to users.
"""

from __future__ import annotations

from airflow_provider_portkey.jobs.lists import BATCHES
from airflow_provider_portkey.jobs.spec import JobSpec, merge_statuses

#: OpenAI's reference of batches. Azure has the same words; the gateway (mapping of the open-source gateway 1.15.2,
#: ``google-vertex-ai``) and Portkey (documentation of Anthropic batches) translate those of Vertex and Anthropic.
OPENAI = {
    "active_statuses": {"validating", "in_progress", "finalizing", "cancelling"},
    "success_statuses": {"completed"},
    "failure_statuses": {"failed", "expired", "cancelled"},
}
#: Bedrock's own words in snake case (mapping of the gateway, ``bedrock``, ``retrieveBatch``).
BEDROCK = {
    "active_statuses": {"submitted", "validating", "scheduled", "in_progress", "stopping"},
    "success_statuses": {"completed", "partially_completed"},
    "failure_statuses": {"failed", "stopped", "expired"},
    "partial_statuses": {"partially_completed"},
}
#: The same words as Bedrock itself spells them: the gateway translates them for one batch, and not in lists
#: (``bedrock``, ``listBatches``).
BEDROCK_LISTS = {
    name: {"".join(map(str.title, status.split("_"))) for status in statuses} for name, statuses in BEDROCK.items()
}
#: Cohere's words for embed jobs (mapping of the gateway, ``cohere``, passes them on; Cohere's reference).
COHERE = {
    "active_statuses": {"processing", "cancelling"},
    "success_statuses": {"complete"},
    "failure_statuses": {"failed", "cancelled"},
}
#: Portkey's own, of batches that Portkey manages (Portkey's documentation of guardrails on batches).
PORTKEY = {"active_statuses": {"processing_post_request_guardrails"}}

#: Endpoints of the requests of a batch (OpenAI's reference of batches, November 2026), as OpenAI and Azure write them.
ENDPOINTS = tuple(
    f"{version}/{name}"
    for version in ("/v1", "")
    for name in (
        "chat/completions",
        "responses",
        "embeddings",
        "completions",
        "moderations",
        "images/generations",
        "images/edits",
        "videos",
    )
)

BATCH = JobSpec(
    kind="batch",
    path="/batches/{batch_id}",
    **merge_statuses(OPENAI, BEDROCK, BEDROCK_LISTS, COHERE, PORTKEY),
    #: OpenAI's guide on batches: the queue of the model is full, until other batches have finished.
    retryable_error_codes={"token_limit_exceeded"},
    error_fields=("errors",),
    progress_field="request_counts",
    create_path="/batches",
    cancel_path="/batches/{batch_id}/cancel",
    list_spec=BATCHES,
    metadata_field="metadata",
)

#: An uploaded file. Azure's reference of files; Cohere has ``uploaded``, ``processed`` and ``error`` (mapping of the
#: gateway), Fireworks ``uploading``. OpenAI takes a file that is ``uploaded``.
FILE = JobSpec(
    kind="file",
    path="/files/{file_id}",
    active_statuses={"pending", "running", "uploading"},
    success_statuses={"processed", "uploaded"},
    failure_statuses={"error", "failed", "deleting", "deleted"},
    error_fields=("status_details", "error"),
)
