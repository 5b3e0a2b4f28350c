from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from airflow_provider_portkey.testing import Clock, PortkeyMockServer


def test_a_run_advances_by_the_clock(mock_server: PortkeyMockServer, call: Any, clock: Clock) -> None:
    statuses = [("queued", 0), ("in_progress", 1), ("completed", 4)]
    mock_server.add_run(thread_id="t", run_id="r", statuses=statuses)
    seen = []
    for seconds in (0, 1, 3, 1):
        clock.now += seconds
        (listed,) = call("GET", "/threads/t/runs")["data"]
        seen.append((listed["status"], call("GET", "/threads/t/runs/r")["status"]))
    assert seen == [(status, status) for status in ("queued", "in_progress", "completed", "completed")]


def test_a_run_advances_poll_by_poll(mock_server: PortkeyMockServer, call: Any) -> None:
    mock_server.add_run(thread_id="t", run_id="r", statuses=["queued", "dreaming", "failed"], advance="per_poll")
    seen = []
    for _ in range(4):
        call("GET", "/threads/t/runs")
        call("GET", "/threads/t/runs/r/steps")
        seen.append(call("GET", "/threads/t/runs/r")["status"])
    assert seen == ["queued", "dreaming", "failed", "failed"]


def test_a_thread_and_a_run_are_created_over_http(call: Any, clock: Clock) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    thread = call("POST", "/threads", json={"messages": messages, "metadata": {"k": "v"}})
    assert (thread["object"], thread["metadata"]) == ("thread", {"k": "v"})
    body = {"assistant_id": "asst_mine", "metadata": {"a": "b"}, "instructions": None}
    run = call("POST", f"/threads/{thread['id']}/runs", json=body)
    assert (run["id"], run["status"], run["assistant_id"], run["metadata"]) == (
        "run_000001",
        "queued",
        "asst_mine",
        {"a": "b"},
    )
    assert run["instructions"], "a null keeps the default"
    clock.now += 8
    done = call("GET", f"/threads/{thread['id']}/runs/{run['id']}")
    assert (done["status"], done["completed_at"]) == ("completed", clock.now)
    assert len(call("GET", f"/threads/{thread['id']}/runs/{run['id']}/steps")["data"]) == 3
    contents = [
        message["content"][0]["text"]["value"]
        for message in call("GET", f"/threads/{thread['id']}/messages?order=asc")["data"]
    ]
    assert contents[0] == "Hi"
    assert len(contents) == 3


def test_a_thread_and_its_run_are_created_by_one_request(call: Any) -> None:
    body = {"assistant_id": "a", "thread": {"messages": [{"role": "user", "content": "Hi"}]}}
    run = call("POST", "/threads/runs", json=body)
    assert run["thread_id"] == "thread_000001"
    assert call("GET", "/threads/thread_000001/runs")["data"] == [run]


def test_messages_are_filtered_by_their_run(mock_server: PortkeyMockServer, call: Any) -> None:
    mock_server.add_messages(thread_id="t", texts=["one", "two"])
    mock_server.add_run(thread_id="t", run_id="r1", steps=4)
    mock_server.add_run(thread_id="t", run_id="r2", steps=2)
    made = call("POST", "/threads/t/messages", json={"role": "user", "content": "three"})
    assert call("GET", f"/threads/t/messages/{made['id']}") == made
    assert len(call("GET", "/threads/t/messages")["data"]) == 6
    page = call("GET", "/threads/t/messages?run_id=r1&limit=1&order=asc")
    assert ([message["run_id"] for message in page["data"]], page["has_more"]) == (["r1"], True)
    page = call("GET", f"/threads/t/messages?run_id=r1&limit=1&order=asc&after={page['last_id']}")
    assert ([message["run_id"] for message in page["data"]], page["has_more"]) == (["r1"], False)
    assert call("GET", "/threads/t/messages?run_id=unknown")["data"] == []


