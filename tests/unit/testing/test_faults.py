from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from airflow_provider_portkey.testing import Fault, PortkeyMockServer

RUN, STEPS = "/threads/t/runs/r", "/threads/t/runs/r/steps"


@pytest.fixture
def mock_server() -> Iterator[PortkeyMockServer]:
    with PortkeyMockServer() as mock_server:
        statuses = ["queued", "completed"]
        mock_server.add_run(thread_id="t", run_id="r", steps=50, statuses=statuses, advance="per_poll")
        yield mock_server


def get(mock_server: PortkeyMockServer, path: str = RUN, **kwargs: Any) -> requests.Response:
    return requests.get(mock_server.url + path, headers={"Authorization": "x"}, timeout=5, **kwargs)


def test_a_status_replaces_the_response_for_a_number_of_requests(mock_server: PortkeyMockServer) -> None:
    fault = mock_server.fault(status=429, times=2, headers={"Retry-After": "1"})
    responses = [get(mock_server) for _ in range(3)]
    assert [response.status_code for response in responses] == [429, 429, 200]
    assert [response.headers.get("Retry-After") for response in responses] == ["1", "1", None]
    assert set(responses[0].json()["error"]) == {"message", "type", "param", "code"}
    assert responses[2].json()["status"] == "queued", "a request that was struck must not move the run"
    assert fault.struck == 2
    assert len(mock_server.requests) == 3


@pytest.mark.parametrize(
    ("fault", "status", "content_type", "body"),
    [
        ({"body": "<html>", "content_type": "text/html"}, 200, "text/html", "<html>"),
        ({"status": 502, "body": "Bad gateway"}, 502, "text/plain; charset=utf-8", "Bad gateway"),
        ({"status": 401, "body": {"status": "failure"}}, 401, "application/json", '{"status": "failure"}'),
        ({"body": b"", "content_type": "application/json"}, 200, "application/json", ""),
        ({"status": 204}, 204, "text/plain; charset=utf-8", ""),
    ],
)
def test_any_body_of_any_type(
    mock_server: PortkeyMockServer, fault: dict[str, Any], status: int, content_type: str, body: str
) -> None:
    mock_server.fault(**fault)
    response = get(mock_server)
    assert (response.status_code, response.headers["Content-Type"], response.text) == (status, content_type, body)


def test_a_connection_is_closed_without_a_response(mock_server: PortkeyMockServer) -> None:
    mock_server.fault(disconnect=True)
    with pytest.raises(requests.ConnectionError):
        get(mock_server)
    assert get(mock_server).json()["status"] == "queued"


def test_a_response_is_cut_in_the_middle(mock_server: PortkeyMockServer) -> None:
    mock_server.fault(cut_after=20)
    with get(mock_server, STEPS, stream=True) as response:
        assert response.status_code == 200
        assert response.raw.read(20) == b'{"object":"list","da'
        with pytest.raises(Exception, match="IncompleteRead"):
            response.raw.read()


def test_a_server_that_ignores_after(mock_server: PortkeyMockServer) -> None:
    mock_server.fault(ignore_after=True, times=None, path="*/steps")
    pages = [get(mock_server, STEPS, params={"after": after}).json() for after in ("", "step_000020", "unknown")]
    assert pages[0]["data"][0]["id"] == "step_000050"
    assert pages[0] == pages[1] == pages[2]


def test_a_response_is_altered(mock_server: PortkeyMockServer) -> None:
    mock_server.fault(merge={"last_id": "unknown", "has_more": True}, headers={"x-request-id": "abc"})
    response = get(mock_server, STEPS + "?limit=1&after=step_000002")
    page = response.json()
    assert [step["id"] for step in page["data"]] == ["step_000001"]
    assert (page["last_id"], page["has_more"], page["first_id"]) == ("unknown", True, "step_000001")
    assert response.headers["x-request-id"] == "abc"


def test_a_short_delay_precedes_the_response(mock_server: PortkeyMockServer) -> None:
    mock_server.fault(delay=0.05)
    begun = time.perf_counter()
    assert get(mock_server).status_code == 200
    assert time.perf_counter() - begun >= 0.05


def test_a_request_is_carried_out_before_a_delay_of_its_response(mock_server: PortkeyMockServer) -> None:
    mock_server.fault(response_delay=3600)
    with pytest.raises(requests.ReadTimeout):
        requests.post(mock_server.url + RUN + "/cancel", headers={"Authorization": "x"}, timeout=0.5)
    assert get(mock_server).json()["status"] in ("cancelling", "cancelled")


def test_a_fault_precedes_the_check_for_a_key(mock_server: PortkeyMockServer) -> None:
    mock_server.fault(status=503)
    assert requests.get(f"{mock_server.url}/models", timeout=5).status_code == 503


@pytest.mark.parametrize(
    ("fault", "struck"),
    [
        (Fault(status=500), True),
        (Fault(status=500, method="get"), True),
        (Fault(status=500, method="POST"), False),
        (Fault(status=500, path="/v1/threads/*/steps"), True),
        (Fault(status=500, path="*/runs/r"), False),
        (Fault(status=500, path="/V1/*"), False),
        (Fault(status=500, path=re.compile(r"/runs/\w/")), True),
        (Fault(status=500, path=re.compile(r"/runs/r$")), False),
    ],
)
def test_a_fault_strikes_some_requests(fault: Fault, struck: bool) -> None:
    assert fault.strikes("GET", "/v1/threads/t/runs/r/steps") is struck


def test_the_fault_set_first_strikes_first_until_used_up(mock_server: PortkeyMockServer) -> None:
    first, second = mock_server.fault(status=500), mock_server.fault(status=502, times=None)
    assert [get(mock_server).status_code for _ in range(4)] == [500, 502, 502, 502]
    assert (first.struck, second.struck) == (1, 3)


def test_all_faults_can_be_removed(mock_server: PortkeyMockServer) -> None:
    mock_server.fault(status=500, times=None)
    mock_server.fault(status=502)
    mock_server.clear_faults()
    assert get(mock_server).status_code == 200


@pytest.mark.parametrize("fields", [{"times": 0}, {"status": 99}, {"status": 600}])
def test_an_invalid_fault_is_rejected(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="has to be"):
        Fault(**fields)
