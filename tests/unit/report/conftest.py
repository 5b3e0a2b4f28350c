"""Runs as Portkey sends them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_portkey.report.page import render
from airflow_provider_portkey.report.run import RunReport

BEGIN = 1_800_000_000


@pytest.fixture
def step() -> Callable[..., dict[str, Any]]:
    def step(number: int = 0, **fields: Any) -> dict[str, Any]:
        created = BEGIN + 10 * number
        usage = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
        made = {"id": f"step_{number}", "created_at": created, "completed_at": created + 4, "status": "completed"}
        return {**made, "type": "message_creation", "message_text": f"Message {number}.", "usage": usage, **fields}

    return step


@pytest.fixture
def call() -> Callable[..., dict[str, Any]]:
    """A step that calls a function."""

    def call(name: str = "look_up", arguments: Any = "{}", output: Any = "found") -> dict[str, Any]:
        function = {"name": name, "arguments": arguments, "output": output}
        calls = [{"id": "call_1", "type": "function", "function": function}]
        return {"type": "tool_calls", "step_details": {"type": "tool_calls", "tool_calls": calls}, "message_text": None}

    return call


@pytest.fixture
def report() -> Callable[..., RunReport]:
    def report(steps: Any = (), *, cost: float | None = None, **fields: Any) -> RunReport:
        run = {"id": "run_1", "thread_id": "thread_1", "status": "completed", "created_at": BEGIN, **fields}
        return RunReport(run, steps, cost=cost)

    return report


@pytest.fixture
def page_of() -> Callable[[Any], str]:
    return lambda report: b"".join(render(report)).decode()
