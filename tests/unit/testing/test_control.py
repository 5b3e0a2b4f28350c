"""Jobs of every kind, scripted by another process: over the control endpoints, and by the command line."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from airflow_provider_portkey.testing import PortkeyMockServer
from airflow_provider_portkey.testing.__main__ import _add_demo_jobs


@pytest.fixture
def control(mock_server: PortkeyMockServer) -> Any:
    def post(name: str, status: int = 200, **body: Any) -> Any:
        url = f"{mock_server.url.removesuffix('/v1')}/_mock_server/{name}"
        answer = requests.post(url, json=body, timeout=5)
        assert answer.status_code == status, answer.text
        return answer.json()

    return post


@pytest.mark.parametrize(
    ("name", "body", "path"),
    [
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


def test_the_command_line_has_a_job_of_each_kind(mock_server: PortkeyMockServer, call: Any, clock: Any) -> None:
    _add_demo_jobs(mock_server, seconds=4, start="first-poll")
    paths = ("/responses/response_demo", "/batches/batch_demo", "/fine_tuning/jobs/job_demo")
    assert [call("GET", path)["status"] for path in paths] == ["queued", "validating", "validating_files"]
    clock.now += 4
    assert [call("GET", path)["status"] for path in paths] == ["completed", "completed", "succeeded"]
