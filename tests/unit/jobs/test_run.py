from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_portkey.exceptions import PortkeyUnexpectedResponseError
from airflow_provider_portkey.jobs.run import created_at_of


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(1_700_000_000, 1_700_000_000), (1_700_000_000.5, 1_700_000_000.5), (1_700_000_000_250, 1_700_000_000.25), (0, 0)],
)
def test_the_creation_of_a_run_is_in_seconds(value: float, seconds: float) -> None:
    assert created_at_of({"id": "run_1", "created_at": value}) == seconds


@pytest.mark.parametrize("value", [None, "1700000000", True, False, float("nan"), float("inf"), [1]])
def test_any_other_creation_is_an_error_that_names_the_run(value: Any) -> None:
    with pytest.raises(PortkeyUnexpectedResponseError, match=r"^Run 'run_1' has created_at="):
        created_at_of({"id": "run_1", "created_at": value})


def test_a_run_without_a_creation_is_an_error() -> None:
    with pytest.raises(PortkeyUnexpectedResponseError, match="created_at=None"):
        created_at_of({"id": "run_1"})
