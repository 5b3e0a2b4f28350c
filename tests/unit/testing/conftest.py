"""A mock server with a clock that a test sets, and a client with a key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from airflow_provider_portkey.testing import Clock, PortkeyMockServer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def mock_server(clock: Clock) -> Iterator[PortkeyMockServer]:
    with PortkeyMockServer(clock=clock, run_seconds=8, run_steps=3) as mock_server:
        yield mock_server


@pytest.fixture
def fetch(mock_server: PortkeyMockServer) -> Iterator[Callable[..., requests.Response]]:
    """Send a request as a client with a key would, and return the response."""
    with requests.Session() as session:
        session.headers["Authorization"] = "Bearer mock-key"

        def send(method: str, path: str, status: int = 200, **kwargs: Any) -> requests.Response:
            response = session.request(method, mock_server.url + path, timeout=5, **kwargs)
            assert response.status_code == status, response.text
            return response

        yield send


@pytest.fixture
def call(fetch: Callable[..., requests.Response]) -> Callable[..., Any]:
    """The same, and return the JSON object of the response."""
    return lambda *args, **kwargs: fetch(*args, **kwargs).json()
