from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_portkey.testing import PortkeyMockServer


def statuses_seen(call: Any, path: str, polls: int) -> list[str]:
    return [call("GET", path)["status"] for _ in range(polls)]


def test_a_response_in_the_background_completes_by_the_clock(call: Any, clock: Any) -> None:
    body = {"model": "gpt", "input": "Hi", "background": True, "metadata": {"a": "b"}, "instructions": "Be brief"}
    made = call("POST", "/responses", json=body)
    assert (made["object"], made["status"], made["background"]) == ("response", "queued", True)
    assert (made["model"], made["metadata"], made["instructions"]) == ("gpt", {"a": "b"}, "Be brief")
    assert (made["output"], made["usage"], made["error"]) == ([], None, None)
    seen = []
    for seconds in (1, 1, 5, 1):
        clock.now += seconds
        seen.append(call("GET", f"/responses/{made['id']}")["status"])
    assert seen == ["queued", "in_progress", "in_progress", "completed"]
    done = call("GET", f"/responses/{made['id']}")
    assert [item["type"] for item in done["output"]] == ["message"] * 3
    assert done["output"][-1]["content"][0]["type"] == "output_text"
    assert done["completed_at"] == clock.now
    assert done["usage"]["total_tokens"] == done["usage"]["input_tokens"] + done["usage"]["output_tokens"]


def test_a_synchronous_response_is_completed_at_once(call: Any) -> None:
    made = call("POST", "/responses", json={"model": "gpt", "input": "Hi"})
    assert (made["status"], made["background"], len(made["output"])) == ("completed", False, 3)
    assert call("GET", f"/responses/{made['id']}") == made
    call("POST", f"/responses/{made['id']}/cancel", status=400)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("failed", {"error": {"code": "rate_limit_exceeded", "message": "Slow down."}, "output": []}),
        ("incomplete", {"incomplete_details": {"reason": "content_filter"}, "error": None}),
        ("dreaming", {"error": None, "incomplete_details": None, "output": []}),
    ],
)
def test_a_response_reports_the_declared_reason(
    mock_server: PortkeyMockServer, call: Any, status: str, expected: dict[str, Any]
) -> None:
    error = {"code": "rate_limit_exceeded", "message": "Slow down."}
    mock_server.add_response(response_id="r", statuses=status, error=error, incomplete_reason="content_filter")
    response = call("GET", "/responses/r")
    assert response["status"] == status
    assert {name: response[name] for name in expected} == expected


def test_polls_advance_a_response_and_its_list_of_items_does_not(mock_server: PortkeyMockServer, call: Any) -> None:
    mock_server.add_response(response_id="r", statuses=["queued", "completed"], advance="per_poll")
    call("GET", "/responses/r/input_items")
    assert statuses_seen(call, "/responses/r", 3) == ["queued", "completed", "completed"]


def test_a_response_may_start_at_the_first_poll(mock_server: PortkeyMockServer, call: Any, clock: Any) -> None:
    mock_server.add_response(response_id="r", statuses=[("queued", 0), ("completed", 3)], start="first-poll")
    clock.now += 100
    assert call("GET", "/responses/r")["status"] == "queued"
    clock.now += 3
    assert call("GET", "/responses/r")["status"] == "completed"


def test_input_items_are_paged_newest_first(mock_server: PortkeyMockServer, call: Any) -> None:
    mock_server.add_response(response_id="r", input=45)
    contents: list[str] = []
    query: dict[str, Any] = {}
    for length in (20, 20, 5):
        page = call("GET", "/responses/r/input_items", params=query)
        assert (len(page["data"]), page["has_more"]) == (length, length == 20)
        contents += [item["content"][0]["text"] for item in page["data"]]
        query = {"after": page["last_id"]}
    assert contents == [f"Question {number}." for number in range(45, 0, -1)]
    first = call("GET", "/responses/r/input_items?order=asc&limit=1")["data"]
    assert [item["content"][0]["text"] for item in first] == ["Question 1."]
    for query in ({"limit": 0}, {"limit": 101}, {"order": "up"}, {"after": "unknown"}):
        call("GET", "/responses/r/input_items", status=400, params=query)


def test_input_items_have_ids_and_keep_their_own(call: Any) -> None:
    output = {"id": "mine", "type": "function_call_output", "call_id": "call_1", "output": "4"}
    items_sent = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "Well"}, output]
    made = call("POST", "/responses", json={"model": "m", "input": items_sent})
    items = call("GET", f"/responses/{made['id']}/input_items?order=asc")["data"]
    assert items[0]["content"] == [{"type": "input_text", "text": "2+2?"}]
    assert items[1]["content"] == [{"type": "output_text", "text": "Well"}]
    assert (items[2]["id"], items[2]["output"]) == ("mine", "4")
    assert len({item["id"] for item in items}) == 3


def test_output_items_have_the_declared_fields(mock_server: PortkeyMockServer) -> None:
    plans = [{"type": "web_search_call", "status": "completed"}, {"text": "Grüße", "id": "m"}]
    first, second = mock_server.add_response(output=plans)["output"]
    assert (first["type"], first["status"]) == ("web_search_call", "completed")
    assert (second["id"], second["content"][0]["text"]) == ("m", "Grüße")
    assert [item["type"] for item in mock_server.add_response(output=4)["output"]][-1] == "message"


def test_a_cancelled_response_may_be_cancelled_again(mock_server: PortkeyMockServer, call: Any) -> None:
    mock_server.add_response(response_id="r", statuses="in_progress")
    assert [call("POST", "/responses/r/cancel")["status"] for _ in range(2)] == ["cancelled"] * 2
    assert call("GET", "/responses/r")["status"] == "cancelled"
    mock_server.add_response(response_id="done")
    call("POST", "/responses/done/cancel", status=400)
    mock_server.add_response(response_id="awaited", statuses="in_progress", background=False)
    call("POST", "/responses/awaited/cancel", status=400)


@pytest.mark.parametrize(
    "body",
    [
        {"input": "x"},
        {"model": "m", "input": 1.5},
        {"model": "m", "input": ["x"]},
        {"model": "m", "stream": True},
        {"model": "m", "background": True, "store": False},
    ],
)
def test_a_bad_response_is_a_400(call: Any, body: dict[str, Any]) -> None:
    assert set(call("POST", "/responses", status=400, json=body)["error"]) == {"message", "type", "param", "code"}


def test_a_created_response_follows_its_plan(mock_server: PortkeyMockServer, call: Any) -> None:
    mock_server.plan(
        "responses", statuses=["queued", "failed"], advance="per_poll", error={"code": "x", "message": "y"}
    )
    mock_server.plan("responses", statuses="incomplete", times=None)
    body = {"model": "m", "input": "Hi", "background": True}
    first = call("POST", "/responses", json=body)
    assert first["status"] == "queued"
    assert call("GET", f"/responses/{first['id']}")["error"] == {"code": "x", "message": "y"}
    assert [call("POST", "/responses", json=body)["status"] for _ in range(2)] == ["incomplete"] * 2
    with pytest.raises(ValueError, match="kind"):
        mock_server.plan("threads")


def test_there_is_no_list_of_responses_and_an_id_is_unique(mock_server: PortkeyMockServer, call: Any) -> None:
    mock_server.add_response(response_id="r")
    call("GET", "/responses", status=404)
    call("GET", "/responses/unknown", status=404)
    with pytest.raises(ValueError, match="taken"):
        mock_server.add_response(response_id="r")
    with pytest.raises(TypeError):
        mock_server.add_response(steps=3)  # type: ignore[call-arg]
