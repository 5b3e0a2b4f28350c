"""A mock server with a clock that a test moves, and a caller with a key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from airflow_provider_portkey.testing import PortkeyMockServer


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def mock_server(clock: Clock) -> Iterator[PortkeyMockServer]:
    with PortkeyMockServer(clock=clock, job_seconds=8) as mock_server:
        yield mock_server


@pytest.fixture
def fetch(mock_server: PortkeyMockServer) -> Iterator[Callable[..., requests.Response]]:
    """Call the mock server as a client with a key would, and give the answer as it came."""
    with requests.Session() as session:
        session.headers["Authorization"] = "Bearer mock server"

        def send(method: str, path: str, status: int = 200, **kwargs: Any) -> requests.Response:
            answer = session.request(method, mock_server.url + path, timeout=5, **kwargs)
            assert answer.status_code == status, answer.text
            return answer

        yield send


@pytest.fixture
def call(fetch: Callable[..., requests.Response]) -> Callable[..., Any]:
    """The same, and give the JSON object of the answer."""
    return lambda *args, **kwargs: fetch(*args, **kwargs).json()
