"""What only the worker's client does: bodies, connections, threads. Faults are in ``test_transports.py``."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import Any

import pytest

from airflow_provider_portkey import exceptions
from airflow_provider_portkey.client import requests_session
from airflow_provider_portkey.client.sync import PortkeyClient


@pytest.mark.parametrize("method", ["post", "put"])
def test_a_body_is_sent_as_ascii_json(loopback: Any, settings_for: Any, method: str) -> None:
    server = loopback()

    with closing(PortkeyClient(settings_for(server.url))) as client:
        assert getattr(client, method)("/threads/{t}/runs", {"t": "t"}, {"tool": "ä"}) == {"id": "run_1"}

    (request,) = server.requests
    assert (request.method, request.body) == (method.upper(), b'{"tool": "\\u00e4"}')
    assert request.headers["Content-Type"] == "application/json"


def test_a_put_is_retried_like_a_get(loopback: Any, settings_for: Any, waits: list[float]) -> None:
    server = loopback([{"status": 500}, {}])

    with closing(PortkeyClient(settings_for(server.url, max_retries=1))) as client:
        assert client.put("/logs/exports/{id}", {"id": "1"}, {}) == {"id": "run_1"}

    assert len(server.requests) == 2


def test_one_pooled_connection_serves_all_requests(loopback: Any, settings_for: Any) -> None:
    server = loopback(["gzip", "known length", {"status": 404}, {}])

    with closing(PortkeyClient(settings_for(server.url))) as client:
        client.get("/models", {})
        client.get("/models", {})
        with pytest.raises(exceptions.PortkeyNotFoundError):
            client.get("/threads/{t}", {"t": "t"})
        client.post("/models", {})

    assert len(server.requests) == 4
    assert server.connections == 1


def test_a_closed_client_opens_a_new_connection_when_it_is_used_again(loopback: Any, settings_for: Any) -> None:
    server = loopback()
    client = PortkeyClient(settings_for(server.url))
    client.close()
    client.get("/models", {})
    client.close()

    assert client.get("/models", {}) == {"id": "run_1"}
    assert server.connections == 2
    client.close()


def test_threads_that_use_a_client_at_the_same_time_share_one_session(
    loopback: Any, settings_for: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = loopback("known length")
    opened: list[int] = []
    new_session = requests_session.new_session
    monkeypatch.setattr(
        requests_session, "new_session", lambda *given, **more: opened.append(1) or new_session(*given, **more)
    )
    client, together = PortkeyClient(settings_for(server.url)), threading.Barrier(16)
    responses: list[Any] = []

    def get() -> None:
        together.wait()
        responses.append(client.get("/models", {}))

    threads = [threading.Thread(target=get) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.close()

    assert len(responses) == 16
    assert opened == [1]
