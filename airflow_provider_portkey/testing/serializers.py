"""The JSON objects of threads, messages, runs and steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_portkey.testing.resources.runs import Run, Step
    from airflow_provider_portkey.testing.resources.threads import Thread

#: Any other status, known or not, is active.
FINAL_RUN_STATUSES = frozenset({"completed", "failed", "cancelled", "expired", "incomplete"})

#: The value of ``include[]`` that adds the content found by a file search.
FILE_SEARCH_CONTENT = "step_details.tool_calls[*].file_search.results[*].content"

MODELS = {
    "object": "list",
    "data": [{"id": "mock-model", "object": "model", "created": 1700000000, "owned_by": "mock-server"}],
}

_ASSISTANT_ID = "asst_000001"

#: Seconds after its creation at which an active run expires.
_EXPIRES_AFTER = 600

_STEP_USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}


_RUN = {
    "object": "thread.run",
    "assistant_id": _ASSISTANT_ID,
    "model": "mock-model",
    "instructions": "Answer as a mock server would.",
    "tools": [{"type": "code_interpreter"}],
    "metadata": {},
    "truncation_strategy": {"type": "auto", "last_messages": None},
    "parallel_tool_calls": True,
    **dict.fromkeys(("tool_choice", "response_format"), "auto"),
    **dict.fromkeys(("temperature", "top_p"), 1.0),
    **dict.fromkeys(("max_prompt_tokens", "max_completion_tokens")),
}

_STEP = {
    "object": "thread.run.step",
    "assistant_id": _ASSISTANT_ID,
    "status": "completed",
    "metadata": {},
    "usage": _STEP_USAGE,
    **dict.fromkeys(("last_error", "expired_at", "cancelled_at", "failed_at")),
}


def thread_object(thread: Thread) -> dict[str, Any]:
    """Return a thread's object."""
    shown = {"id": thread.id, "object": "thread", "created_at": thread.created_at, "metadata": thread.metadata}
    return {**shown, "tool_resources": {}}


def message_object(
    ids: Mapping[str, str | None], *, created_at: int, role: str, content: str | list[Any], metadata: Any = None
) -> dict[str, Any]:
    """
    Return a message's object.

    :param ids: ``id``, ``thread_id`` and ``run_id``.
    :param content: a string, or the API's own list of content parts.
    """
    if isinstance(content, str):
        content = [{"type": "text", "text": {"value": content, "annotations": []}}]
    return {
        **ids,
        "object": "thread.message",
        "status": "completed",
        "created_at": created_at,
        "completed_at": created_at,
        "role": role,
        "content": content,
        "assistant_id": _ASSISTANT_ID if role == "assistant" else None,
        "attachments": [],
        "metadata": metadata or {},
        **dict.fromkeys(("incomplete_details", "incomplete_at")),
    }


def run_object(run: Run) -> dict[str, Any]:
    """
    Return a run's object as of its last update, with the fields that belong to its status.

    Its timestamps count from ``created_at``, so that a run with a fixed ``created_at`` and a test's clock has the
    same object every time.
    """
    status = run.status
    final = status in FINAL_RUN_STATUSES
    started = [seconds for reached, seconds in run.timeline.reached.items() if reached != "queued"]
    last_error = run.last_error or {"code": "invalid_prompt", "message": "The mock server was told to fail this run."}
    action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": run.pending_tool_calls[0]}}
    return {
        **_RUN,
        "id": run.id,
        "created_at": run.created,
        "thread_id": run.thread_id,
        "status": status,
        "required_action": action if status == "requires_action" else None,
        "last_error": last_error if status == "failed" else None,
        "incomplete_details": {"reason": run.incomplete_reason} if status == "incomplete" else None,
        "expires_at": None if final and status != "expired" else run.created + _EXPIRES_AFTER,
        "started_at": run.created + int(min(started)) if started else None,
        **{f"{name}_at": run.reached_at(name) for name in ("cancelled", "failed", "completed")},
        "usage": {name: tokens * len(run.step_items) for name, tokens in _STEP_USAGE.items()} if final else None,
        **run.fields,
    }


def step_object(step: Step, run: Run, *, include: frozenset[str] = frozenset()) -> dict[str, Any]:
    """
    Return a step's object.

    :param include: the values of ``include[]``; only :data:`FILE_SEARCH_CONTENT` adds anything.
    """
    return {
        **_STEP,
        "id": step.id,
        "thread_id": run.thread_id,
        "run_id": run.id,
        "type": step.type,
        "created_at": step.created_at,
        "completed_at": step.created_at,
        "step_details": _step_details(step, FILE_SEARCH_CONTENT in include),
        **step.fields,
    }


def _step_details(step: Step, with_content: bool) -> dict[str, Any]:
    details: Any = {}
    if step.type == "message_creation":
        details = {"message_id": step.message_id}
    elif step.type == "tool_calls":
        kind = ("function", "code_interpreter", "file_search")[step.number // 2 % 3]
        details = [{"id": f"call_of_{step.id}", "type": kind, kind: _tool_call(kind, step.number, with_content)}]
    return {"type": step.type, step.type: details}


def _tool_call(kind: str, number: int, with_content: bool) -> dict[str, Any]:
    if kind == "function":
        return {"name": "look_up", "arguments": f'{{"step": {number}}}', "output": "found"}
    if kind == "code_interpreter":
        return {"input": f"print({number})", "outputs": [{"type": "logs", "logs": str(number)}]}
    result: dict[str, Any] = {"file_id": "file_000001", "file_name": "mock-server.txt", "score": 0.5}
    if with_content:
        result["content"] = [{"type": "text", "text": f"Found for step {number}."}]
    return {"results": [result]}
