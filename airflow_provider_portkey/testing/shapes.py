"""How the things of the world look on the wire: the objects of the Assistants API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_provider_portkey.testing.world import ASSISTANT_ID, Message, Run, Step, Thread

#: A run that is over. Any other status, known or not, is still going.
TERMINAL_STATUSES = frozenset({"completed", "failed", "cancelled", "expired", "incomplete"})

#: What a caller asks for in ``include[]`` to see the text that a file search found.
FILE_SEARCH_CONTENT = "step_details.tool_calls[*].file_search.results[*].content"

#: Seconds after its creation at which an unfinished run would expire.
EXPIRES_AFTER = 600

_STEP_USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}


def model_objects() -> list[dict[str, Any]]:
    """Give the models that the mock server claims to have."""
    return [{"id": "mock-model", "object": "model", "created": 1700000000, "owned_by": "mock-server"}]


def thread_object(thread: Thread) -> dict[str, Any]:
    """Show a thread."""
    return {
        "id": thread.id,
        "object": "thread",
        "created_at": thread.created_at,
        "tool_resources": {},
        "metadata": thread.metadata,
    }


def message_object(message: Message) -> dict[str, Any]:
    """Show a message."""
    content = message.content
    if isinstance(content, str):
        content = [{"type": "text", "text": {"value": content, "annotations": []}}]
    return {
        "id": message.id,
        "object": "thread.message",
        "created_at": message.created_at,
        "thread_id": message.thread_id,
        "status": "completed",
        "incomplete_details": None,
        "completed_at": message.created_at,
        "incomplete_at": None,
        "role": message.role,
        "content": content,
        "assistant_id": ASSISTANT_ID if message.role == "assistant" else None,
        "run_id": message.run_id,
        "attachments": [],
        "metadata": message.metadata,
    }


def run_object(run: Run) -> dict[str, Any]:
    """Show a run as it stood at the last look, with what the API tells about that status.

    Its moments are counted from ``created_at``, so a run made with a fixed ``created_at`` and driven by a
    test's clock looks the same every time.
    """
    status = run.script.status
    over = status in TERMINAL_STATUSES
    begun = [seconds for reached, seconds in run.script.reached.items() if reached != "queued"]

    last_error = run.last_error or {
        "code": "server_error",
        "message": "The mock server was told to fail this run.",
    }
    tool_outputs = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": run.tool_calls}}
    usage = {name: tokens * len(run.steps) for name, tokens in _STEP_USAGE.items()}
    return {
        "id": run.id,
        "object": "thread.run",
        "created_at": run.created_at,
        "thread_id": run.thread_id,
        "assistant_id": ASSISTANT_ID,
        "status": status,
        "required_action": tool_outputs if status == "requires_action" else None,
        "last_error": last_error if status == "failed" else None,
        "expires_at": None if over and status != "expired" else run.created_at + EXPIRES_AFTER,
        "started_at": run.created_at + int(min(begun)) if begun else None,
        "cancelled_at": run.reached_at("cancelled"),
        "failed_at": run.reached_at("failed"),
        "completed_at": run.reached_at("completed"),
        "incomplete_details": {"reason": run.incomplete_reason} if status == "incomplete" else None,
        "model": "mock-model",
        "instructions": "Answer as a mock server would.",
        "tools": [{"type": "code_interpreter"}],
        "metadata": {},
        "usage": usage if over else None,
        "temperature": 1.0,
        "top_p": 1.0,
        "max_prompt_tokens": None,
        "max_completion_tokens": None,
        "truncation_strategy": {"type": "auto", "last_messages": None},
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "response_format": "auto",
        **run.fields,
    }


def step_object(step: Step, run: Run, *, include: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Show a step.

    :param include: the values of ``include[]``; only :data:`FILE_SEARCH_CONTENT` adds anything.
    """
    return {
        "id": step.id,
        "object": "thread.run.step",
        "created_at": step.created_at,
        "assistant_id": ASSISTANT_ID,
        "thread_id": run.thread_id,
        "run_id": run.id,
        "type": step.type,
        "status": "completed",
        "step_details": _step_details(step, FILE_SEARCH_CONTENT in include),
        "last_error": None,
        "expired_at": None,
        "cancelled_at": None,
        "failed_at": None,
        "completed_at": step.created_at,
        "metadata": {},
        "usage": _STEP_USAGE,
        **(step.fields or {}),
    }


def _step_details(step: Step, with_content: bool) -> dict[str, Any]:
    if step.type == "message_creation":
        return {"type": step.type, step.type: {"message_id": step.message_id}}
    if step.type == "tool_calls":
        show = _TOOLS[step.number // 2 % len(_TOOLS)]
        return {"type": step.type, step.type: [{"id": f"call_of_{step.id}", **show(step, with_content)}]}
    return {"type": step.type, step.type: {}}


def _function(step: Step, with_content: bool) -> dict[str, Any]:
    call = {"name": "look_up", "arguments": f'{{"step": {step.number}}}', "output": "found"}
    return {"type": "function", "function": call}


def _code_interpreter(step: Step, with_content: bool) -> dict[str, Any]:
    outputs = [{"type": "logs", "logs": str(step.number)}]
    return {
        "type": "code_interpreter",
        "code_interpreter": {"input": f"print({step.number})", "outputs": outputs},
    }


def _file_search(step: Step, with_content: bool) -> dict[str, Any]:
    result: dict[str, Any] = {"file_id": "file_000001", "file_name": "mock server.txt", "score": 0.5}
    if with_content:
        result["content"] = [{"type": "text", "text": f"Found for step {step.number}."}]
    return {"type": "file_search", "file_search": {"results": [result]}}


_TOOLS: tuple[Callable[[Step, bool], dict[str, Any]], ...] = (_function, _code_interpreter, _file_search)
