from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_portkey.testing import Clock
from airflow_provider_portkey.testing.errors import ApiError
from airflow_provider_portkey.testing.paging import PageQuery
from airflow_provider_portkey.testing.resources.runs import Run, Runs, Step
from airflow_provider_portkey.testing.resources.threads import Threads
from airflow_provider_portkey.testing.serializers import FILE_SEARCH_CONTENT, run_object, step_object
from airflow_provider_portkey.testing.store import Store

NOW = 1_700_000_000


@pytest.fixture
def store() -> Store:
    return Store(clock=Clock(NOW))


@pytest.fixture
def threads(store: Store) -> Threads:
    return Threads(store)


@pytest.fixture
def runs(store: Store, threads: Threads) -> Runs:
    return Runs(store, threads)


def make_run(runs: Runs, **parameters: Any) -> Run:
    runs.add(thread_id="thread_1", **parameters)
    run = runs.jobs("thread_1").newest
    run.update(NOW + 3600)
    return run


def steps_of(run: Run) -> list[Step]:
    return run.step_items.page(PageQuery(limit=100, order="asc"))[0]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("completed", {"completed_at": NOW + 4, "expires_at": None}),
        ("failed", {"failed_at": NOW + 4, "completed_at": None}),
        ("cancelled", {"cancelled_at": NOW + 4, "completed_at": None}),
        ("incomplete", {"incomplete_details": {"reason": "max_completion_tokens"}}),
        ("expired", {"expires_at": NOW + 600}),
        ("in_progress", {"usage": None, "expires_at": NOW + 600, "completed_at": None}),
        ("dreaming", {"usage": None, "last_error": None, "required_action": None}),
    ],
)
def test_a_run_carries_what_belongs_to_its_status(runs: Runs, status: str, expected: dict[str, Any]) -> None:
    run = run_object(make_run(runs, statuses=[("queued", 0), (status, 4)]))
    assert run["status"] == status
    assert {name: run[name] for name in expected} == expected
    assert run["started_at"] == NOW + 4
    assert (run["last_error"] is not None) == (status == "failed")
    assert (run["incomplete_details"] is not None) == (status == "incomplete")


def test_a_failed_and_an_incomplete_run_report_the_declared_reason(runs: Runs) -> None:
    error = {"code": "rate_limit_exceeded", "message": "Slow down."}
    failed = make_run(runs, statuses="failed", last_error=error)
    incomplete = make_run(runs, statuses="incomplete", incomplete_reason="max_prompt_tokens")
    assert run_object(failed)["last_error"] == error
    assert run_object(incomplete)["incomplete_details"] == {"reason": "max_prompt_tokens"}


def test_a_run_that_requires_action_says_which(runs: Runs) -> None:
    action = run_object(make_run(runs, statuses="requires_action"))["required_action"]
    assert action["type"] == "submit_tool_outputs"
    assert [call["id"] for call in action["submit_tool_outputs"]["tool_calls"]] == ["call_000001"]


def test_the_usage_of_a_run_is_that_of_its_steps(runs: Runs) -> None:
    run = make_run(runs, steps=3)
    tokens = [step_object(step, run)["usage"]["total_tokens"] for step in steps_of(run)]
    assert run_object(run)["usage"]["total_tokens"] == sum(tokens) == 75


def test_ids_are_counted_and_unique(runs: Runs) -> None:
    assert make_run(runs, run_id="run_000001").id == "run_000001"
    assert [make_run(runs).id for _ in range(2)] == ["run_000002", "run_000003"]
    with pytest.raises(ValueError, match="run_000001"):
        make_run(runs, run_id="run_000001")


def test_steps_alternate_and_message_steps_have_their_message(runs: Runs, threads: Threads) -> None:
    run = make_run(runs, run_id="run_1", steps=4, statuses=[("queued", 0), ("completed", 8)])
    steps = [step_object(step, run) for step in steps_of(run)]
    assert [step["id"] for step in steps] == ["step_000001", "step_000002", "step_000003", "step_000004"]
    assert [step["type"] for step in steps] == ["message_creation", "tool_calls"] * 2
    assert [step["created_at"] - NOW for step in steps] == [0, 2, 4, 6]
    message_id = steps[2]["step_details"]["message_creation"]["message_id"]
    message = threads.find("thread_1").messages.get(message_id)
    assert message is not None
    shown = message.serialize()
    assert (shown["role"], shown["run_id"]) == ("assistant", "run_1")
    assert shown["content"][0]["text"]["value"] == "Message of step 2 of run_1."


def test_steps_have_the_declared_fields(runs: Runs, threads: Threads) -> None:
    plans: list[dict[str, Any]] = [
        {"id": "s/1", "text": "Grüße", "metadata": {"a": "b"}},
        {"type": "dream", "status": "failed", "last_error": {"code": "server_error", "message": "no"}},
        {"type": "message_creation", "step_details": {"type": "message_creation", "message_creation": {}}},
    ]
    run = make_run(runs, steps=plans)
    first, second, third = (step_object(step, run) for step in steps_of(run))
    assert (first["id"], first["metadata"]) == ("s/1", {"a": "b"})
    assert (second["type"], second["status"], second["step_details"]["dream"]) == ("dream", "failed", {})
    assert third["step_details"]["message_creation"] == {}
    messages, _ = threads.find("thread_1").messages.page(PageQuery())
    assert [message.serialize()["content"][0]["text"]["value"] for message in messages] == ["Grüße"]
    assert "id" in plans[0], "the caller's dict must not change"


def test_a_file_search_shows_its_content_only_when_included(runs: Runs) -> None:
    run = make_run(runs, steps=6)
    step = steps_of(run)[5]

    def results(**include: frozenset[str]) -> Any:
        return step_object(step, run, **include)["step_details"]["tool_calls"][0]["file_search"]["results"]

    assert "content" not in results()[0]
    assert results(include=frozenset({FILE_SEARCH_CONTENT}))[0]["content"]


def test_an_unknown_run_is_a_404(runs: Runs, threads: Threads) -> None:
    make_run(runs, run_id="run_1")
    threads.ensure("thread_2")
    for thread_id, run_id in (("unknown", "run_1"), ("thread_1", "unknown"), ("thread_2", "run_1")):
        with pytest.raises(ApiError) as rejected:
            runs.find({"thread_id": thread_id, "run_id": run_id})
        assert rejected.value.status == 404
