from __future__ import annotations

import json
from collections.abc import Iterator
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
    mock_server.log_exports.spelling = "guide"
    mock_server.add_log_export(export_id="bad", statuses="failed")
    mock_server.add_log_export(export_id="good")
    assert call("GET", "/logs/exports/bad")["status"] == "failure"
    assert [one["status"] for one in call("GET", "/logs/exports")["data"]] == ["success", "failure"]
    assert set(call("GET", "/logs/exports/good/download")) == {"url"}
    mock_server.log_exports.spelling = "schema"
    assert call("GET", "/logs/exports/bad")["status"] == "failed"


@pytest.mark.parametrize(
    ("filters", "total"),
    [
        ({}, 1000),
        ({"time_of_generation_min": "2026-01-01T12:00:00Z"}, 500),
        ({"created_at_min": "2026-01-01T12:00:00", "created_at_max": "2026-01-01T12:00:00"}, 1),
        ({"created_at": {"gte": "2026-01-01T13:00:00+01:00", "lte": "2026-01-01T13:00:00+01:00"}}, 1),
        ({"time_of_generation_max": "2026-01-01T00:00:00Z"}, 1),
        ({"created_at_min": "2026-01-01T12:00:00.000001Z"}, 499),
        ({"created_at_max": "2026-01-01T12:00:00.000999Z"}, 501),
        ({"created_at_max": "2026-01-01T11:59:59.999999Z"}, 500),
        ({"time_of_generation_max": "2025-12-31T23:59:59.999Z"}, 0),
        ({"time_of_generation_min": "2027-01-01T00:00:00Z"}, 0),
        ({"time_of_generation_min": "2026-01-02T00:00:00Z", "time_of_generation_max": "2026-01-01T00:00:00Z"}, 0),
    ],
)
def test_a_window_in_any_spelling(mock_server: PortkeyMockServer, call: Any, filters: Any, total: int) -> None:
    assert create(call, filters)["total"] == total


def test_the_end_of_a_window_may_be_excluded(mock_server: PortkeyMockServer, call: Any) -> None:
    noon = {"time_of_generation_max": "2026-01-01T12:00:00Z"}
    assert create(call, noon)["total"] == 501
    mock_server.log_exports.end_included = False
    assert create(call, noon)["total"] == 500
    assert create(call, {"time_of_generation_max": "2026-01-01T12:00:00.000001Z"})["total"] == 501


def test_a_job_exports_its_maximum_of_rows(mock_server: PortkeyMockServer, call: Any) -> None:
    mock_server.log_exports.max_rows = 300
    mock_server.plan("log_exports", statuses="success", times=None)
    seen = []
    for part in ({}, {"current_page": 1}, {"current_page": 3}, {"page_size": 10}, {"page_size": 999}):
        made = create(call, {**DAY, **part})
        assert made["total"] == 1000
        call("POST", f"/logs/exports/{made['id']}/start")
        rows = rows_at(call("GET", f"/logs/exports/{made['id']}/download")["signed_url"])
        seen.append((len(rows), int(rows[0]["id"].split("-")[-1])))
    assert seen == [(300, 0), (300, 300), (100, 900), (10, 0), (300, 0)]


def test_a_draft_may_be_changed(mock_server: PortkeyMockServer, call: Any) -> None:
    path = f"/logs/exports/{create(call)['id']}"
    half = {"time_of_generation_max": "2026-01-01T11:59:59Z"}
    assert call("PUT", path, json={"filters": half})["total"] == 500
    call("PUT", path, status=400, json={"requested_data": ["id"]})
    call("PUT", path, status=400, json={"filters": {"created_at_min": "yesterday"}})
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


def test_exports_are_listed_by_workspace(mock_server: PortkeyMockServer, call: Any) -> None:
    for workspace in ("a", "b", "a"):
        mock_server.add_log_export(workspace_id=workspace)
    listed = call("GET", "/logs/exports?workspace_id=a")
    assert (listed["object"], listed["total"]) == ("list", 2)
    assert [one["id"][-1] for one in listed["data"]] == ["3", "1"]
    assert call("GET", "/logs/exports")["total"] == 3


@pytest.mark.parametrize(
    "body",
    [
        {"requested_data": FIELDS},
        {"filters": {}},
        {"filters": {}, "requested_data": []},
        {"filters": {}, "requested_data": ["shoe_size"]},
        {"filters": {"time_of_generation_min": "soon"}, "requested_data": FIELDS},
        {"filters": {"current_page": -1}, "requested_data": FIELDS},
    ],
)
def test_a_bad_export_is_a_400_and_creates_none(mock_server: PortkeyMockServer, call: Any, body: Any) -> None:
    call("POST", "/logs/exports", status=400, json=body)
    assert call("GET", "/logs/exports")["total"] == 0


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
    assert (rejected.status_code, rejected.headers["Content-Type"]) == (400, "application/xml")
    assert "secret" not in rejected.text
    assert header.lower() in rejected.text


def test_a_signature_is_valid_for_its_own_file_and_time(mock_server: PortkeyMockServer, url: str, clock: Any) -> None:
    mock_server.add_log_export(export_id="y")
    later, bare = url.replace("expires=1", "expires=2"), url.partition("?")[0]
    for wrong in (url.replace("/x.", "/y."), url[:-1], later, bare):
        assert requests.get(wrong, timeout=5).status_code == 403
    assert requests.get(url.replace("/x.", "/z."), timeout=5).status_code == 404
    clock.now += 600
    assert "expired" in requests.get(url, timeout=5).text


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
    mock_server.log_exports.ranges = False
    response = requests.get(url, timeout=5, headers={"Range": "bytes=10-"})
    assert (response.status_code, "Accept-Ranges" in response.headers) == (200, False)
    assert response.content == requests.get(url, timeout=5).content


def test_a_fault_without_a_path_spares_the_storage(mock_server: PortkeyMockServer, call: Any, url: str) -> None:
    mock_server.fault(status=500)
    assert requests.get(url, timeout=5).status_code == 200
    call("GET", "/models", status=500)
