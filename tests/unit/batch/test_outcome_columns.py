"""What a line of a batch's results says, as columns of a table."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_portkey.batch.outcome_columns import OUTCOME_COLUMNS, STATUSES, read_outcome, read_usage


def openai(body: Any, status: int = 200, error: Any = None) -> dict[str, Any]:
    return {"custom_id": "a", "response": {"status_code": status, "body": body}, "error": error}


def anthropic(kind: str, **result: Any) -> dict[str, Any]:
    return {"custom_id": "a", "result": {"type": kind, **result}}


CHAT = {
    "model": "gpt-4.1-mini-2025",
    "choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9, "cost": 0.25},
}
RESPONSE = {
    "model": "m",
    "status": "incomplete",
    "incomplete_details": {"reason": "max_output_tokens"},
    "output": [
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hidden"}]},
        {"type": "message", "content": [{"type": "output_text", "text": "a"}, {"type": "output_text", "text": "b"}]},
    ],
    "usage": {"input_tokens": 3, "output_tokens": 4},
}
MESSAGE = {
    "model": "claude",
    "content": [{"type": "thinking", "thinking": "x"}, {"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 4},
}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            openai(CHAT),
            {
                "text": "Hi",
                "finish_reason": "stop",
                "model": "gpt-4.1-mini-2025",
                "input_tokens": 7,
                "output_tokens": 2,
                "total_tokens": 9,
                "cost": 0.25,
            },
        ),
        (
            openai(RESPONSE),
            {
                "text": "ab",
                "finish_reason": "max_output_tokens",
                "model": "m",
                "input_tokens": 3,
                "output_tokens": 4,
                "total_tokens": 7,
            },
        ),
        (
            anthropic("succeeded", message=MESSAGE),
            {
                "text": "Hi",
                "finish_reason": "end_turn",
                "model": "claude",
                "input_tokens": 3,
                "output_tokens": 4,
                "total_tokens": 7,
            },
        ),
        (openai({"choices": [{"text": "x", "finish_reason": "length"}]}), {"text": "x", "finish_reason": "length"}),
        (openai({"data": [{"embedding": [0.5, 1]}], "model": "e"}), {"parsed": "[0.5,1]", "model": "e"}),
        (openai({"choices": [{"message": {"content": None, "refusal": "No."}}]}), {}),
        (
            openai({"choices": [{"message": {"content": [{"type": "text", "text": "x"}]}}], "cost": 1}),
            {"text": "x", "cost": 1},
        ),
        (openai("a page"), {}),
    ],
)
def test_a_success(line: dict[str, Any], expected: dict[str, Any]) -> None:
    assert read_outcome(line) == {"status": "succeeded", **expected}


@pytest.mark.parametrize(
    ("line", "status", "code", "message"),
    [
        (openai({"error": {"code": "content_filter", "message": "No."}}, 400), "failed", "content_filter", "No."),
        (openai({"error": {"type": "oh", "code": None, "message": "Oh."}}, 500), "failed", "oh", "Oh."),
        (openai("<html>", 502), "failed", "502", "<html>"),
        ({"response": None, "error": {"code": "batch_expired", "message": "late"}}, "expired", "batch_expired", "late"),
        ({"response": None, "error": {"code": "batch_cancelled"}}, "cancelled", "batch_cancelled", None),
        ({"response": None, "error": "broken"}, "failed", None, "broken"),
        ({"response": None, "error": None}, "failed", None, None),
        (
            anthropic("errored", error={"type": "error", "error": {"type": "invalid_request_error", "message": "No."}}),
            "failed",
            "invalid_request_error",
            "No.",
        ),
        (anthropic("expired"), "expired", "expired", None),
        (anthropic("canceled"), "cancelled", "canceled", None),
    ],
)
def test_a_failure(line: dict[str, Any], status: str, code: str | None, message: str | None) -> None:
    found = read_outcome(line)
    assert (found["status"], found.get("error_code"), found.get("error_message")) == (status, code, message)
    assert found["status"] in STATUSES
    assert found.keys() <= OUTCOME_COLUMNS.keys()


def test_every_line_of_an_error_file_is_a_failure() -> None:
    assert read_outcome(openai(CHAT), error_file=True)["status"] == "failed"


@pytest.mark.parametrize("usage", [None, "9", [], {}, {"prompt_tokens": None, "total_tokens": "x"}])
def test_a_usage_that_says_nothing(usage: Any) -> None:
    assert read_usage(usage) == {}
