"""Jobs of every kind, declared by another process over the control endpoints."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from airflow_provider_portkey.testing import PortkeyMockServer


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
