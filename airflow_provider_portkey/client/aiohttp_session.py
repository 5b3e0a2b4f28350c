"""
The triggerer's HTTP session: ``aiohttp``, without cookies, ``.netrc`` and environment of its own.

The worker's session is another one: ``requests_session.py``. Both decide about proxies and TLS in ``environment.py``.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import aiohttp
from urllib3.util.wait import wait_for_read

from airflow_provider_portkey.client.attempts import current_attempt
from airflow_provider_portkey.client.environment import ca_bundle, proxy_for, tls_context

if TYPE_CHECKING:
    from airflow_provider_portkey.client.settings import ConnectionSettings

#: TCP connections of a session, for all waits of a triggerer on one Airflow connection.
_MAX_CONNECTIONS = 100


async def new_session(settings: ConnectionSettings) -> aiohttp.ClientSession:
    """
    Return a session for the running loop; each request needs an :class:`Attempt`.

    :raises PortkeyConnectionInvalidError: for a proxy or a CA bundle that cannot be used.
    """
    proxy, tls = await asyncio.to_thread(_read_environment, settings)
    session = aiohttp.ClientSession(
        headers=list(settings.headers),
        connector=_Connector(limit=_MAX_CONNECTIONS, ssl=tls or False),
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


class _Connector(aiohttp.TCPConnector):
    """Reuses connections as urllib3 does, and notes in the attempt when one is there: the request leaves then."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._used: WeakSet[Any] = WeakSet()

    async def connect(self, *args: Any, **kwargs: Any) -> Any:
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
