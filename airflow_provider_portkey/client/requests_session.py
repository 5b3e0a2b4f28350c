"""
The worker's HTTP session: ``requests``, with headers as they are given and bounded waits.

The triggerer's session is another one, of ``aiohttp``: ``aio.open_client`` shares it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterable
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

#: Connections to one host that a session keeps open: one for each thread (``max_concurrent_requests`` is 32 at most).
MAX_CONNECTIONS = 32


def new_session(headers: Iterable[tuple[str, str]], *, head_timeout: float) -> requests.Session:
    """
    Return a pooled session that keeps no cookies.

    :param headers: Sent with every request.
    :param head_timeout: Seconds until status and headers of a response must be complete: the time-outs of
        ``requests`` restart with every byte.
    """
    session = requests.Session()
    session.headers.update(dict(headers))
    session.auth = _keep_authorization
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(head_timeout))
    return session


def _keep_authorization(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Replace the authentication of ``requests``, which would overwrite our header by a ``.netrc`` entry."""
    return request


class _Adapter(HTTPAdapter):
    """Opens connections that limit the time for the head of each response."""

    def __init__(self, head_timeout: float) -> None:
        http = type("_Http", (_TimedConnection, HTTPConnection), {"head_timeout": head_timeout})
        https = type("_Https", (_TimedConnection, HTTPSConnection), {"head_timeout": head_timeout})
        self._pools: dict[str, Any] = {
            "http": type("_HttpPool", (HTTPConnectionPool,), {"ConnectionCls": http}),
            "https": type("_HttpsPool", (HTTPSConnectionPool,), {"ConnectionCls": https}),
        }
        super().__init__(pool_maxsize=MAX_CONNECTIONS)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = self._pools
        return manager


class _TimedConnection:
    """Aborts the connection where the head of a response is not complete in time."""

    head_timeout: float
    sock: socket.socket

    def getresponse(self, *args: Any, **kwargs: Any) -> Any:
        aborted = threading.Event()
        timer = threading.Timer(self.head_timeout, _abort, (self.sock, aborted))
        timer.daemon = True
        timer.start()
        try:
            response = super().getresponse(*args, **kwargs)  # type: ignore[misc]
        finally:
            timer.cancel()
        if aborted.is_set():  # half a head looks like a complete one
            raise TimeoutError(f"the head of the response was not complete after {self.head_timeout:g} s")
        return response


def _abort(connection: socket.socket, aborted: threading.Event) -> None:
    aborted.set()
    with contextlib.suppress(OSError):  # closed meanwhile
        connection.shutdown(socket.SHUT_RDWR)
