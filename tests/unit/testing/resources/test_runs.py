from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_portkey.testing import PortkeyMockServer

NOW = 1_700_000_000


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
def test_a_run_carries_what_belongs_to_its_status(
    mock_server: PortkeyMockServer, call: Any, clock: Any, status: str, expected: dict[str, Any]
) -> None:
    mock_server.add_run(thread_id="t", run_id="r", statuses=[("queued", 0), (status, 4)])
    clock.now += 3600
    run = call("GET", "/threads/t/runs/r")
    assert run["status"] == status
    assert {name: run[name] for name in expected} == expected
    assert run["started_at"] == NOW + 4
    assert (run["last_error"] is not None) == (status == "failed")
    assert (run["incomplete_details"] is not None) == (status == "incomplete")


def test_a_failed_and_an_incomplete_run_report_the_declared_reason(mock_server: PortkeyMockServer) -> None:
    error = {"code": "rate_limit_exceeded", "message": "Slow down."}
    assert mock_server.add_run(thread_id="t", statuses="failed", last_error=error)["last_error"] == error
    incomplete = mock_server.add_run(thread_id="t", statuses="incomplete", incomplete_reason="max_prompt_tokens")
    assert incomplete["incomplete_details"] == {"reason": "max_prompt_tokens"}


def test_a_run_that_requires_action_says_which(mock_server: PortkeyMockServer) -> None:
    action = mock_server.add_run(thread_id="t", statuses="requires_action")["required_action"]
    assert action["type"] == "submit_tool_outputs"
    assert [call["id"] for call in action["submit_tool_outputs"]["tool_calls"]] == ["call_000001"]


def test_the_usage_of_a_run_is_that_of_its_steps(mock_server: PortkeyMockServer, call: Any) -> None:
    run = mock_server.add_run(thread_id="t", run_id="r", steps=3)
    tokens = [step["usage"]["total_tokens"] for step in call("GET", "/threads/t/runs/r/steps")["data"]]
    assert run["usage"]["total_tokens"] == sum(tokens) == 75


def test_ids_are_counted_and_unique(mock_server: PortkeyMockServer) -> None:
    assert mock_server.add_run(thread_id="t", run_id="run_000001")["id"] == "run_000001"
    assert [mock_server.add_run(thread_id="t")["id"] for _ in range(2)] == ["run_000002", "run_000003"]
    with pytest.raises(ValueError, match="run_000001"):
        mock_server.add_run(thread_id="t", run_id="run_000001")


def test_steps_alternate_and_message_steps_have_their_message(mock_server: PortkeyMockServer, call: Any) -> None:
    mock_server.add_run(thread_id="t", run_id="r", steps=4, statuses=[("queued", 0), ("completed", 8)])
    steps = call("GET", "/threads/t/runs/r/steps?order=asc")["data"]
    assert [step["id"] for step in steps] == ["step_000001", "step_000002", "step_000003", "step_000004"]
    assert [step["type"] for step in steps] == ["message_creation", "tool_calls"] * 2
    assert [step["created_at"] - NOW for step in steps] == [0, 2, 4, 6]
    message = call("GET", f"/threads/t/messages/{steps[2]['step_details']['message_creation']['message_id']}")
    assert (message["role"], message["run_id"]) == ("assistant", "r")
    assert message["content"][0]["text"]["value"] == "Message of step 2 of r."


def test_steps_have_the_declared_fields(mock_server: PortkeyMockServer, call: Any) -> None:
    plans: list[dict[str, Any]] = [
        {"id": "s/1", "text": "Grüße", "metadata": {"a": "b"}},
        {"type": "dream", "status": "failed", "last_error": {"code": "server_error", "message": "no"}},
        {"type": "message_creation", "step_details": {"type": "message_creation", "message_creation": {}}},
    ]
    mock_server.add_run(thread_id="t", run_id="r", steps=plans)
    first, second, third = call("GET", "/threads/t/runs/r/steps?order=asc")["data"]
    assert (first["id"], first["metadata"]) == ("s/1", {"a": "b"})
    assert (second["type"], second["status"], second["step_details"]["dream"]) == ("dream", "failed", {})
    assert third["step_details"]["message_creation"] == {}
    messages = call("GET", "/threads/t/messages")["data"]
    assert [message["content"][0]["text"]["value"] for message in messages] == ["Grüße"]
    assert "id" in plans[0], "the caller's dict must not change"


def test_an_unknown_run_is_a_404(mock_server: PortkeyMockServer, call: Any) -> None:
    mock_server.add_run(thread_id="t", run_id="r")
    mock_server.add_messages(thread_id="other", texts=[])
    for thread_id, run_id in (("unknown", "r"), ("t", "unknown"), ("other", "r")):
        call("GET", f"/threads/{thread_id}/runs/{run_id}", status=404)
