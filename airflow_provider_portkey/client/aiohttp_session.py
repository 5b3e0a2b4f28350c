"""
The triggerer's HTTP session: ``aiohttp``, without cookies, ``.netrc`` and environment of its own.

The worker's session is another one: ``requests_session.py``. Both decide about proxies and TLS in ``environment.py``.
"""

from __future__ import annotations

import asyncio
import math
import resource
import select
import ssl
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import aiohttp

from airflow_provider_portkey.client.environment import ca_bundle, proxy_for, tls_context
from airflow_provider_portkey.client.in_flight import InFlight

if TYPE_CHECKING:
    from airflow_provider_portkey.client.settings import ConnectionSettings

#: TCP connections that a session may have at least, and the share of the files that the process may open at most. In
#: between the limit follows the load: one for each wait, which has a single request in flight.
_MIN_CONNECTIONS, _SHARE_OF_FILES = 100, 0.5


async def new_session(settings: ConnectionSettings) -> aiohttp.ClientSession:
    """
    Return a session for the running loop; each request needs a :class:`Request` in flight, which has its time-outs.

    :raises PortkeyConnectionInvalidError: for a proxy or a CA bundle that cannot be used.
    """
    proxy, tls = await asyncio.to_thread(_read_environment, settings)
    session = aiohttp.ClientSession(
        headers=list(settings.headers),
        connector=Connector(InFlight(settings.read_timeout), limit=_MIN_CONNECTIONS, ssl=tls or False),
        proxy=proxy,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_timeout),
    )
    session._retry_connection = False  # aiohttp would send a GET twice where the server closes without a response
    return session


def _read_environment(settings: ConnectionSettings) -> tuple[str | None, ssl.SSLContext | None]:
    proxy = proxy_for(settings.base_url)
    uses_tls = "https:" in f"{settings.base_url[:6]} {proxy}"
    return proxy, tls_context(ca_bundle(settings.verify)) if uses_tls else None


class Connector(aiohttp.TCPConnector):
    """
    Reuses connections as urllib3 does, and notes in the attempt when one is there: the request leaves then.

    :param in_flight: The requests of the session.
    """

    def __init__(self, in_flight: InFlight, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.in_flight = in_flight
        #: The connections that have been used, each with what says whether there is something to read.
        self._used: WeakKeyDictionary[Any, select.poll] = WeakKeyDictionary()

    def follow(self, clients: int) -> None:
        """Set the limit of connections to what so many clients may need."""
        open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        at_most = math.inf if open_files == resource.RLIM_INFINITY else int(open_files * _SHARE_OF_FILES)
        self._limit = int(max(_MIN_CONNECTIONS, min(clients, at_most)))

    async def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Return a connection that no response has been left on."""
        connection: Any = await super().connect(*args, **kwargs)
        while (unread := self._used.get(connection.protocol)) and (connection.protocol.should_close or unread.poll(0)):
            # A second response to an earlier request, or the end of the connection.
            connection.close()
            connection = await super().connect(*args, **kwargs)
        if unread is None:
            self._used[connection.protocol] = _poll_of(connection)
        attempt = self.in_flight.attempt
        attempt.request_sent = True
        attempt.note_progress()
        return connection

    def close(self, **kwargs: Any) -> Coroutine[Any, Any, None]:
        """Close all connections, and stop the timer of the requests."""
        self.in_flight.close()
        return super().close(**kwargs)


def _poll_of(connection: Any) -> select.poll:
    poll = select.poll()
    poll.register(connection.transport.get_extra_info("socket"), select.POLLIN)
    return poll
