"""Rejected requests. One mock server serves all these tests, because none of them changes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import requests

from airflow_provider_portkey.testing import PortkeyMockServer

HOSTILE_IDS = ["a/../b", "..", ".", "a b?c#d", "ü\n", "%2F", "a/../../models"]


@pytest.fixture(scope="module")
def mock_server() -> Iterator[PortkeyMockServer]:
    with PortkeyMockServer() as mock_server:
        mock_server.add_run(thread_id="t", run_id="r", steps=1)
        for hostile in HOSTILE_IDS:
            mock_server.add_run(thread_id="hostile", run_id=hostile)
        mock_server.add_messages(thread_id="empty", texts=[])
        yield mock_server


def send(mock_server: PortkeyMockServer, method: str, path: str, **kwargs: Any) -> requests.Response:
    """Send a request whose path the client must not tidy up."""
    request = requests.Request(method, mock_server.url, headers={"Authorization": "x"}, **kwargs).prepare()
    request.url = mock_server.url + path
    with requests.Session() as session:
        return session.send(request, timeout=5)


@pytest.mark.parametrize(
    "path",
    [
        "/threads/x/runs",
        "/threads/t/runs/x",
        "/threads/hostile/runs/r",
        "/threads/t/runs/r/steps/x",
        "/threads/t/messages/x",
        "/threads/t/runs/",
        "/threads//runs",
        "/threads/../models",
        "/x",
    ],
)
def test_an_unknown_path_or_id_is_a_404(mock_server: PortkeyMockServer, path: str) -> None:
    rejected = send(mock_server, "GET", path)
    assert rejected.status_code == 404
    assert set(rejected.json()["error"]) == {"message", "type", "param", "code"}
    assert rejected.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "order=up", "after=unknown"])
def test_a_bad_query_is_a_400(mock_server: PortkeyMockServer, query: str) -> None:
    for path in ("/threads/t/runs", "/threads/t/runs/r/steps", "/threads/t/messages"):
        rejected = send(mock_server, "GET", f"{path}?{query}")
        assert (rejected.status_code, rejected.json()["error"]["param"]) == (400, query.partition("=")[0])


@pytest.mark.parametrize("data", ["{", "[]", "{}", '{"assistant_id": "a", "stream": true}'])
def test_a_bad_body_is_a_400_and_creates_no_run(mock_server: PortkeyMockServer, data: str) -> None:
    assert send(mock_server, "POST", "/threads/empty/runs", data=data).status_code == 400
    assert send(mock_server, "GET", "/threads/empty/runs").json()["data"] == []


@pytest.mark.parametrize("message", ["x", {"role": "system", "content": "x"}, {"role": "user", "content": 1}])
def test_a_bad_message_is_a_400(mock_server: PortkeyMockServer, message: Any) -> None:
    assert send(mock_server, "POST", "/threads", json={"messages": [message]}).status_code == 400


@pytest.mark.parametrize("hostile", HOSTILE_IDS)
def test_a_hostile_id_is_only_an_id(mock_server: PortkeyMockServer, hostile: str) -> None:
    quoted = quote(hostile, safe="").replace(".", "%2E")
    assert send(mock_server, "GET", f"/threads/t/runs/{quoted}").status_code == 404
    assert send(mock_server, "GET", f"/threads/hostile/runs/{quoted}").json()["id"] == hostile
    assert mock_server.requests[-1].path == f"/v1/threads/hostile/runs/{quoted}"


def test_an_encoded_slash_reaches_no_other_endpoint(mock_server: PortkeyMockServer) -> None:
    assert send(mock_server, "GET", "/threads/t/runs/r/steps").status_code == 200
    rejected = send(mock_server, "GET", "/threads/t/runs/r%2Fsteps")
    assert rejected.status_code == 404
    assert "'r/steps'" in rejected.json()["error"]["message"]
    assert send(mock_server, "GET", "/threads%2Ft/runs").status_code == 404


def test_a_request_without_a_key_is_a_401(mock_server: PortkeyMockServer) -> None:
    rejected = requests.get(f"{mock_server.url}/models", timeout=5)
    assert (rejected.status_code, rejected.json()["error"]["code"]) == (401, "invalid_api_key")


def test_authorization_can_be_optional() -> None:
    with PortkeyMockServer(require_authorization=False) as mock_server:
        assert requests.get(f"{mock_server.url}/models", timeout=5).status_code == 200
