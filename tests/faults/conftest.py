"""Sockets that misbehave, and the outcome of one call to them through either transport."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import functools
import ipaddress
import logging
import os
import re
import socket
import ssl
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from airflow_provider_portkey.client.aio import open_client
from airflow_provider_portkey.client.settings import read_settings
from airflow_provider_portkey.client.sync import PortkeyClient
from airflow_provider_portkey.exceptions import PortkeyError, PortkeyRequestError

RUN = "/threads/{thread_id}/runs/{run_id}"
IDS = {"thread_id": "thread_1", "run_id": "run_1"}
SECRET = "s3cret /+key"


class Peer:
    """One accepted connection, as a fault sees it."""

    def __init__(self, connection: socket.socket, over: threading.Event) -> None:
        self._connection = connection
        self._over = over
        self.head = b""

    def read_request(self) -> bool:
        """Read a request with its body; return whether there is one."""
        self.head = b""
        while b"\r\n\r\n" not in self.head:
            if not (received := self._connection.recv(65536)):
                return False
            self.head += received
        head, _, body = self.head.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        while length and len(body) < int(length[1]):
            body += self._connection.recv(65536)
        return True

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self._connection.sendall(part)

    def drip(self, part: bytes) -> None:
        """Send a part again and again, until the test is over."""
        while not self._over.wait(0.03):
            self.send(part)

    def hold(self) -> None:
        """Send nothing, until the test is over."""
        self._over.wait()

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()


#: Returned by a script whose connection serves further requests.
KEEP_OPEN = "keep open"
Script = Callable[[Peer], str | None]


class Server:
    """
    Responds to each request on each connection by a script.

    :param script: Sends the response to one request; the connection is closed unless it returns ``KEEP_OPEN``.
    :param tls: Speak TLS.
    :param mute: Never read a request: the script begins when a client connects.
    """

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None, mute: bool = False) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._script = script
        self._tls = tls
        self._mute = mute
        self._over = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._over.set()
        self._socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            connection = stack.enter_context(
                self._tls.wrap_socket(connection, server_side=True) if self._tls else connection
            )
            peer = Peer(connection, self._over)
            if self._mute:
                self._script(peer)
            while not self._mute and peer.read_request():
                self.requests.append(peer.head)
                if self._script(peer) != KEEP_OPEN:
                    return


@dataclass(frozen=True)
class Outcome:
    """What a caller sees of one call, in the same form for both transports."""

    result: Any = None
    error: str | None = None
    message: str = ""
    request_sent: bool | None = None
    status_code: int | None = None
    refused_by: str | None = None
    requests: int = 0
    log: tuple[str, ...] = ()
    seconds: float = field(default=0.0, compare=False)
    raised: BaseException | None = field(default=None, compare=False)


class Lines(logging.Handler):
    """Collects log lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextlib.contextmanager
def collect(name: str, level: int = logging.DEBUG) -> Iterator[list[str]]:
    """Collect the lines of a logger and those below."""
    logger, handler = logging.getLogger(name), Lines()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


@contextlib.contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Replace every variable of proxies and CA bundles."""
    names = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "requests_ca_bundle", "curl_ca_bundle")
    kept = {name: value for name, value in os.environ.items() if name.lower() not in names}
    with mock.patch.dict(os.environ, {**kept, **variables}, clear=True):
        yield


_sleep = asyncio.sleep


async def _no_sleep(seconds: float) -> None:
    """In place of ``asyncio.sleep`` between two attempts."""
    await _sleep(0)


def call(transport: str, method: str, url: str, server: Server | None = None, **extra: Any) -> Outcome:
    """Call a URL in one or, for a POST that may be repeated, three attempts; no wait between them is slept."""
    settings = read_settings(
        host=url,
        api_key="pk-secret-key",
        extra={
            "connect_timeout": 10,
            "read_timeout": 10,
            "max_retries": 2 if method == "post" else 0,
            "query": {"token": SECRET},
            **extra,
        },
    )

    async def main() -> Any:
        async with open_client(settings) as client:
            return await getattr(client, method)(RUN, IDS)

    def run() -> Any:
        if transport == "aiohttp":
            return asyncio.run(main())
        with contextlib.closing(PortkeyClient(settings)) as client:
            return getattr(client, method)(RUN, IDS)

    began = time.monotonic()
    result, raised = None, None
    with (
        collect("airflow_provider_portkey", logging.INFO) as lines,
        mock.patch("tenacity.nap.time", SimpleNamespace(sleep=lambda _: None)),
        mock.patch("asyncio.sleep", _no_sleep),
    ):
        try:
            result = run()
        except PortkeyError as error:
            raised = error
    of_request = raised if isinstance(raised, PortkeyRequestError) else None
    return Outcome(
        result=result,
        error=raised and type(raised).__name__,
        message=_without_reason(str(raised or ""), url),
        request_sent=getattr(of_request, "request_sent", None),
        status_code=of_request and of_request.status_code,
        refused_by=of_request and of_request.refused_by,
        requests=len(server.requests) if server else 0,
        log=tuple(_without_reason(line, url) for line in lines),
        seconds=time.monotonic() - began,
        raised=raised,
    )


def _without_reason(message: str, url: str) -> str:
    """Leave out what the libraries word differently: why there is no response."""
    message = re.sub(r"next attempt in [\d.]+ s", "next attempt in N s", message.replace(url, "URL"))
    return re.sub(r"(no complete response from \S+): .*(\. Check)", r"\1: REASON\2", message)


@functools.cache
def certificate() -> str:
    """Return the path of a certificate for 127.0.0.1 with its key, which no bundle but itself trusts."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    today = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = Path(tempfile.mkdtemp(prefix="portkey-faults-")) / "certificate.pem"
    path.write_bytes(
        built.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(path)


@functools.cache
def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate())
    return context


@pytest.fixture(scope="session")
def faults() -> SimpleNamespace:
    """What the tests of this folder share."""
    return SimpleNamespace(
        Server=Server, call=call, collect=collect, environment=environment, certificate=certificate,
        server_tls=server_tls, SECRET=SECRET, RUN=RUN, IDS=IDS, KEEP_OPEN=KEEP_OPEN,
    )  # fmt: skip


@pytest.fixture(params=["requests", "aiohttp"])
def transport(request: pytest.FixtureRequest) -> str:
    """Each of the two transports."""
    name: str = request.param
    return name


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start servers that the end of the test closes."""
    started: list[Server] = []

    def start(script: Script | Sequence[bytes], **arguments: Any) -> Server:
        run = script if callable(script) else lambda peer: peer.send(*script)
        started.append(Server(run, **arguments))
        return started[-1]

    yield start
    for server in started:
        server.close()
