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
    answer = requests.get(url, timeout=5)
    assert answer.status_code == 200, answer.text
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    return [json.loads(line) for line in answer.content.splitlines()]


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


def test_the_words_of_the_guide(mock_server: PortkeyMockServer, call: Any) -> None:
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


def test_the_end_of_a_window_may_lie_outside(mock_server: PortkeyMockServer, call: Any) -> None:
    noon = {"time_of_generation_max": "2026-01-01T12:00:00Z"}
    assert create(call, noon)["total"] == 501
    mock_server.log_exports.end_included = False
    assert create(call, noon)["total"] == 500
    assert create(call, {"time_of_generation_max": "2026-01-01T12:00:00.000001Z"})["total"] == 501


def test_a_job_exports_no_more_than_its_most(mock_server: PortkeyMockServer, call: Any) -> None:
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
def test_a_bad_export_is_a_400_and_makes_none(mock_server: PortkeyMockServer, call: Any, body: Any) -> None:
    call("POST", "/logs/exports", status=400, json=body)
    assert call("GET", "/logs/exports")["total"] == 0


def test_what_is_not_there_is_a_404(mock_server: PortkeyMockServer, call: Any) -> None:
    for method, path in (("GET", ""), ("PUT", ""), ("POST", "/start"), ("POST", "/cancel"), ("GET", "/download")):
        call(method, f"/logs/exports/nobody{path}", status=404)
    mock_server.add_log_export(export_id="x")
    with pytest.raises(ValueError, match="taken"):
        mock_server.add_log_export(export_id="x")
    with pytest.raises(ValueError, match="settings"):
        mock_server.log_exports.settings(spelling="klingon")
