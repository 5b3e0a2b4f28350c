from __future__ import annotations

import re
from typing import Any

import pytest

from airflow_provider_portkey import jobs
from airflow_provider_portkey.jobs import lists

DECLARED = {name: getattr(lists, name) for name in vars(lists) if name.isupper() and not name.startswith("_")}

#: The fields of a run and of a step on Portkey's pages "list runs" and "list run steps", in their order.
RUN_FIELDS = [
    "id", "object", "created_at", "thread_id", "assistant_id", "status", "required_action", "last_error",
    "expires_at", "started_at", "cancelled_at", "failed_at", "completed_at", "incomplete_details", "model",
    "instructions", "tools", "metadata", "usage", "temperature", "top_p", "max_prompt_tokens",
    "max_completion_tokens", "truncation_strategy", "tool_choice", "parallel_tool_calls", "response_format",
]  # fmt: skip
STEP_FIELDS = [
    "id", "object", "created_at", "assistant_id", "thread_id", "run_id", "type", "status", "step_details",
    "last_error", "expired_at", "cancelled_at", "failed_at", "completed_at", "metadata", "usage",
]  # fmt: skip


def test_the_package_exports_every_declared_list() -> None:
    assert len(DECLARED) == 11
    for name, spec in DECLARED.items():
        assert getattr(jobs, name) is spec
    with pytest.raises(AttributeError, match="no attribute 'NOTHING'"):
        jobs.NOTHING  # noqa: B018


def test_the_columns_of_runs_and_steps_are_the_fields_of_portkeys_pages() -> None:
    assert list(jobs.RUNS.columns) == RUN_FIELDS
    assert list(jobs.RUN_STEPS.columns) == STEP_FIELDS
    types = dict(jobs.RUNS.columns)
    assert (types["temperature"], types["top_p"], types["parallel_tool_calls"]) == ("number", "number", "boolean")
    assert {types[name] for name in ("response_format", "tool_choice", "truncation_strategy", "usage")} == {"json"}


@pytest.mark.parametrize("name", DECLARED)
def test_a_timestamp_is_an_integer_and_an_id_is_text(name: str) -> None:
    for column, kind in dict(DECLARED[name].columns).items():
        if column.endswith("_at") or column == "created":
            assert kind == "integer", column
        if column == "id" or column.endswith("_id"):
            assert kind == "text", column


@pytest.mark.parametrize("name", DECLARED)
def test_a_list_with_ids_has_the_column_id(name: str) -> None:
    assert "id" in DECLARED[name].columns


@pytest.mark.parametrize(
    ("name", "sent"), [("RUNS", {"limit", "order", "after", "before"}), ("BATCHES", {"limit", "after"})]
)
def test_the_parameters_are_those_of_portkeys_openapi(name: str, sent: set[str]) -> None:
    assert set(DECLARED[name].parameters) == sent


def test_kinds_are_plural_and_paths_differ() -> None:
    specs: list[Any] = list(DECLARED.values())

    assert all(re.search(r"(s|es)$", spec.kind) for spec in specs)
    assert len({(spec.path, spec.items_field) for spec in specs}) == len(specs)
