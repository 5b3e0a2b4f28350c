from __future__ import annotations

from typing import Any

import pytest
import requests

from airflow_provider_portkey.testing import PortkeyMockServer


@pytest.fixture
def url(mock_server: PortkeyMockServer, call: Any) -> str:
    mock_server.add_logs(2000, 0, 1000)
    mock_server.add_log_export(export_id="x", requested_data=["id", "request"])
    signed: str = call("GET", "/logs/exports/x/download")["signed_url"]
    return signed


def test_a_signed_url_wants_no_key_and_is_recorded(mock_server: PortkeyMockServer, url: str) -> None:
    answer = requests.get(url, timeout=5)
    assert (answer.status_code, answer.headers["Accept-Ranges"]) == (200, "bytes")
    assert answer.content.count(b"\n") == 2000
    assert "/v1" not in url
    (recorded,) = mock_server.storage_requests
    assert url.endswith(f"{recorded.path}?{recorded.query}")
    assert [request.path for request in mock_server.requests] == ["/v1/logs/exports/x/download"]


@pytest.mark.parametrize("header", ["Authorization", "x-portkey-api-key", "X-Portkey-Provider"])
def test_a_key_in_the_wrong_place_is_a_400(url: str, header: str) -> None:
    refused = requests.get(url, timeout=5, headers={header: "secret"})
    assert (refused.status_code, refused.headers["Content-Type"]) == (400, "application/xml")
    assert "secret" not in refused.text
    assert header.lower() in refused.text


def test_a_signature_holds_for_its_own_file_and_time(mock_server: PortkeyMockServer, url: str, clock: Any) -> None:
    mock_server.add_log_export(export_id="y")
    later, bare = url.replace("expires=1", "expires=2"), url.partition("?")[0]
    for wrong in (url.replace("/x.", "/y."), url[:-1], later, bare):
        assert requests.get(wrong, timeout=5).status_code == 403
    assert requests.get(url.replace("/x.", "/z."), timeout=5).status_code == 404
    clock.now += 600
    assert "expired" in requests.get(url, timeout=5).text


def test_a_download_that_is_cut_goes_on_by_range(mock_server: PortkeyMockServer, url: str) -> None:
    whole = requests.get(url, timeout=5).content
    fault = mock_server.fault(path="/_storage/*", cut_after=70_000, times=2)
    got = b""
    while len(got) < len(whole):
        with requests.get(url, timeout=5, stream=True, headers={"Range": f"bytes={len(got)}-"}) as answer:
            assert answer.status_code == 206
            assert answer.headers["Content-Range"] == f"bytes {len(got)}-{len(whole) - 1}/{len(whole)}"
            try:
                for block in answer.iter_content(10_000):
                    got += block
            except requests.RequestException:
                assert len(got) % 70_000 == 0
    assert got == whole
    assert (fault.struck, len(mock_server.storage_requests)) == (2, 4)


def test_a_storage_may_know_no_ranges(mock_server: PortkeyMockServer, url: str) -> None:
    mock_server.log_exports.ranges = False
    answer = requests.get(url, timeout=5, headers={"Range": "bytes=10-"})
    assert (answer.status_code, "Accept-Ranges" in answer.headers) == (200, False)
    assert answer.content == requests.get(url, timeout=5).content


def test_a_fault_for_any_call_does_not_strike_the_storage(mock_server: PortkeyMockServer, call: Any, url: str) -> None:
    mock_server.fault(status=500)
    assert requests.get(url, timeout=5).status_code == 200
    call("GET", "/models", status=500)
