"""The sum of ``usage`` objects."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_portkey.jobs.usage import UsageSum


def total(*usages: Any) -> dict[str, Any]:
    found = UsageSum()
    for usage in usages:
        found.add(usage)
    return found.to_dict()


def test_every_number_is_summed_cost_and_details_included() -> None:
    usage = {
        "prompt_tokens": 7,
        "total_tokens": 9,
        "cost": 0.00035,
        "cost_details": {"upstream_inference_cost": 0.0001},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    assert total(usage, usage, usage) == {
        "prompt_tokens": 21,
        "total_tokens": 27,
        "cost": 0.00105,
        "cost_details": {"upstream_inference_cost": 0.0003},
        "completion_tokens_details": {"reasoning_tokens": 6},
    }


@pytest.mark.parametrize(("cost", "times", "sum_"), [(0.1, 3, 0.3), (0.00025, 4, 0.001), (1e-9, 1000, 1e-6)])
def test_fractions_are_summed_exactly_also_across_processes(cost: float, times: int, sum_: float) -> None:
    found = UsageSum()
    for _ in range(times):
        found = UsageSum(json.loads(json.dumps(found.to_dict())))
        found.add({"cost": cost})
    assert found.to_dict() == {"cost": sum_}


def test_strings_are_numbers_and_other_values_are_left_out() -> None:
    assert total(
        {"input_tokens": "10", "service_tier": "batch", "cached": True, "odd": None, "details": {"note": "x"}},
        {"input_tokens": 5, "cost": "0.5", "odd": float("nan"), "details": [1]},
        None,
        "many",
        [],
    ) == {"input_tokens": 15, "cost": 0.5}


def test_a_field_that_changes_its_kind_keeps_the_first() -> None:
    assert total({"a": 1, "b": {"c": 1}}, {"a": {"d": 5}, "b": 7}) == {"a": 1, "b": {"c": 1}}


def test_a_sum_that_no_float_holds_is_left_out_and_deep_nesting_is_no_error() -> None:
    deep: dict[str, Any] = {"n": 1}
    for _ in range(200):
        deep = {"n": deep}
    assert total({"cost": 1.7e308, "tokens": 1}, {"cost": 1.7e308}, {"deep": deep}) == {"tokens": 1}


def test_nothing_is_empty() -> None:
    assert total() == {}
