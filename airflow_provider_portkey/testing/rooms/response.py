"""One response, and how it looks on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_portkey.testing.course import ScriptedJob
from airflow_provider_portkey.testing.paging import Shelf

TERMINAL_STATUSES = frozenset({"completed", "failed", "cancelled", "incomplete"})


@dataclass
class Item:
    """One input item, by its id."""

    id: str
    shown: dict[str, Any]


@dataclass(kw_only=True)
class Response(ScriptedJob):
    """One response; its parameters are those of :meth:`Responses.add`."""

    output: list[dict[str, Any]]
    input_items: Shelf[Item] = field(default_factory=Shelf)
    error: Mapping[str, Any] | None = None
    incomplete_reason: str = "max_output_tokens"
    background: bool = True


def response_object(response: Response) -> dict[str, Any]:
    """Show a response as it stood at the last look, with what the API tells about that status."""
    status = response.status
    over = status in ("completed", "incomplete")
    error = response.error or {
        "code": "server_error",
        "message": "The mock server was told to fail this response.",
    }
    tokens = 5 * len(response.output)
    usage = {
        "input_tokens": 20,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 20 + tokens,
    }
    return {
        "id": response.id,
        "object": "response",
        "created_at": response.created_at,
        "status": status,
        "background": response.background,
        "completed_at": response.reached_at("completed"),
        "error": error if status == "failed" else None,
        "incomplete_details": {"reason": response.incomplete_reason} if status == "incomplete" else None,
        "instructions": None,
        "max_output_tokens": None,
        "model": "mock-model",
        "output": response.output if over else [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "store": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": usage if over else None,
        "metadata": {},
        **response.fields,
    }