def test_a_cancelled_run_is_cancelling_first(mock_server: PortkeyMockServer, call: Any) -> None:
    mock_server.add_run(thread_id="t", run_id="r", statuses="in_progress")
    assert call("POST", "/threads/t/runs/r/cancel")["status"] == "cancelling"
    assert call("GET", "/threads/t/runs/r")["status"] == "cancelled"
    assert "cancelled" in call("POST", "/threads/t/runs/r/cancel", status=400)["error"]["message"]


def test_a_list_shows_the_end_of_a_cancellation(mock_server: PortkeyMockServer, call: Any) -> None:
    mock_server.add_run(thread_id="t", run_id="r", statuses="in_progress")
    call("POST", "/threads/t/runs/r/cancel")
    assert call("GET", "/threads/t/runs")["data"][0]["status"] == "cancelled"


def test_tool_outputs_continue_a_run(mock_server: PortkeyMockServer, call: Any, clock: Clock) -> None:
    tool_call = {"id": "call_x", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    mock_server.add_run(thread_id="t", run_id="r", statuses="requires_action", tool_calls=[tool_call])
    action = call("GET", "/threads/t/runs/r")["required_action"]
    assert action["submit_tool_outputs"]["tool_calls"] == [tool_call]
    path = "/threads/t/runs/r/submit_tool_outputs"
    wrong = call("POST", path, status=400, json={"tool_outputs": [{"tool_call_id": "call_y", "output": "1"}]})
    assert wrong["error"]["param"] == "tool_outputs"
    right = {"tool_outputs": [{"tool_call_id": "call_x", "output": "1"}]}
    assert call("POST", path, json=right)["status"] == "queued"
    clock.now += 8
    assert call("GET", "/threads/t/runs/r")["status"] == "completed"
    call("POST", path, status=400, json=right)


def test_tool_outputs_continue_the_rest_of_the_timeline(mock_server: PortkeyMockServer, call: Any) -> None:
    mock_server.add_run(
        thread_id="t", run_id="r", statuses=["requires_action", "in_progress", "failed"], advance="per_poll"
    )
    assert call("GET", "/threads/t/runs/r")["status"] == "requires_action"
    body = {"tool_outputs": [{"tool_call_id": "call_000001", "output": ""}]}
    assert call("POST", "/threads/t/runs/r/submit_tool_outputs", json=body)["status"] == "in_progress"
    assert call("GET", "/threads/t/runs/r")["status"] == "failed"


def test_a_run_requires_tool_outputs_as_often_as_declared(
    mock_server: PortkeyMockServer, call: Any, clock: Clock
) -> None:
    rounds = [[{"id": f"call_{n}", "type": "function", "function": {"name": "f", "arguments": "{}"}}] for n in "abc"]
    mock_server.add_run(
        thread_id="t",
        run_id="r",
        statuses=[("requires_action", 0), ("in_progress", 100), ("failed", 103)],
        tool_calls=rounds[0],
        further_tool_calls=rounds[1:],
    )
    path = "/threads/t/runs/r/submit_tool_outputs"
    for number, calls in enumerate(rounds, start=1):
        run = call("GET", "/threads/t/runs/r")
        assert (run["status"], run["required_action"]["submit_tool_outputs"]["tool_calls"]) == (
            "requires_action",
            calls,
        )
        outputs = [{"tool_call_id": calls[0]["id"], "output": "1"}]
        assert call("POST", path, json={"tool_outputs": outputs})["status"] == "in_progress", number
        call("POST", path, status=400, json={"tool_outputs": outputs})
        clock.now += 2
    assert call("GET", "/threads/t/runs/r")["status"] == "in_progress"
    clock.now += 1
    assert call("GET", "/threads/t/runs/r")["status"] == "failed"


@pytest.mark.parametrize(
    "outputs",
    [
        [],
        ["call_000001"],
        [{"tool_call_id": "call_000001", "output": 1}],
        [{"tool_call_id": "call_000001"}],
        [{"tool_call_id": "call_000001", "output": "1"}] * 2,
        [{"tool_call_id": "call_000001", "output": "1"}, {"tool_call_id": "call_000002", "output": "1"}],
    ],
)
def test_unexpected_tool_outputs_are_rejected(mock_server: PortkeyMockServer, call: Any, outputs: list[Any]) -> None:
    mock_server.add_run(thread_id="t", run_id="r", statuses="requires_action")
    rejected = call("POST", "/threads/t/runs/r/submit_tool_outputs", status=400, json={"tool_outputs": outputs})
    assert rejected["error"]["param"] == "tool_outputs"
    assert call("GET", "/threads/t/runs/r")["status"] == "requires_action"


def test_a_run_created_over_http_follows_its_plan(mock_server: PortkeyMockServer, call: Any) -> None:
    mock_server.plan("runs", statuses="requires_action", steps=5)
    body = {"assistant_id": "a", "thread": {}, "metadata": {"k": "v"}}
    run = call("POST", "/threads/runs", json=body)
    assert (run["status"], run["metadata"]) == ("requires_action", {"k": "v"})
    assert len(call("GET", f"/threads/{run['thread_id']}/runs/{run['id']}/steps")["data"]) == 5
    assert call("POST", f"/threads/{run['thread_id']}/runs", json=body)["status"] == "queued", "the plan was for one"


def test_steps_are_listed_and_retrieved(mock_server: PortkeyMockServer, call: Any) -> None:
    mock_server.add_run(thread_id="t", run_id="r", steps=2345)
    ids: list[str] = []
    query = {"limit": "100", "order": "asc"}
    while True:
        page = call("GET", "/threads/t/runs/r/steps", params=query)
        ids += [step["id"] for step in page["data"]]
        if not page["has_more"]:
            break
        query["after"] = page["last_id"]
    assert ids == [f"step_{number:06d}" for number in range(1, 2346)]
    assert len(mock_server.requests) == 24
    assert call("GET", "/threads/t/runs/r/steps/step_000007")["id"] == "step_000007"
    added = mock_server.add_steps(thread_id="t", run_id="r", steps=[{"id": "late"}])
    assert call("GET", "/threads/t/runs/r/steps?limit=1")["data"] == added


def test_models_are_listed(call: Any) -> None:
    assert [model["object"] for model in call("GET", "/models")["data"]] == ["model"]


def test_requests_are_recorded_as_sent(mock_server: PortkeyMockServer, call: Any, clock: Clock) -> None:
    call("POST", "/threads/a%2Fb/runs?x=%20&x=2", status=404, data=b'{"k": 1}', headers={"X-Thing": "Value"})
    (recorded,) = mock_server.requests
    assert (recorded.method, recorded.path, recorded.query) == ("POST", "/v1/threads/a%2Fb/runs", "x=%20&x=2")
    assert (recorded.body, recorded.time) == (b'{"k": 1}', clock.now)
    assert (recorded.headers["x-thing"], recorded.headers["authorization"]) == ("Value", "Bearer mock-key")


def test_the_connection_names_the_mock_server(mock_server: PortkeyMockServer) -> None:
    connection = json.loads(json.dumps(mock_server.connection()))
    assert (connection["conn_type"], connection["host"]) == ("portkey", mock_server.url)
    assert mock_server.url.startswith("http://127.0.0.1:")
    assert connection["extra"] == {"provider": "openai", "provider_api_key": "mock-provider-key"}


def test_the_statuses_of_a_run_can_be_replaced(mock_server: PortkeyMockServer, call: Any, clock: Clock) -> None:
    mock_server.add_run(thread_id="t", run_id="r", statuses="in_progress")
    clock.now += 500
    statuses = [("in_progress", 0), ("failed", 5)]
    assert mock_server.set_run_statuses(thread_id="t", run_id="r", statuses=statuses)["status"] == "in_progress"
    clock.now += 5
    assert call("GET", "/threads/t/runs/r")["status"] == "failed"


def test_several_equal_runs(mock_server: PortkeyMockServer, call: Any) -> None:
    made = mock_server.add_runs(thread_id="t", count=25, statuses="failed", created_at=5)
    page = call("GET", "/threads/t/runs?limit=100&order=asc")
    assert page["data"] == made
    assert {run["created_at"] for run in made} == {5}
    assert len({run["id"] for run in made}) == 25


@pytest.fixture
def control(mock_server: PortkeyMockServer) -> Any:
    def post(name: str, status: int = 200, **body: Any) -> Any:
        url = f"{mock_server.url.removesuffix('/v1')}/_mock_server/{name}"
        response = requests.post(url, json=body, timeout=5)
        assert response.status_code == status, response.text
        return response.json()

    return post


@pytest.mark.parametrize(
    ("name", "body", "path"),
    [
        ("runs", {"thread_id": "t", "run_id": "x", "fields": None}, "/threads/t/runs/x"),
        ("responses", {"response_id": "x", "statuses": [["failed", 0]]}, "/responses/x"),
        ("batches", {"batch_id": "x", "count": 5, "failing": {"request-000001": 429}}, "/batches/x"),
        ("log_exports", {"export_id": "x", "started": False}, "/logs/exports/x"),
        ("fine_tuning_jobs", {"job_id": "x", "events": 3}, "/fine_tuning/jobs/x"),
        ("file_batches", {"vector_store_id": "v", "batch_id": "x"}, "/vector_stores/v/file_batches/x"),
        ("files", {"file_id": "x", "content": ["a"]}, "/files/x"),
    ],
)
def test_a_job_of_any_kind_is_added(control: Any, call: Any, name: str, body: Any, path: str) -> None:
    assert control(name, **body) == call("GET", path)
    assert "taken" in control(name, status=400, **body)["error"]["message"]
    control(name, status=400, nonsense=1)


def test_logs_plans_and_settings(mock_server: PortkeyMockServer, control: Any, call: Any) -> None:
    assert control("logs", count=10, start="2026-01-01T00:00:00Z", end="2026-01-02T00:00:00Z") == {"total": 10}
    assert control("logs", rows=[{"created_at": "2026-01-01T00:00:00Z"}]) == {"total": 11}
    assert control("log_export_settings", spelling="guide", max_rows=4)["max_rows"] == 4
    control("plans", kind="log_exports", statuses="success")
    made = call("POST", "/logs/exports", json={"filters": {}, "requested_data": ["id"]})
    assert made["total"] == 11
    call("POST", f"/logs/exports/{made['id']}/start")
    url = call("GET", f"/logs/exports/{made['id']}/download")["url"]
    assert requests.get(url, timeout=5).content.count(b"\n") == 4
    listed = requests.get(f"{mock_server.url.removesuffix('/v1')}/_mock_server/storage_requests", timeout=5).json()
    assert [one["path"] for one in listed] == [f"/_storage/exports/{made['id']}.jsonl"]
    control("log_export_settings", status=400, nonsense=1)
    control("plans", status=400, kind="nonsense")


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("faults", '{"stauts": 500}'),
        ("faults", '{"times": 0}'),
        ("faults", "nonsense"),
        ("runs", "{}"),
        ("runs", '{"thread_id": "t", "statuses": []}'),
        ("set_run_statuses", '{"thread_id": "t", "run_id": "unknown", "statuses": "failed"}'),
    ],
)
def test_an_invalid_action_is_rejected(mock_server: PortkeyMockServer, name: str, body: str) -> None:
    url = f"{mock_server.url.removesuffix('/v1')}/_mock_server/{name}"
    rejected = requests.post(url, data=body, timeout=5)
    assert rejected.status_code in (400, 404)
    assert rejected.json()["error"]["type"] == "invalid_request_error"
    assert mock_server.requests == []
