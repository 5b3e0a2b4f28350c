"""A stand-in with a clock that a test moves, and a caller with a key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from airflow_provider_portkey.testing import PortkeyStandIn


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stand_in(clock: Clock) -> Iterator[PortkeyStandIn]:
    with PortkeyStandIn(clock=clock, job_seconds=8) as stand_in:
        yield stand_in


@pytest.fixture
def fetch(stand_in: PortkeyStandIn) -> Iterator[Callable[..., requests.Response]]:
    """Call the stand-in as a client with a key would, and give the answer as it came."""
    with requests.Session() as session:
        session.headers["Authorization"] = "Bearer stand-in"

        def send(method: str, path: str, status: int = 200, **kwargs: Any) -> requests.Response:
            answer = session.request(method, stand_in.url + path, timeout=5, **kwargs)
            assert answer.status_code == status, answer.text
            return answer

        yield send


@pytest.fixture
def call(fetch: Callable[..., requests.Response]) -> Callable[..., Any]:
    """The same, and give the JSON object of the answer."""
    return lambda *args, **kwargs: fetch(*args, **kwargs).json()
