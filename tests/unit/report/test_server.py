"""The route of the tab, as Airflow's API server mounts it."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import pytest
from airflow import __version__ as airflow_version

if tuple(int(part) for part in airflow_version.split(".")[:2]) < (3, 1):
    pytest.skip("Airflow shows tabs of plugins from 3.1 on", allow_module_level=True)

from fastapi.testclient import TestClient

from airflow_provider_portkey.report import server
from airflow_provider_portkey.report.page import FIRST_BYTES, MAX_BYTES, render


@pytest.fixture
def page(report, step) -> bytes:
    return b"".join(render(report([step()])))


@pytest.fixture
def manifest(page, tmp_path) -> dict[str, Any]:
    path = tmp_path / "run.html"
    path.write_bytes(page)
    sha256 = hashlib.sha256(page).hexdigest()
    return {"report": "run", "format": "html", "path": str(path), "bytes": len(page), "sha256": sha256}


class Session:
    """A database session that finds one XCom."""

    def __init__(self) -> None:
        self.value: Any = None
        self.queries: list[str] = []

    def scalar(self, query: Any) -> Any:
        self.queries.append(str(query.compile(compile_kwargs={"literal_binds": True})))
        return self.value


@pytest.fixture
def session() -> Session:
    return Session()


@pytest.fixture
def client(session, monkeypatch) -> Any:
    """A client that may read every DAG but one."""
    from airflow.api_fastapi.common.db.common import _get_session
    from airflow.api_fastapi.core_api import security

    class AuthManager:
        def is_authorized_dag(self, *, method, access_entity, details, user):
            assert (method, access_entity.value, user) == ("GET", "XCOM", "reader")
            return details.id != "secret"

    monkeypatch.setattr(security, "get_auth_manager", AuthManager)
    monkeypatch.setattr(security.DagModel, "get_team_name", lambda dag_id: None, raising=False)
    server.app.cache_clear()
    app = server.app()
    app.dependency_overrides = {_get_session: lambda: session, security.get_user: lambda: "reader"}
    yield TestClient(app)
    server.app.cache_clear()


def test_a_report_is_sent_with_a_policy_that_allows_no_script(client, session, manifest, page):
    session.value = json.dumps(manifest)
    response = client.get("/reports/dag/run%2B1/task/{MAP_INDEX}")
    assert (response.status_code, response.content) == (200, page)
    policy = response.headers["content-security-policy"].split("; ")
    assert policy[0] == "default-src 'none'"
    assert policy[1].startswith("style-src 'sha256-")
    assert policy[2:] == ["base-uri 'none'", "form-action 'none'", "frame-ancestors 'self'", "sandbox"]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    for part in ("dag_id = 'dag'", "run_id = 'run+1'", "task_id = 'task'", "map_index = -1", "'return_value'"):
        assert part in session.queries[0]


def test_a_mapped_task_instance_has_its_own_report(client, session, manifest):
    session.value = manifest  # a driver may have parsed the JSON
    assert client.get("/reports/dag/run/task/3").status_code == 200
    assert "map_index = 3" in session.queries[0]


def test_a_reader_without_the_right_to_the_dag_gets_nothing(client, session, manifest):
    session.value = json.dumps(manifest)
    assert client.get("/reports/secret/run/task/-1").status_code == 403
    assert session.queries == []


@pytest.mark.parametrize("value", [None, "text", "{", 7, [], {}, {"format": "html"}, {"format": "jsonl", "path": "x"}])
def test_a_task_without_a_report_has_a_page_that_says_so(client, session, value):
    session.value = value if value is None else json.dumps(value)
    response = client.get("/reports/dag/run/task/-1")
    assert response.status_code == 404
    assert "has no Portkey report" in response.text
    assert "sandbox" in response.headers["content-security-policy"]


@pytest.mark.parametrize("field", ["path", "bytes", "sha256", "report"])
@pytest.mark.parametrize("junk", [None, [], {}, 1.5])
def test_a_manifest_with_other_types_is_none(client, session, manifest, field, junk):
    session.value = json.dumps({**manifest, field: junk})
    assert "has no Portkey report" in client.get("/reports/dag/run/task/-1").text


def test_a_file_that_is_no_report_is_not_sent_although_its_hash_is_right(manifest, tmp_path):
    for content in (
        b"root:x:0:0",
        b"<!doctype html><script>1</script>",
        FIRST_BYTES[:-1],
        b"\xef\xbb\xbf" + FIRST_BYTES,
    ):
        (tmp_path / "run.html").write_bytes(content)
        changed = {**manifest, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        assert server.read_report(changed) is None


def test_a_report_that_was_changed_is_not_sent(manifest, page, tmp_path):
    (tmp_path / "run.html").write_bytes(page[:-2] + b"!\n")
    assert server.read_report(manifest) is None


def test_only_files_of_the_stated_size_are_opened(manifest, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (f"{tmp_path}/pipe", "file:///dev/zero", "/etc/passwd", str(tmp_path), f"{tmp_path}/absent"):
        assert server.read_report({**manifest, "path": path}) is None
    assert server.read_report({**manifest, "bytes": MAX_BYTES + 1}) is None


@pytest.mark.parametrize(
    "path",
    ["http://127.0.0.1:1/x", "https://x.test/", "ftp://x/y", "github://x", "http:/x", "data:,x", "x", "", "file:"],
)
def test_a_manifest_sends_no_request_to_anywhere(manifest, path, monkeypatch):
    monkeypatch.setattr("airflow.providers.common.compat.sdk.ObjectStoragePath", None)
    assert server.read_report({**manifest, "path": path}) is None
