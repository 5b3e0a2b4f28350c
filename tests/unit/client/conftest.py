"""Loopback servers and their responses, both transports, and waits that nobody sleeps."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from airflow_provider_portkey.client.aio import open_client
from airflow_provider_portkey.client.settings import ConnectionSettings, read_settings
from airflow_provider_portkey.client.sync import PortkeyClient
from airflow_provider_portkey.testing import Clock

Responder = Callable[[BaseHTTPRequestHandler], None]
RUN = "/threads/{thread_id}/runs/{run_id}"
IDS = {"thread_id": "thread_1", "run_id": "run_1"}


def send(handler: BaseHTTPRequestHandler, body: bytes = b'{"id": "run_1"}', status: int = 200, **headers: str) -> None:
    start(handler, status, **{"Content-Length": str(len(body)), **headers})
    handler.wfile.write(body)


def start(handler: BaseHTTPRequestHandler, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


def chunked(
    handler: BaseHTTPRequestHandler, chunks: Sequence[bytes], end: bytes = b"0\r\n\r\n", **headers: str
) -> None:
    start(handler, Transfer_Encoding="chunked", **headers)
    for chunk in chunks:
        handler.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        handler.wfile.flush()
    handler.wfile.write(end)
    handler.close_connection = True


def until_closed(handler: BaseHTTPRequestHandler) -> None:
    start(handler, Connection="close")
    handler.wfile.write(LARGE)


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def cut_short(handler: BaseHTTPRequestHandler) -> None:
    send(handler, Content_Length="1000")
    hang_up(handler)


def not_http(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")
    hang_up(handler)


def drip_body(handler: BaseHTTPRequestHandler) -> None:
    start(handler, Content_Length="1000000")
    drip(handler)


def drip_headers(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    drip(handler)


def drip(handler: BaseHTTPRequestHandler) -> None:
    while not released(handler).wait(0.05):
        handler.wfile.write(b"x")
        handler.wfile.flush()


def silence(handler: BaseHTTPRequestHandler) -> None:
    released(handler).wait()


def released(handler: BaseHTTPRequestHandler) -> threading.Event:
    """The event that ends endless responses when the test is over."""
    event: threading.Event = handler.server.released  # type: ignore[attr-defined]
    return event


LARGE = b'{"data": "' + "äöü".encode() * 60_000 + b'"}'
GZIPPED = gzip.compress(LARGE)

#: Responses that are faults, and a large body in every encoding.
RESPONDERS: dict[str, Responder] = {
    "cut in the body": cut_short,
    "cut in a chunk": lambda handler: chunked(handler, [b'{"id": '], end=b"ff\r\n"),
    "cut between chunks": lambda handler: chunked(handler, [b'{"id": "run_1"}'], end=b""),
    "no response": hang_up,
    "broken gzip": lambda handler: send(handler, b"this is not gzip", Content_Encoding="gzip"),
    "not HTTP": not_http,
    "slow body": drip_body,
    "slow headers": drip_headers,
    "silence": silence,
    "known length": lambda handler: send(handler, LARGE),
    "gzip": lambda handler: send(handler, GZIPPED, Content_Encoding="gzip"),
    "chunks": lambda handler: chunked(handler, [LARGE[at : at + 7_001] for at in range(0, len(LARGE), 7_001)]),
    "gzip in tiny chunks": lambda handler: chunked(
        handler, [*(GZIPPED[at : at + 1] for at in range(30)), GZIPPED[30:]], Content_Encoding="gzip"
    ),
    "until closed": until_closed,
}


@dataclass
class Received:
    method: str
    path: str
    headers: Message
    body: bytes


@dataclass
class Loopback:
    """A server that responds to each request by a responder, and records the requests."""

    responder: Responder
    requests: list[Received] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        loopback = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                loopback.connections += 1
                super().setup()

            def respond(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                loopback.requests.append(Received(self.command, self.path, self.headers, body))
                loopback.responder(self)

            do_GET = do_POST = do_PUT = respond

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128
            released = threading.Event()

            def handle_error(self, *args: object) -> None:
                """Nothing: clients close connections within a response here."""

        self.handler = Handler
        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._server.released.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Loopback]]:
    """
    Start servers, without the proxies of the machine's environment.

    ``loopback(responder)``, ``loopback("cut in the body")``, ``loopback(status=429, Retry_After="7")``, or
    ``loopback([{"status": 429}, {}])`` for one response after the other, of which the last one is repeated.
    """
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    started: list[Loopback] = []

    def responder_of(given: Any) -> Responder:
        if isinstance(given, dict):
            return lambda handler: send(handler, **given)
        return RESPONDERS[given] if isinstance(given, str) else given  # type: ignore[no-any-return]

    def start_server(given: Any = None, **response: Any) -> Loopback:
        responders = [responder_of(one) for one in (given if isinstance(given, list) else [given or response])]

        def respond(handler: BaseHTTPRequestHandler) -> None:
            (responders.pop(0) if len(responders) > 1 else responders[0])(handler)

        started.append(Loopback(respond))
        return started[-1]

    yield start_server
    for server in started:
        server.close()


@pytest.fixture
def closed_port(monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a port on loopback where nobody listens."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.server_close()
    return f"http://127.0.0.1:{server.server_address[1]}"


@pytest.fixture
def deaf_port(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a port on loopback whose queue is full, so that connecting never ends."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with contextlib.ExitStack() as sockets:
        server = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def settings_for() -> Callable[..., ConnectionSettings]:
    """Return the settings for a URL and fields of ``extra``; without retries by default."""

    def settings_of(url: str, **extra: Any) -> ConnectionSettings:
        return read_settings(host=url, api_key="pk-secret-key", extra={"max_retries": 0, **extra})

    return settings_of


@dataclass
class Transport:
    """One of the two clients, called from ordinary code."""

    name: str

    def get(self, settings: ConnectionSettings, path: str = RUN, ids: Any = None, query: Any = None) -> dict[str, Any]:
        return self._call(settings, "get", path, {**IDS, **(ids or {})}, *([query] if query else []))

    def post(
        self, settings: ConnectionSettings, path: str = RUN + "/cancel", ids: Any = None, body: Any = None
    ) -> dict[str, Any]:
        return self._call(settings, "post", path, {**IDS, **(ids or {})}, body)

    def _call(self, settings: ConnectionSettings, method: str, *arguments: Any) -> dict[str, Any]:
        if self.name == "requests":
            with contextlib.closing(PortkeyClient(settings)) as client:
                response: dict[str, Any] = getattr(client, method)(*arguments)
                return response

        async def main() -> dict[str, Any]:
            async with open_client(settings) as client:
                response: dict[str, Any] = await getattr(client, method)(*arguments)
                return response

        return asyncio.run(main())


@pytest.fixture(params=["requests", "aiohttp"])
def transport(request: pytest.FixtureRequest) -> Transport:
    """Each of the two transports."""
    return Transport(request.param)


@pytest.fixture
def retry_waits(waits: list[float], monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits before retries in both transports, in seconds; none of them is slept."""
    sleep_for = asyncio.sleep

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await sleep_for(0)

    monkeypatch.setattr("asyncio.sleep", sleep)
    return waits


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of tenacity; sleeping advances it."""
    clock = Clock()
    monkeypatch.setattr("tenacity.nap.time", clock)
    monkeypatch.setattr("tenacity.time", clock)
    return clock
