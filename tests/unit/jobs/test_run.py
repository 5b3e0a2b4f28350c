from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_portkey.exceptions import PortkeyUnexpectedResponseError
from airflow_provider_portkey.jobs.run import created_at_of, epoch_seconds, tokens_of


@pytest.mark.parametrize("value", [1_700_000_000, 1_700_000_000.5, 0, -1])
def test_the_creation_of_a_run_is_a_finite_number(value: float) -> None:
    assert created_at_of({"id": "run_1", "created_at": value}) == epoch_seconds(value) == value


@pytest.mark.parametrize("value", [None, "1700000000", True, False, float("nan"), float("inf"), [1]])
def test_any_other_creation_is_an_error_that_names_the_run(value: Any) -> None:
    with pytest.raises(PortkeyUnexpectedResponseError, match=r"^Run 'run_1' has created_at="):
        created_at_of({"id": "run_1", "created_at": value})
    assert epoch_seconds(value) is None


def test_a_run_without_a_creation_is_an_error() -> None:
    with pytest.raises(PortkeyUnexpectedResponseError, match="created_at=None"):
        created_at_of({"id": "run_1"})


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
