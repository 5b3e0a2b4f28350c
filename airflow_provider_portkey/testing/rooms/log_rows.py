"""How a log row looks, and when it was logged."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

#: What an export may ask for, in the words of Portkey's schema.
FIELDS = frozenset(
    {
        "id",
        "trace_id",
        "created_at",
        "request",
        "response",
        "is_success",
        "ai_org",
        "ai_model",
        "req_units",
        "res_units",
        "total_units",
        "request_url",
        "cost",
        "cost_currency",
        "response_time",
        "response_status_code",
        "mode",
        "config",
        "prompt_slug",
        "metadata",
    }
)


def iso(milliseconds: float) -> str:
    """Write a moment the way Portkey does.

    :param milliseconds: since the epoch.
    """
    moment = datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def generated_row(row_id: str, number: int, moment: int) -> dict[str, Any]:
    """Make a log row; every hundredth is a request that failed.

    :param number: its place among its like.
    :param moment: when it was logged, in milliseconds since the epoch.
    """
    failed = number % 100 == 99
    question = {"role": "user", "content": f"Question {number}."}
    answer = {"role": "assistant", "content": f"Answer {number}."}
    body = {"error": {"message": "Overloaded"}} if failed else {"choices": [{"index": 0, "message": answer}]}
    return {
        "id": row_id,
        "trace_id": f"trace-{number // 2:08d}",
        "created_at": iso(moment),
        "request": {"body": {"model": "mock-model", "messages": [question]}},
        "response": {"body": body},
        "is_success": 0 if failed else 1,
        "ai_org": "openai",
        "ai_model": "mock-model",
        "req_units": 20,
        "res_units": 0 if failed else 5,
        "total_units": 20 if failed else 25,
        "request_url": "https://provider.test/v1/chat/completions",
        "cost": 0.25,
        "cost_currency": "USD",
        "response_time": 100 + number % 50,
        "response_status_code": 503 if failed else 200,
        "mode": "SINGLE",
        "config": None,
        "prompt_slug": None,
        "metadata": {"number": str(number)},
    }
