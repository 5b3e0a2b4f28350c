from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from airflow_provider_portkey.testing import PortkeyMockServer

DAY = {"time_of_generation_min": "2026-01-01T00:00:00Z", "time_of_generation_max": "2026-01-02T00:00:00Z"}
FIELDS = ["id", "created_at", "cost"]


@pytest.fixture
def mock_server(mock_server: PortkeyMockServer) -> Iterator[PortkeyMockServer]:
    mock_server.add_logs(1000, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")
    yield mock_server


def create(call: Any, filters: Any = None, **more: Any) -> Any:
    body = {"filters": DAY if filters is None else filters, "requested_data": FIELDS, **more}
    return call("POST", "/logs/exports", json=body)


def rows_at(url: str) -> list[dict[str, Any]]:
    response = requests.get(url, timeout=5)
    assert response.status_code == 200, response.text
    assert int(response.headers["Content-Length"]) == len(response.content)
    return [json.loads(line) for line in response.content.splitlines()]


def test_an_export_from_its_draft_to_its_rows(mock_server: PortkeyMockServer, call: Any, clock: Any) -> None:
    made = create(call, workspace_id="w", description="d")
    assert made == {"id": made["id"], "total": 1000, "object": "export"}
    path = f"/logs/exports/{made['id']}"
    clock.now += 100
    draft = call("GET", path)
    assert (draft["status"], draft["filters"], draft["requested_data"]) == ("draft", DAY, FIELDS)
    assert (draft["workspace_id"], draft["description"], draft["object"]) == ("w", "d", "export")
    assert draft["created_at"] == "2023-11-14T22:13:20.000Z"
    call("GET", f"{path}/download", status=400)
    assert call("POST", f"{path}/start", json={})["object"] == "export"
    assert call("GET", path)["status"] == "in_progress"
    call("POST", f"{path}/start", status=400)
    call("GET", f"{path}/download", status=400)
    clock.now += 8
    assert call("GET", path)["status"] == "success"
    rows = rows_at(call("GET", f"{path}/download")["signed_url"])
    assert [row["id"] for row in rows] == [f"log-1-{number:08d}" for number in range(1000)]
    assert {tuple(row) for row in rows} == {tuple(FIELDS)}
    assert rows[500]["created_at"] == "2026-01-01T12:00:00.000Z"


def test_the_spelling_of_the_guide(mock_server: PortkeyMockServer, call: Any) -> None:
    mock_server.log_exports.settings(spelling="guide")
    mock_server.add_log_export(export_id="bad", statuses="failed")
    mock_server.add_log_export(export_id="good")
    assert call("GET", "/logs/exports/bad")["status"] == "failure"
    assert [one["status"] for one in call("GET", "/logs/exports")["data"]] == ["success", "failure"]
    assert set(call("GET", "/logs/exports/good/download")) == {"url"}
    mock_server.log_exports.settings(spelling="schema")
    assert call("GET", "/logs/exports/bad")["status"] == "failed"


@pytest.mark.parametrize(
    ("filters", "total"),
    [
        ({}, 1000),
        ({"time_of_generation_min": "2026-01-01T12:00:00Z"}, 500),
        ({"time_of_generation_min": "2026-01-01T12:00:00", "time_of_generation_max": "2026-01-01T13:00:00+01:00"}, 1),
        ({"time_of_generation_max": "2026-01-01T00:00:00Z"}, 1),
        ({"time_of_generation_min": "2026-01-01T12:00:00.000001Z"}, 499),
        ({"time_of_generation_max": "2026-01-01T12:00:00.000999Z"}, 501),
        ({"time_of_generation_max": "2026-01-01T11:59:59.999999Z"}, 500),
        ({"time_of_generation_max": "2025-12-31T23:59:59.999Z"}, 0),
        ({"time_of_generation_min": "2027-01-01T00:00:00Z"}, 0),
        ({"time_of_generation_min": "2026-01-02T00:00:00Z", "time_of_generation_max": "2026-01-01T00:00:00Z"}, 0),
    ],
)
def test_a_window(mock_server: PortkeyMockServer, call: Any, filters: Any, total: int) -> None:
    assert create(call, filters)["total"] == total


def test_the_end_of_a_window_may_be_excluded(mock_server: PortkeyMockServer, call: Any) -> None:
    noon = {"time_of_generation_max": "2026-01-01T12:00:00Z"}
    assert create(call, noon)["total"] == 501
    mock_server.log_exports.settings(end_included=False)
    assert create(call, noon)["total"] == 500
    assert create(call, {"time_of_generation_max": "2026-01-01T12:00:00.000001Z"})["total"] == 501


def test_a_job_exports_its_maximum_of_rows(mock_server: PortkeyMockServer, call: Any) -> None:
    mock_server.plan("log_exports", statuses="success", times=None)
    seen = []
    for maximum in (300, 2000):
        mock_server.log_exports.settings(max_rows=maximum)
        made = create(call)
        assert made["total"] == 1000
        call("POST", f"/logs/exports/{made['id']}/start")
        seen.append(len(rows_at(call("GET", f"/logs/exports/{made['id']}/download")["signed_url"])))
    assert seen == [300, 1000]


def test_a_draft_may_be_changed(mock_server: PortkeyMockServer, call: Any) -> None:
    path = f"/logs/exports/{create(call)['id']}"
    half = {"time_of_generation_max": "2026-01-01T11:59:59Z"}
    assert call("PUT", path, json={"filters": half})["total"] == 500
    call("PUT", path, status=400, json={"requested_data": ["id"]})
    call("PUT", path, status=400, json={"filters": {"time_of_generation_min": "yesterday"}})
    shown = call("GET", path)
    assert (shown["filters"], shown["requested_data"]) == (half, FIELDS)
    call("POST", f"{path}/start")
    call("PUT", path, status=400, json={"filters": DAY})


def test_a_cancelled_export_is_stopped(mock_server: PortkeyMockServer, call: Any) -> None:
    path = f"/logs/exports/{create(call)['id']}"
    call("POST", f"{path}/start")
    assert call("POST", f"{path}/cancel")["object"] == "export"
    assert call("GET", path)["status"] == "stopped"
    for what in ("cancel", "start"):
        call("POST", f"{path}/{what}", status=400)


def test_the_plan_of_an_export_begins_at_its_start(mock_server: PortkeyMockServer, call: Any) -> None:
    mock_server.plan("log_exports", statuses=["in_progress", "failure"], advance="per_poll")
    path = f"/logs/exports/{create(call)['id']}"
    assert [call("GET", path)["status"] for _ in range(3)] == ["draft"] * 3
    call("POST", f"{path}/start")
    assert [call("GET", path)["status"] for _ in range(3)] == ["in_progress", "failure", "failure"]


def test_exports_are_listed_newest_first(mock_server: PortkeyMockServer, call: Any) -> None:
    for export_id in "ab":
        mock_server.add_log_export(export_id=export_id)
    assert [one["id"] for one in call("GET", "/logs/exports")["data"]] == ["b", "a"]


@pytest.mark.parametrize(
    "body",
    [
        {"requested_data": FIELDS},
        {"filters": {}},
        {"filters": {}, "requested_data": []},
        {"filters": {}, "requested_data": ["shoe_size"]},
        {"filters": {"time_of_generation_min": "soon"}, "requested_data": FIELDS},
    ],
)
def test_a_bad_export_is_a_400_and_creates_none(mock_server: PortkeyMockServer, call: Any, body: Any) -> None:
    call("POST", "/logs/exports", status=400, json=body)
    assert call("GET", "/logs/exports")["data"] == []


def test_an_unknown_export_is_a_404(mock_server: PortkeyMockServer, call: Any) -> None:
    for method, path in (("GET", ""), ("PUT", ""), ("POST", "/start"), ("POST", "/cancel"), ("GET", "/download")):
        call(method, f"/logs/exports/unknown{path}", status=404)
    mock_server.add_log_export(export_id="x")
    with pytest.raises(ValueError, match="taken"):
        mock_server.add_log_export(export_id="x")
    with pytest.raises(ValueError, match="settings"):
        mock_server.log_exports.settings(spelling="klingon")


@pytest.fixture
def url(mock_server: PortkeyMockServer, call: Any) -> str:
    mock_server.add_log_export(export_id="x", requested_data=["id", "request"])
    signed: str = call("GET", "/logs/exports/x/download")["signed_url"]
    return signed


def test_a_signed_url_needs_no_key_and_is_recorded(mock_server: PortkeyMockServer, url: str) -> None:
    response = requests.get(url, timeout=5)
    assert (response.status_code, response.headers["Accept-Ranges"]) == (200, "bytes")
    assert response.content.count(b"\n") == 1000
    assert "/v1" not in url
    (recorded,) = mock_server.storage_requests
    assert url.endswith(f"{recorded.path}?{recorded.query}")
    assert [request.path for request in mock_server.requests] == ["/v1/logs/exports/x/download"]


@pytest.mark.parametrize("header", ["Authorization", "x-portkey-api-key", "X-Portkey-Provider"])
def test_a_key_at_the_storage_is_a_400(url: str, header: str) -> None:
    rejected = requests.get(url, timeout=5, headers={header: "secret"})
    assert (rejected.status_code, rejected.headers["Content-Type"]) == (400, "application/json")
    assert "secret" not in rejected.text
    assert header.lower() in rejected.text


def test_an_unknown_file_of_the_storage_is_a_404(url: str) -> None:
    assert requests.get(url.replace("/x.", "/z."), timeout=5).status_code == 404


def test_a_cut_download_is_resumed_by_range(mock_server: PortkeyMockServer, url: str) -> None:
    whole = requests.get(url, timeout=5).content
    fault = mock_server.fault(path="/_storage/*", cut_after=50_000, times=2)
    received = b""
    while len(received) < len(whole):
        with requests.get(url, timeout=5, stream=True, headers={"Range": f"bytes={len(received)}-"}) as response:
            assert response.status_code == 206
            assert response.headers["Content-Range"] == f"bytes {len(received)}-{len(whole) - 1}/{len(whole)}"
            try:
                for block in response.iter_content(10_000):
                    received += block
            except requests.RequestException:
                assert len(received) % 50_000 == 0
    assert received == whole
    assert (fault.struck, len(mock_server.storage_requests)) == (2, 4)


def test_a_storage_may_ignore_ranges(mock_server: PortkeyMockServer, url: str) -> None:
    mock_server.log_exports.settings(ranges=False)
    response = requests.get(url, timeout=5, headers={"Range": "bytes=10-"})
    assert (response.status_code, "Accept-Ranges" in response.headers) == (200, False)
    assert response.content == requests.get(url, timeout=5).content


def test_a_fault_without_a_path_spares_the_storage(mock_server: PortkeyMockServer, call: Any, url: str) -> None:
    mock_server.fault(status=500)
    assert requests.get(url, timeout=5).status_code == 200
    call("GET", "/models", status=500)


@pytest.fixture
def empty() -> Iterator[PortkeyMockServer]:
    """A mock server without logs, and without a check for a key."""
    with PortkeyMockServer(require_authorization=False, job_seconds=0) as mock_server:
        yield mock_server


def count(mock_server: PortkeyMockServer, start: float, end: float) -> int:
    """Count the logs of a window, its end excluded, in seconds since the epoch."""
    filters = {"time_of_generation_min": start, "time_of_generation_max": end}
    body = {"filters": filters, "requested_data": ["id"]}
    total: int = requests.post(f"{mock_server.url}/logs/exports", json=body, timeout=5).json()["total"]
    return total


def test_every_row_is_in_one_window_however_the_time_is_split(empty: PortkeyMockServer) -> None:
    empty.log_exports.settings(end_included=False)
    empty.add_logs(997, 1, 9)
    for width in (0.07, 1):
        starts = [number * width for number in range(int(10 / width) + 1)]
        assert sum(count(empty, start, start + width) for start in starts) == 997


def test_rows_of_one_timestamp_cannot_be_split(empty: PortkeyMockServer) -> None:
    empty.log_exports.settings(end_included=False)
    empty.add_logs(10, 0.5, 0.5)
    assert [count(empty, *part) for part in ((0, 0.5), (0.5, 0.501), (0.501, 0.999))] == [0, 10, 0]
    with pytest.raises(ValueError, match="before the start"):
        empty.add_logs(1, 10, 9)


def test_rows_of_several_calls_are_in_the_order_of_time(empty: PortkeyMockServer) -> None:
    empty.add_logs(3, 0, 3)
    empty.add_logs(
        rows=[{"created_at": "1970-01-01T00:00:01.5Z", "id": "mine", "cost": 9}, {"created_at": 0.5, "id": "m"}]
    )
    export = empty.add_log_export(requested_data=["id", "cost", "response_status_code"])
    download = requests.get(f"{empty.url}/logs/exports/{export['id']}/download", timeout=5).json()
    rows = rows_at(download["signed_url"])
    assert [row["id"] for row in rows] == ["log-1-00000000", "m", "log-1-00000001", "mine", "log-1-00000002"]
    assert (rows[3]["cost"], rows[1]["response_status_code"]) == (9, 200)


def test_timestamps_have_several_notations(empty: PortkeyMockServer) -> None:
    timestamp = datetime(2026, 1, 1, tzinfo=UTC)
    notations = ["2026-01-01", "2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00Z", timestamp.timestamp(), timestamp]
    for notation in (*notations, timestamp.replace(tzinfo=None)):
        empty.add_logs(1, notation, notation)
    assert count(empty, timestamp.timestamp(), timestamp.timestamp()) == 6
