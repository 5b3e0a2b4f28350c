"""The worker's session."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from airflow_provider_portkey.client.attempts import Attempt
from airflow_provider_portkey.client.requests_session import new_session


def test_cookies_are_not_kept(loopback: Any, settings_for: Any) -> None:
    server = loopback(Set_Cookie="session=1; Path=/")

    with new_session(()) as session, Attempt(settings_for(server.url)):
        session.get(server.url)
        session.get(server.url)

    assert [request.headers["Cookie"] for request in server.requests] == [None, None]


@pytest.mark.parametrize("fault", ["slow headers", "silence"])
def test_a_proxy_has_the_deadline_of_the_attempt(
    loopback: Any, settings_for: Any, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    proxy = loopback(fault)
    monkeypatch.setenv("http_proxy", proxy.url)
    attempt = Attempt(settings_for(proxy.url, connect_timeout=0.1, read_timeout=0.1))

    with new_session(()) as session, attempt, pytest.raises(requests.RequestException):
        session.get("http://gateway.invalid", timeout=(5, 60))

    assert attempt.is_over or fault == "silence"


def test_a_request_needs_an_attempt(loopback: Any) -> None:
    server = loopback()

    with new_session(()) as session, pytest.raises(RuntimeError, match="Attempt"):
        session.get(server.url)

    assert server.requests == []
