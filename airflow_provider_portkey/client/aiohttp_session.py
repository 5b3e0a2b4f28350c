"""
The triggerer's HTTP session: ``aiohttp``, without cookies, ``.netrc`` and environment of its own.

The worker's session is another one: ``requests_session.py``. Both decide about proxies and TLS in ``environment.py``.
"""

from __future__ import annotations

import asyncio
import math
import resource
import ssl
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import aiohttp
from urllib3.util.wait import wait_for_read

from airflow_provider_portkey.client.attempts import current_attempt
from airflow_provider_portkey.client.environment import ca_bundle, proxy_for, tls_context

if TYPE_CHECKING:
    from airflow_provider_portkey.client.settings import ConnectionSettings

#: TCP connections that a session may have at least, and the share of the files that the process may open at most. In
#: between the limit follows the load: one for each wait, which has a single request in flight.
_MIN_CONNECTIONS, _SHARE_OF_FILES = 100, 0.5


async def new_session(settings: ConnectionSettings) -> aiohttp.ClientSession:
    """
    Return a session for the running loop; each request needs an :class:`Attempt`.

    :raises PortkeyConnectionInvalidError: for a proxy or a CA bundle that cannot be used.
    """
    proxy, tls = await asyncio.to_thread(_read_environment, settings)
    session = aiohttp.ClientSession(
        headers=list(settings.headers),
        connector=Connector(limit=_MIN_CONNECTIONS, ssl=tls or False),
        proxy=proxy,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(
            total=settings.attempt_timeout,
            sock_connect=settings.connect_timeout,
            sock_read=settings.read_timeout,
        ),
    )
    session._retry_connection = False  # aiohttp would send a GET twice where the server closes without a response
    return session


def _read_environment(settings: ConnectionSettings) -> tuple[str | None, ssl.SSLContext | None]:
    proxy = proxy_for(settings.base_url)
    uses_tls = "https:" in f"{settings.base_url[:6]} {proxy}"
    return proxy, tls_context(ca_bundle(settings.verify)) if uses_tls else None


class Connector(aiohttp.TCPConnector):
    """Reuses connections as urllib3 does, and notes in the attempt when one is there: the request leaves then."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._used: WeakSet[Any] = WeakSet()

    def follow(self, clients: int) -> None:
        """Set the limit of connections to what so many clients may need."""
        open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        at_most = math.inf if open_files == resource.RLIM_INFINITY else int(open_files * _SHARE_OF_FILES)
        self._limit = int(max(_MIN_CONNECTIONS, min(clients, at_most)))

    async def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Return a connection that no response has been left on."""
        connection = await super().connect(*args, **kwargs)
        while connection.protocol in self._used and _has_unread(connection):
            # A second response to an earlier request, or the end of the connection.
            connection.close()
            connection = await super().connect(*args, **kwargs)
        self._used.add(connection.protocol)
        current_attempt().request_sent = True
        return connection


def _has_unread(connection: Any) -> bool:
    return connection.protocol.should_close or wait_for_read(connection.transport.get_extra_info("socket"), timeout=0)
