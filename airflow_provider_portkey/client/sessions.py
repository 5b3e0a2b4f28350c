"""``requests`` sessions that keep our headers as they are and that no server can hold for ever."""

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

#: Connections that a session keeps open to one host: as many as threads may use it at once.
MAX_CONNECTIONS = 32


def new_session(headers: Iterable[tuple[str, str]], *, head_timeout: float) -> requests.Session:
    """
    Return a pooled session that keeps no cookies.

    :param headers: Go with every request.
    :param head_timeout: Seconds until status and headers of an answer must be there, however slowly they drip: the
        time-outs of ``requests`` begin anew with every byte.
    """
    session = requests.Session()
    session.headers.update(dict(headers))
    session.auth = _keep_authorization
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(head_timeout))
    return session


def _keep_authorization(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Stand in for ``requests``' own authentication, which would put a ``.netrc`` entry over our header."""
    return request


class _Adapter(HTTPAdapter):
    """Makes connections that watch over the head of each answer."""

    def __init__(self, head_timeout: float) -> None:
        http = type("_Http", (_Watched, HTTPConnection), {"head_timeout": head_timeout})
        https = type("_Https", (_Watched, HTTPSConnection), {"head_timeout": head_timeout})
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


class _Watched:
    """Breaks the connection off where the head of an answer does not come in time."""

    head_timeout: float
    sock: socket.socket

    def getresponse(self, *args: Any, **kwargs: Any) -> Any:
        broken_off = threading.Event()
        watch = threading.Timer(self.head_timeout, _break_off, (self.sock, broken_off))
        watch.daemon = True
        watch.start()
        try:
            response = super().getresponse(*args, **kwargs)  # type: ignore[misc]
        finally:
            watch.cancel()
        if broken_off.is_set():  # half a head, which looks like a whole one
            raise TimeoutError(f"the head of the answer was not whole after {self.head_timeout:g} s")
        return response


def _break_off(connection: socket.socket, broken_off: threading.Event) -> None:
    broken_off.set()
    with contextlib.suppress(OSError):  # closed meanwhile
        connection.shutdown(socket.SHUT_RDWR)
