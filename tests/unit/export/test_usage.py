from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_portkey.export.usage import add_usage


def total(*usages: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for usage in usages:
        add_usage(found, usage)
    return found


def test_tokens_cost_and_details_are_summed() -> None:
    usage = {
        "prompt_tokens": 8,
        "completion_tokens": 4,
        "total_tokens": 12,
        "cost": 0.00025,
        "cost_details": {"upstream_inference_cost": 0.0002},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }

    assert total(usage, usage, usage, usage) == {
        "prompt_tokens": 32,
        "completion_tokens": 16,
        "total_tokens": 48,
        "cost": 0.001,
        "cost_details": {"upstream_inference_cost": 0.0008},
        "completion_tokens_details": {"reasoning_tokens": 8},
    }


@pytest.mark.parametrize(
    "usage", [None, [], "12", 12, {"total_tokens": "12"}, {"total_tokens": True}, {"total_tokens": None}]
)
def test_what_is_no_number_adds_nothing(usage: Any) -> None:
    assert total({"total_tokens": 1}, usage) == {"total_tokens": 1}


def test_another_shape_under_the_same_name_adds_nothing() -> None:
    assert total({"details": {"a": 1}}, {"details": 5}, {"details": {"a": 2}}) == {"details": {"a": 3}}
    assert total({"details": 5}, {"details": {"a": 2}}) == {"details": 5}
