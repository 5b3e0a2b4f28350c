"""
The worker's HTTP session: ``requests``, with headers as they are given and every wait bounded by the attempt.

The triggerer's session is another one: ``aiohttp_session.py``. Both decide about proxies and TLS in ``environment.py``.
"""

from __future__ import annotations

import http.client
import io
import socket
from collections.abc import Iterable
from contextlib import nullcontext
from email.errors import FirstHeaderLineIsContinuationDefect, MissingHeaderBodySeparatorDefect
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from airflow_provider_portkey.client.attempts import Attempt, current_attempt
from airflow_provider_portkey.client.environment import ca_bundle, proxy_for, tls_context
from airflow_provider_portkey.client.stopping import current_stop

#: Connections to one host that a session keeps open: one for each thread (``max_concurrent_requests`` is 32 at most).
MAX_CONNECTIONS = 32

#: Sets of headers that a session keeps prepared: one for each method, and some ranges of downloads.
_MAX_PREPARED = 16
#: The only informational response after which no other one follows.
_SWITCHING_PROTOCOLS = 101
#: Defects after which headers are lost; others are about bodies of mails.
_HEAD_DEFECTS = (FirstHeaderLineIsContinuationDefect, MissingHeaderBodySeparatorDefect)


def new_session(headers: Iterable[tuple[str, str]]) -> requests.Session:
    """
    Return a pooled session that keeps no cookies; each request needs an :class:`Attempt`.

    :param headers: Sent with every request.
    """
    session = _Session()
    session.headers.update(dict(headers))
    session.trust_env = False  # the adapter reads it, by environment.py
    session.auth = _keep_authorization
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter())
    return session


def _keep_authorization(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Replace the authentication of ``requests``, which would overwrite our header by the user of a URL."""
    return request


class _Session(requests.Session):
    """
    Prepares the headers of requests without a body once: ``requests`` takes a third of its time for them.

    Its adapter reads the environment, so that there are no settings to merge.
    """

    def __init__(self) -> None:
        super().__init__()
        self._prepared: dict[Any, requests.PreparedRequest] = {}

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        if request.data:
            return super().prepare_request(request)
        key = request.method, tuple((request.headers or {}).items())
        if key not in self._prepared:
            if len(self._prepared) >= _MAX_PREPARED:  # each resumed download has a range of its own
                self._prepared.clear()
            self._prepared[key] = super().prepare_request(request)
        prepared = self._prepared[key].copy()
        prepared.prepare_url(request.url, request.params)
        return prepared

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        return {"proxies": proxies or {}, "stream": stream, "verify": verify, "cert": cert}


class _Response(http.client.HTTPResponse):
    """Skips informational responses, and reads until the deadline of the attempt at most."""

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._bounded = _BoundedReader(sock, current_attempt())
        self.fp.close()
        buffered: Any = io.BufferedReader(self._bounded)
        self.fp = buffered

    def _read_status(self) -> tuple[str, int, str]:
        # http.client itself skips 100 only, and would take a 103 for the response to the request.
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 100 <= status < 200 or status == _SWITCHING_PROTOCOLS:
                return version, status, reason
            http.client.parse_headers(self.fp)

    def begin(self) -> None:
        super().begin()
        self._bounded.must_continue = False
        lengths = self.headers.get_all("Content-Length", [])
        if (
            not all(length.strip().isdecimal() for length in lengths)
            or (lengths and self.chunked)
            or any(isinstance(defect, _HEAD_DEFECTS) for defect in self.headers.defects)
        ):
            raise http.client.HTTPException("the headers of the response are broken")
        if self.status == _SWITCHING_PROTOCOLS:
            self.will_close = True

    def _read_and_discard_trailer(self) -> None:
        self._bounded.must_continue = True
        super()._read_and_discard_trailer()  # type: ignore[misc]


class _BoundedReader(io.RawIOBase):
    """
    Bytes of a socket; each ``recv`` ends at the deadline: the socket's own time-out restarts with every byte.

    Head and trailers must be complete: ``http.client`` takes half of them for a whole.
    """

    must_continue = True

    def __init__(self, sock: Any, attempt: Attempt) -> None:
        self._socket = sock
        self._attempt = attempt
        self._stop = current_stop()
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._socket.settimeout(min(self._attempt.read_timeout, self._attempt.remaining()))
        with self._stop.waiting(self._socket) if self._stop else nullcontext():
            count: int | None = self._raw.readinto(buffer)
        if count == 0 and self.must_continue:
            raise ConnectionResetError("the server closed the connection before the response was complete")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Connection:
    """Notes in the attempt when the request leaves; a CONNECT to a proxy is not the request."""

    sock: socket.socket | None
    response_class: Any = _Response
    _is_connecting = False

    def connect(self) -> None:
        self._is_connecting = True
        try:
            super().connect()  # type: ignore[misc]
        finally:
            self._is_connecting = False

    def send(self, data: Any) -> None:
        if not self._is_connecting:
            if self.sock is None:
                self.connect()
            current_attempt().request_sent = True
        super().send(data)  # type: ignore[misc]

    def getresponse(self, *args: Any, **kwargs: Any) -> Any:
        if current_attempt().restarts:
            current_attempt().restart()
        return super().getresponse(*args, **kwargs)  # type: ignore[misc]


class _HTTPConnection(_Connection, HTTPConnection):
    pass


class _HTTPSConnection(_Connection, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


_POOLS = {"http": _HTTPPool, "https": _HTTPSPool}


class _Adapter(HTTPAdapter):
    """Sends by the connections above, with the proxy and the CA bundle of ``environment.py``."""

    def __init__(self) -> None:
        #: What is passed to ``requests`` by origin: to read the environment takes as long as to send a request.
        self._environments: dict[tuple[str, bool | str], dict[str, Any]] = {}
        super().__init__(pool_maxsize=MAX_CONNECTIONS)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> Any:  # type: ignore[override]
        current_attempt().request_sent = False
        origin = "/".join(str(request.url).split("/", 3)[:3])
        key = origin, kwargs["verify"]
        if key not in self._environments:
            self._environments[key] = _read_environment(*key)
        return super().send(request, **(kwargs | self._environments[key]))


def _read_environment(origin: str, verify: bool | str) -> dict[str, Any]:
    proxy = proxy_for(origin)
    bundle = ca_bundle(verify)
    if "https:" in f"{origin[:6]} {proxy}":
        tls_context(bundle)  # requests would report a broken bundle as a failure of the network
    return {"proxies": {"all": proxy} if proxy else {}, "verify": bundle or False}
