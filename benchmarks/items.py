"""Items of lists as a provider sends them: about 900 bytes each."""

from __future__ import annotations

import json
import random

CREATED = 1_780_000_000


_TEXT = 'The quarter\'s revenue rose by four percent — ünïcödé, "quoted", and a second line.\nNothing else changed. '
_QUARTER = "The quarter's revenue"
#: 300,000 characters that do not repeat, as texts compress.
_WORDS = " ".join(f"{random.Random(at).randrange(10**6):x} orders of" for at in range(20_000))
_CALL = {
    "id": "call_%(number)d",
    "type": "function",
    "function": {"name": "find_orders", "arguments": json.dumps({"query": _TEXT}), "output": _TEXT},
}
_STEP = json.dumps(
    {
        "id": "step_%(number)d",
        "object": "thread.run.step",
        "created_at": 0,
        "run_id": "%(run_id)s",
        "assistant_id": "asst_1",
        "thread_id": "%(thread_id)s",
        "type": "tool_calls",
        "status": "completed",
        "cancelled_at": None,
        "completed_at": CREATED + 7,
        "expired_at": None,
        "failed_at": None,
        "last_error": None,
        "step_details": {"type": "tool_calls", "tool_calls": [_CALL]},
        "usage": {"prompt_tokens": 120, "completion_tokens": 45, "total_tokens": 165},
        "metadata": None,
    }
)
_RUN = json.dumps(
    {
        "id": "%(run_id)s",
        "object": "thread.run",
        "created_at": 0,
        "thread_id": "%(thread_id)s",
        "assistant_id": "asst_1",
        "status": "%(status)s",
        "required_action": None,
        "last_error": None,
        "expires_at": None,
        "started_at": CREATED,
        "cancelled_at": None,
        "failed_at": None,
        "completed_at": CREATED + 9,
        "incomplete_details": None,
        "model": "gpt-5-mini",
        "instructions": _TEXT,
        "tools": [{"type": "file_search"}],
        "metadata": {"team": "data"},
        "usage": {"prompt_tokens": 120, "completion_tokens": 45, "total_tokens": 165},
        "temperature": 1.0,
        "top_p": 1.0,
        "max_prompt_tokens": None,
        "max_completion_tokens": None,
        "truncation_strategy": {"type": "auto", "last_messages": None},
        "tool_choice": "auto",
        "response_format": "auto",
        "parallel_tool_calls": True,
    }
)


def step_json(number: int, thread_id: str, run_id: str) -> bytes:
    """
    Return a step of a run; its number is part of its id and its time.

    :param thread_id: ``thread_long_<n>`` for texts that are n characters longer.
    """
    values = {"number": number, "thread_id": thread_id, "run_id": run_id}
    step = (_STEP % values).replace('"created_at": 0', f'"created_at": {CREATED + number}', 1)
    if thread_id.startswith("thread_long_"):
        at = 977 * number % len(_WORDS)
        step = step.replace(_QUARTER, (_WORDS[at:] + _WORDS[:at])[: int(thread_id.rpartition("_")[2])] + _QUARTER, 1)
    return step.encode()


def run_json(run_id: str, thread_id: str, status: str) -> bytes:
    """Return a run."""
    number = run_id.rpartition("_")[2]
    created_at = CREATED + (int(number) if number.isdigit() and len(number) < 9 else 0)
    values = {"run_id": run_id, "thread_id": thread_id, "status": status}
    return (_RUN % values).replace('"created_at": 0', f'"created_at": {created_at}', 1).encode()
