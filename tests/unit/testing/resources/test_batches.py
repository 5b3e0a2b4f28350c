from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_portkey.testing import PortkeyMockServer

URL = "/v1/chat/completions"


def line(custom_id: str, **changed: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": URL, "body": {"model": "gpt"}, **changed}


def lines_of(fetch: Any, path: str) -> list[dict[str, Any]]:
    return [json.loads(one) for one in fetch("GET", path).iter_lines()]


def create(call: Any, file_id: str, **changed: Any) -> Any:
    body = {"input_file_id": file_id, "endpoint": URL, "completion_window": "24h", **changed}
    return call("POST", "/batches", json=body)


def test_a_batch_from_its_file_to_its_output(mock_server: PortkeyMockServer, call: Any, fetch: Any, clock: Any) -> None:
    requests = [line(f"ä/{number}") for number in range(50)]
    content = "\n".join(json.dumps(one) for one in requests)
    form = {"data": {"purpose": "batch"}, "files": {"file": ("in.jsonl", content.encode())}}
    made = create(call, call("POST", "/files", **form)["id"], metadata={"a": "b"})
    assert (made["object"], made["status"], made["metadata"]) == ("batch", "validating", {"a": "b"})
    fetch("GET", f"/batches/{made['id']}/output", status=404)
    seen = []
    for seconds in (1, 3, 3, 1):
        clock.now += seconds
        batch = call("GET", f"/batches/{made['id']}")
        seen.append((batch["status"], batch["request_counts"]["completed"]))
    assert seen == [("in_progress", 0), ("in_progress", 25), ("finalizing", 50), ("completed", 50)]
    assert (batch["in_progress_at"], batch["completed_at"]) == (made["created_at"] + 1, clock.now)
    assert batch["error_file_id"] is None
    output = fetch("GET", f"/batches/{made['id']}/output").content
    assert fetch("GET", f"/files/{batch['output_file_id']}/content").content == output
    results = [json.loads(one) for one in output.splitlines()]
    ids = [one["custom_id"] for one in results]
    assert sorted(ids) == sorted(one["custom_id"] for one in requests)
    assert ids != [one["custom_id"] for one in requests], "the order must differ"
    assert {one["response"]["body"]["model"] for one in results} == {"gpt"}
    assert {(one["response"]["status_code"], one["error"]) for one in results} == {(200, None)}
    assert len({one["id"] for one in results}) == len({one["response"]["request_id"] for one in results}) == 50


def test_requests_fail_are_missing_and_are_duplicated(mock_server: PortkeyMockServer, call: Any, fetch: Any) -> None:
    failing = {"b": 429, "c": {"code": "timeout", "message": "Too slow."}, "unknown": 500}
    mock_server.add_batch(
        batch_id="x", lines=[line(one) for one in "abcdefg"], failing=failing, missing=["d"], twice=["e"]
    )
    batch = call("GET", "/batches/x")
    assert batch["request_counts"] == {"total": 7, "completed": 5, "failed": 2}
    assert sorted(one["custom_id"] for one in lines_of(fetch, "/batches/x/output")) == list("aeefg")
    failed = {one["custom_id"]: one for one in lines_of(fetch, f"/files/{batch['error_file_id']}/content")}
    assert set(failed) == {"b", "c"}
    assert (failed["b"]["response"]["status_code"], failed["b"]["error"]) == (429, None)
    assert "error" in failed["b"]["response"]["body"]
    assert (failed["c"]["response"], failed["c"]["error"]["code"]) == (None, "timeout")


def test_a_batch_of_a_count(mock_server: PortkeyMockServer, call: Any, fetch: Any) -> None:
    mock_server.add_batch(batch_id="x", count=30, failing=["request-000030", "request-31", "request-000031"])
    batch = call("GET", "/batches/x")
    assert batch["request_counts"] == {"total": 30, "completed": 29, "failed": 1}
    requests = [one["custom_id"] for one in lines_of(fetch, f"/files/{batch['input_file_id']}/content")]
    results = [one["custom_id"] for one in lines_of(fetch, "/batches/x/output")]
    assert requests == [f"request-{number:06d}" for number in range(1, 31)]
    assert sorted(results) == requests[:-1]


def test_an_expired_batch_has_the_processed_requests(mock_server: PortkeyMockServer, call: Any, fetch: Any) -> None:
    mock_server.add_batch(batch_id="x", count=10, partial=0.3, statuses="expired")
    batch = call("GET", "/batches/x")
    assert batch["request_counts"] == {"total": 10, "completed": 3, "failed": 0}
    done = {one["custom_id"] for one in lines_of(fetch, "/batches/x/output")}
    late = lines_of(fetch, f"/files/{batch['error_file_id']}/content")
    assert (len(done), len(late), {one["error"]["code"] for one in late}) == (3, 7, {"batch_expired"})
    assert not done & {one["custom_id"] for one in late}


def test_a_cancelled_batch_has_the_processed_requests(
    mock_server: PortkeyMockServer, call: Any, fetch: Any, clock: Any
) -> None:
    mock_server.add_batch(batch_id="x", count=100, statuses=[("in_progress", 0), ("completed", 10)])
    clock.now += 4
    assert call("POST", "/batches/x/cancel")["status"] == "cancelling"
    assert call("POST", "/batches/x/cancel")["status"] == "cancelling"
    clock.now += 4
    batch = call("GET", "/batches/x")
    assert (batch["status"], batch["request_counts"]["completed"]) == ("cancelled", 40)
    assert len(lines_of(fetch, "/batches/x/output")) == 40
    assert "cancelled" in call("POST", "/batches/x/cancel", status=409)["error"]["message"]


def test_polls_advance_the_counts_too(mock_server: PortkeyMockServer, call: Any) -> None:
    statuses = ["validating", "in_progress", "in_progress", "completed"]
    mock_server.add_batch(batch_id="x", count=4, statuses=statuses, advance="per_poll")
    seen = [call("GET", "/batches/x")["request_counts"]["completed"] for _ in range(4)]
    assert seen == [0, 1, 2, 4]


@pytest.mark.parametrize(
    ("bad", "code", "number"),
    [
        ("{", "invalid_json_line", 3),
        ("[]", "missing_required_parameter", 3),
        (line("z", url="/v1/embeddings"), "mismatched_endpoint", 3),
        (line("z", body=None), "missing_required_parameter", 3),
        (line("a"), "duplicate_custom_id", 3),
    ],
)
def test_a_bad_line_fails_the_batch(
    mock_server: PortkeyMockServer, call: Any, clock: Any, bad: Any, code: str, number: int
) -> None:
    lines = [one if isinstance(one, str) else json.dumps(one) for one in (line("a"), line("b"), bad)]
    mock_server.add_file(lines, file_id="f")
    made = create(call, "f")
    assert (made["status"], made["errors"]) == ("validating", None)
    clock.now += 8
    batch = call("GET", f"/batches/{made['id']}")
    assert batch["status"] == "failed"
    assert [(error["code"], error["line"]) for error in batch["errors"]["data"]] == [(code, number)]
    # The real gateway responds with 200 here, and with the errors in place of the lines.
    assert call("GET", f"/batches/{made['id']}/output") == batch["errors"]


def test_an_empty_file_and_a_declared_failure(mock_server: PortkeyMockServer, call: Any) -> None:
    assert mock_server.add_batch(lines=[])["errors"]["data"][0]["code"] == "empty_file"
    declared = {"code": "token_limit_exceeded", "message": "Too many.", "line": None}
    assert mock_server.add_batch(statuses="failed", errors=[declared])["errors"]["data"] == [declared]
    assert mock_server.add_batch(statuses="failed")["errors"]["data"][0]["code"] == "invalid_prompt"


def test_batches_are_listed_newest_first(mock_server: PortkeyMockServer, call: Any, clock: Any) -> None:
    for number in range(5):
        mock_server.add_batch(batch_id=f"b{number}", statuses=[("validating", 0), ("completed", 5)])
    clock.now += 5
    page = call("GET", "/batches?limit=3")
    assert ([one["id"] for one in page["data"]], page["has_more"]) == (["b4", "b3", "b2"], True)
    assert page["data"][0]["status"] == "completed"
    page = call("GET", f"/batches?limit=3&after={page['last_id']}")
    assert ([one["id"] for one in page["data"]], page["has_more"]) == (["b1", "b0"], False)
    call("GET", "/batches?limit=101", status=400)


@pytest.mark.parametrize("changed", [{"input_file_id": "x"}, {"endpoint": "/v1/x"}, {"completion_window": "1h"}])
def test_a_bad_batch_is_a_400(mock_server: PortkeyMockServer, call: Any, changed: dict[str, str]) -> None:
    mock_server.add_file([json.dumps(line("a"))], file_id="f")
    body = {"input_file_id": "f", "endpoint": URL, "completion_window": "24h", **changed}
    assert call("POST", "/batches", status=400, json=body)["error"]["param"] == next(iter(changed))
    assert call("GET", "/batches")["data"] == []


def test_a_created_batch_follows_its_plan(mock_server: PortkeyMockServer, call: Any) -> None:
    mock_server.add_file([json.dumps(line(one)) for one in "abc"], file_id="f")
    mock_server.plan("batches", statuses=["validating", "completed"], advance="per_poll", failing=["a"])
    made = create(call, "f")
    assert made["status"] == "validating"
    batch = call("GET", f"/batches/{made['id']}")
    assert (batch["status"], batch["request_counts"]["failed"]) == ("completed", 1)


def test_an_unknown_batch_is_a_404(mock_server: PortkeyMockServer, call: Any) -> None:
    for method, path in (("GET", "/batches/x"), ("GET", "/batches/x/output"), ("POST", "/batches/x/cancel")):
        call(method, path, status=404)
    with pytest.raises(ValueError, match="no file"):
        mock_server.add_batch(input_file_id="x")
    mock_server.add_batch(batch_id="x")
    with pytest.raises(ValueError, match="taken"):
        mock_server.add_batch(batch_id="x")


@pytest.mark.parametrize(
    ("endpoint", "kind"),
    [
        (URL, "chat.completion"),
        ("/v1/completions", "text_completion"),
        ("/v1/embeddings", "list"),
        ("/v1/responses", "response"),
    ],
)
def test_a_response_has_the_shape_of_its_endpoint(
    mock_server: PortkeyMockServer, fetch: Any, endpoint: str, kind: str
) -> None:
    mock_server.add_batch(batch_id="x", count=1, endpoint=endpoint)
    assert lines_of(fetch, "/batches/x/output")[0]["response"]["body"]["object"] == kind


@pytest.mark.parametrize("custom_id", ['"quoted"', "back\\slash", "Ünïcode 漢字", "\ud800", "a\nb", ""])
@pytest.mark.parametrize("failing", [True, False])
def test_any_id_is_returned_unchanged(
    mock_server: PortkeyMockServer, call: Any, fetch: Any, custom_id: str, failing: bool
) -> None:
    made = mock_server.add_batch(lines=[line(custom_id)], failing=[custom_id] if failing else [])
    file_id = made["error_file_id" if failing else "output_file_id"]
    (result,) = lines_of(fetch, f"/files/{file_id}/content")
    assert result["custom_id"] == custom_id


def test_the_order_of_results_is_always_the_same(mock_server: PortkeyMockServer, fetch: Any) -> None:
    for batch_id in "xy":
        mock_server.add_batch(batch_id=batch_id, count=100)
    first, second = ([one["custom_id"] for one in lines_of(fetch, f"/batches/{name}/output")] for name in "xy")
    assert first == second != sorted(first)


def test_failures_are_counted_among_the_processed_requests(
    mock_server: PortkeyMockServer, call: Any, fetch: Any
) -> None:
    failing = [f"request-{number:06d}" for number in range(1, 101, 10)]
    for done in (10, 37, 100):
        batch = mock_server.add_batch(count=100, failing=failing, statuses="expired", partial=done / 100)
        counts = batch["request_counts"]
        errors = lines_of(fetch, f"/files/{batch['error_file_id']}/content")
        assert counts["completed"] + counts["failed"] == done
        assert sum(one["error"] is None for one in errors) == counts["failed"]
    assert counts["failed"] == 10


def test_errors_name_their_line_and_stop_at_the_tenth(mock_server: PortkeyMockServer) -> None:
    errors = mock_server.add_batch(lines=["", *["{"] * 15])["errors"]["data"]
    assert [error["line"] for error in errors] == list(range(1, 11))
