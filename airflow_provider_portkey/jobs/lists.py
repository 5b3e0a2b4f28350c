"""The declared lists. Fields and parameters as in Portkey's OpenAPI; where it has none, as in OpenAI's reference."""

from __future__ import annotations

from airflow_provider_portkey.jobs.list_spec import ListSpec

#: The runs of a thread.
RUNS = ListSpec(
    kind="runs",
    path="/threads/{thread_id}/runs",
    columns={
        "id": "text",
        "object": "text",
        "created_at": "integer",
        "thread_id": "text",
        "assistant_id": "text",
        "status": "text",
        "required_action": "json",
        "last_error": "json",
        "expires_at": "integer",
        "started_at": "integer",
        "cancelled_at": "integer",
        "failed_at": "integer",
        "completed_at": "integer",
        "incomplete_details": "json",
        "model": "text",
        "instructions": "text",
        "tools": "json",
        "metadata": "json",
        "usage": "json",
        "temperature": "number",
        "top_p": "number",
        "max_prompt_tokens": "integer",
        "max_completion_tokens": "integer",
        "truncation_strategy": "json",
        "tool_choice": "json",
        "parallel_tool_calls": "boolean",
        "response_format": "json",
    },
)

#: The steps of a run. ``include`` is a parameter of OpenAI's reference.
RUN_STEPS = ListSpec(
    kind="steps",
    path="/threads/{thread_id}/runs/{run_id}/steps",
    columns={
        "id": "text",
        "object": "text",
        "created_at": "integer",
        "assistant_id": "text",
        "thread_id": "text",
        "run_id": "text",
        "type": "text",
        "status": "text",
        "step_details": "json",
        "last_error": "json",
        "expired_at": "integer",
        "cancelled_at": "integer",
        "failed_at": "integer",
        "completed_at": "integer",
        "metadata": "json",
        "usage": "json",
    },
    parameters=("limit", "order", "after", "before", "include"),
)

#: The messages of a thread.
MESSAGES = ListSpec(
    kind="messages",
    path="/threads/{thread_id}/messages",
    columns={
        "id": "text",
        "object": "text",
        "created_at": "integer",
        "thread_id": "text",
        "status": "text",
        "incomplete_details": "json",
        "completed_at": "integer",
        "incomplete_at": "integer",
        "role": "text",
        "content": "json",
        "assistant_id": "text",
        "run_id": "text",
        "attachments": "json",
        "metadata": "json",
    },
    parameters=("limit", "order", "after", "before", "run_id"),
)

#: The batches of an account.
BATCHES = ListSpec(
    kind="batches",
    path="/batches",
    columns={
        "id": "text",
        "object": "text",
        "endpoint": "text",
        "model": "text",
        "errors": "json",
        "input_file_id": "text",
        "completion_window": "text",
        "status": "text",
        "output_file_id": "text",
        "error_file_id": "text",
        "created_at": "integer",
        "in_progress_at": "integer",
        "expires_at": "integer",
        "finalizing_at": "integer",
        "completed_at": "integer",
        "failed_at": "integer",
        "expired_at": "integer",
        "cancelling_at": "integer",
        "cancelled_at": "integer",
        "request_counts": "json",
        "usage": "json",
        "metadata": "json",
    },
    parameters=("limit", "after"),
)

#: The uploaded files of an account (OpenAI's reference; Portkey passes the call on).
FILES = ListSpec(
    kind="files",
    path="/files",
    columns={
        "id": "text",
        "object": "text",
        "bytes": "integer",
        "created_at": "integer",
        "expires_at": "integer",
        "filename": "text",
        "purpose": "text",
        "status": "text",
        "status_details": "text",
    },
    parameters=("limit", "order", "after", "purpose"),
)

#: The files of a vector store (OpenAI's reference; Portkey passes the call on).
VECTOR_STORE_FILES = ListSpec(
    kind="vector store files",
    path="/vector_stores/{vector_store_id}/files",
    columns={
        "id": "text",
        "object": "text",
        "created_at": "integer",
        "vector_store_id": "text",
        "usage_bytes": "integer",
        "status": "text",
        "last_error": "json",
        "chunking_strategy": "json",
        "attributes": "json",
    },
    parameters=("limit", "order", "after", "before", "filter"),
)

_RESPONSE_ITEM = {
    "id": "text",
    "type": "text",
    "status": "text",
    "role": "text",
    "content": "json",
    "summary": "json",
    "name": "text",
    "call_id": "text",
    "arguments": "text",
    "output": "json",
}

#: The input items of a response. Providers behind the gateway leave out the ids of some items.
RESPONSE_INPUT_ITEMS = ListSpec(
    kind="input items",
    path="/responses/{response_id}/input_items",
    columns=_RESPONSE_ITEM,
    parameters=("limit", "order", "after", "before", "include"),
    has_ids=False,
)

#: The output items of a response, which are a field of the response.
RESPONSE_OUTPUT_ITEMS = ListSpec(
    kind="output items",
    path="/responses/{response_id}",
    columns=_RESPONSE_ITEM,
    parameters=("include",),
    paging="none",
    has_ids=False,
    newest_first=False,
    items_field="output",
)

#: The events of a fine-tuning job.
FINE_TUNING_EVENTS = ListSpec(
    kind="fine-tuning events",
    path="/fine_tuning/jobs/{fine_tuning_job_id}/events",
    columns={
        "id": "text",
        "object": "text",
        "created_at": "integer",
        "level": "text",
        "type": "text",
        "message": "text",
        "data": "json",
    },
    parameters=("limit", "after"),
)

#: The checkpoints of a fine-tuning job.
FINE_TUNING_CHECKPOINTS = ListSpec(
    kind="fine-tuning checkpoints",
    path="/fine_tuning/jobs/{fine_tuning_job_id}/checkpoints",
    columns={
        "id": "text",
        "object": "text",
        "created_at": "integer",
        "fine_tuned_model_checkpoint": "text",
        "fine_tuning_job_id": "text",
        "step_number": "integer",
        "metrics": "json",
    },
    parameters=("limit", "after"),
)

#: The models that a connection can use: one page, unless the caller sends ``limit`` and ``offset``.
MODELS = ListSpec(
    kind="models",
    path="/models",
    columns={
        "id": "text",
        "object": "text",
        "created": "integer",
        "owned_by": "text",
        "slug": "text",
        "canonical_slug": "text",
    },
    parameters=("ai_service", "provider", "limit", "offset", "sort", "order"),
    paging="none",
)
