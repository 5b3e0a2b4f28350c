"""The worker's session."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from airflow_provider_portkey.client.requests_session import new_session


def test_cookies_are_not_kept(loopback: Any) -> None:
    server = loopback(Set_Cookie="session=1; Path=/")

    with new_session((), head_timeout=60) as session:
        session.get(server.url)
        session.get(server.url)

    assert [request.headers["Cookie"] for request in server.requests] == [None, None]


@pytest.mark.parametrize("fault", ["slow headers", "silence"])
def test_the_head_of_a_response_has_a_deadline(loopback: Any, fault: str) -> None:
    server = loopback(fault)

    with new_session((), head_timeout=0.2) as session, pytest.raises(requests.RequestException):
        session.get(server.url, timeout=(5, 60))


def test_a_proxy_is_watched_like_a_server(loopback: Any) -> None:
    proxy = loopback("slow headers")

    with new_session((), head_timeout=0.2) as session, pytest.raises(requests.RequestException):
        session.get("http://gateway.invalid", timeout=(5, 60), proxies={"http": proxy.url})
