"""The numbers of a run."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_portkey.jobs.run import tokens_of


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42}, (30, 12, 42)),
        ({"total_tokens": 42}, (0, 0, 42)),
        ({"total_tokens": "42", "prompt_tokens": True}, (0, 0, 0)),
        (None, (0, 0, 0)),
        ("many", (0, 0, 0)),
    ],
)
def test_tokens_that_a_run_does_not_name_are_zero(usage: Any, tokens: tuple[int, ...]) -> None:
    assert tokens_of({"usage": usage}) == tokens
