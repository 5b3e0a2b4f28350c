"""What the stand-in refuses. One stand-in serves all these tests, because none of them changes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import requests

from airflow_provider_portkey.testing import PortkeyStandIn

HOSTILE_IDS = ["a/../b", "..", ".", "a b?c#d", "ü\n", "%2F", "a/../../models"]


@pytest.fixture(scope="module")
def stand_in() -> Iterator[PortkeyStandIn]:
    with PortkeyStandIn() as stand_in:
        stand_in.add_run(thread_id="t", run_id="r", steps=1)
        for hostile in HOSTILE_IDS:
            stand_in.add_run(thread_id="hostile", run_id=hostile)
        stand_in.add_messages(thread_id="empty", texts=[])
        yield stand_in


def send(stand_in: PortkeyStandIn, method: str, path: str, **kwargs: Any) -> requests.Response:
    """Send a request whose path the client must not tidy up."""
    request = requests.Request(method, stand_in.url, headers={"Authorization": "x"}, **kwargs).prepare()
    request.url = stand_in.url + path
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
def test_what_is_not_there_is_a_404(stand_in: PortkeyStandIn, path: str) -> None:
    refused = send(stand_in, "GET", path)
    assert refused.status_code == 404
    assert set(refused.json()["error"]) == {"message", "type", "param", "code"}
    assert refused.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "order=up", "after=nobody"])
def test_a_bad_query_is_a_400(stand_in: PortkeyStandIn, query: str) -> None:
    for path in ("/threads/t/runs", "/threads/t/runs/r/steps", "/threads/t/messages"):
        refused = send(stand_in, "GET", f"{path}?{query}")
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, query.partition("=")[0])


@pytest.mark.parametrize("data", ["{", "[]", "{}", '{"assistant_id": "a", "stream": true}'])
def test_a_bad_body_is_a_400_and_makes_no_run(stand_in: PortkeyStandIn, data: str) -> None:
    assert send(stand_in, "POST", "/threads/empty/runs", data=data).status_code == 400
    assert send(stand_in, "GET", "/threads/empty/runs").json()["data"] == []


@pytest.mark.parametrize("message", ["x", {"role": "system", "content": "x"}, {"role": "user", "content": 1}])
def test_a_bad_message_is_a_400(stand_in: PortkeyStandIn, message: Any) -> None:
    assert send(stand_in, "POST", "/threads", json={"messages": [message]}).status_code == 400


@pytest.mark.parametrize("hostile", HOSTILE_IDS)
def test_a_hostile_id_is_only_an_id(stand_in: PortkeyStandIn, hostile: str) -> None:
    quoted = quote(hostile, safe="").replace(".", "%2E")
    assert send(stand_in, "GET", f"/threads/t/runs/{quoted}").status_code == 404
    assert send(stand_in, "GET", f"/threads/hostile/runs/{quoted}").json()["id"] == hostile
    assert stand_in.requests[-1].path == f"/v1/threads/hostile/runs/{quoted}"


def test_an_encoded_slash_reaches_no_other_endpoint(stand_in: PortkeyStandIn) -> None:
    assert send(stand_in, "GET", "/threads/t/runs/r/steps").status_code == 200
    refused = send(stand_in, "GET", "/threads/t/runs/r%2Fsteps")
    assert refused.status_code == 404
    assert "'r/steps'" in refused.json()["error"]["message"]
    assert send(stand_in, "GET", "/threads%2Ft/runs").status_code == 404


def test_without_a_key_nothing_is_answered(stand_in: PortkeyStandIn) -> None:
    refused = requests.get(f"{stand_in.url}/models", timeout=5)
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")


def test_a_stand_in_may_be_open_to_all() -> None:
    with PortkeyStandIn(require_authorization=False) as stand_in:
        assert requests.get(f"{stand_in.url}/models", timeout=5).status_code == 200
