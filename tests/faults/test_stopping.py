"""A request that is no longer needed ends at once, whatever the server does."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from airflow_provider_portkey.client.settings import read_settings
from airflow_provider_portkey.client.stopping import StoppedError
from airflow_provider_portkey.client.sync import PortkeyClient
from airflow_provider_portkey.export.worker_pool import WorkerPool

from .conftest import IDS, RUN, Peer, Server, certificate

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
#: Far longer than the test may take.
SECONDS = 3600


class Reached(threading.Event):
    """A point that the script of a server has reached."""

    def script(self, *parts: bytes, then: Callable[[Peer], Any]) -> Callable[[Peer], None]:
        def run(peer: Peer) -> None:
            peer.send(*parts)
            self.set()
            then(peer)

        return run


#: What comes before the server is silent, or slow for ever.
FAULTS: dict[str, tuple[tuple[bytes, ...], Callable[[Peer], Any]]] = {
    "silence": ((), Peer.hold),
    "half a head": ((HEAD,), Peer.hold),
    "headers without an end": ((HEAD,), lambda peer: peer.drip(b"X-More: 1\r\n")),
    "half a body": ((HEAD, b"Content-Length: 100\r\n\r\n{"), Peer.hold),
    "a body that trickles": ((HEAD, b"Content-Length: 1000000\r\n\r\n"), lambda peer: peer.drip(b" ")),
    "chunks that trickle": ((HEAD, b"Transfer-Encoding: chunked\r\n\r\n"), lambda peer: peer.drip(b"1\r\n \r\n")),
}


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_response_that_does_not_end(fault: str, tls: bool) -> None:
    reached = Reached()
    parts, then = FAULTS[fault]
    context = None
    if tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate())
    with closing(Server(reached.script(*parts, then=then), tls=context)) as server:
        extra = {"read_timeout": SECONDS, "connect_timeout": 10, "max_retries": 5, "verify": certificate()}
        url = f"http{'s' if tls else ''}://127.0.0.1:{server.port}"
        with closing(PortkeyClient(read_settings(host=url, extra=extra))) as client:
            with WorkerPool(1) as pool:
                reading = pool.start(lambda: client.get(RUN, IDS))
                assert reached.wait(60)

            assert isinstance(reading.exception(), StoppedError)
            assert len(server.requests) == 1


def test_a_wait_before_the_next_attempt() -> None:
    reached = Reached()
    busy = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n"
    with closing(Server(reached.script(busy, then=lambda peer: None))) as server:
        settings = read_settings(host=f"http://127.0.0.1:{server.port}", extra={"max_retries": 5})
        with closing(PortkeyClient(settings)) as client:
            with WorkerPool(1) as pool:
                reading = pool.start(lambda: client.get(RUN, IDS))
                assert reached.wait(60)

            assert isinstance(reading.exception(), StoppedError)
            assert len(server.requests) == 1


def test_a_request_that_begins_later() -> None:
    reached, resume = Reached(), threading.Event()
    with closing(Server(reached.script(then=lambda peer: None))) as server:
        settings = read_settings(host=f"http://127.0.0.1:{server.port}")
        with closing(PortkeyClient(settings)) as client:

            def read() -> Any:
                resume.wait(60)
                return client.get(RUN, IDS)

            pool = WorkerPool(1)
            with pool:
                reading = pool.start(read)
                pool._stop.set()
                resume.set()

            assert isinstance(reading.exception(), StoppedError)
            assert server.requests == []


def test_a_connection_serves_further_requests_after_another_pool_was_stopped() -> None:
    def respond(peer: Peer) -> str:
        peer.send(HEAD, b"Content-Length: 2\r\n\r\n{}")
        return "keep open"

    with closing(Server(respond)) as server:
        settings = read_settings(host=f"http://127.0.0.1:{server.port}")
        with closing(PortkeyClient(settings)) as client:
            for _ in range(3):
                with WorkerPool(1) as pool:
                    assert pool.start(lambda: client.get(RUN, IDS)).result() == {}

            assert client.get(RUN, IDS) == {}
            assert server.connections == 1
