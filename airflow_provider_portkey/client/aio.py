"""
The triggerer's transport: Portkey over ``aiohttp``.

All clients with equal settings on one event loop share one session: :func:`open_client` keeps it in ``_SHARED`` and
closes it with the last client.

It only sends. What a response means is decided in ``responses.py``, whether and when to retry in ``retries.py``, the
next page in ``pagination.py``, paths in ``paths.py``, URL, headers and time-outs in ``settings.py``; likewise for the
worker's transport, ``sync.py``.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import weakref
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.async_log import write_line
from airflow_provider_portkey.client.attempts import Attempt
from airflow_provider_portkey.client.in_flight import Request
from airflow_provider_portkey.client.paths import expand_path
from airflow_provider_portkey.client.responses import (
    Response,
    check_body_size,
    check_encoding,
    read_response,
    unreachable_error,
)
from airflow_provider_portkey.client.retries import retry_arguments
from airflow_provider_portkey.client.settings import TRACE_HEADER
from airflow_provider_portkey.exceptions import PortkeyError

if TYPE_CHECKING:
    import aiohttp
    from multidict import CIMultiDict
    from tenacity import RetryCallState
    from yarl import URL

    from airflow_provider_portkey.client.in_flight import InFlight
    from airflow_provider_portkey.client.pagination import Query
    from airflow_provider_portkey.client.settings import ConnectionSettings

log = logging.getLogger(__name__)


@dataclass
class _Shared:
    opening: asyncio.Task[aiohttp.ClientSession]
    users: int = 0


_SHARED: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[ConnectionSettings, _Shared]] = (
    weakref.WeakKeyDictionary()
)


class AsyncPortkeyClient:
    """
    Sends requests to Portkey from an event loop; returned by :func:`open_client`.

    :param settings: The settings of the connection.
    :param session: The shared session; what one task sends (trace id, metadata) is not part of it.
    """

    def __init__(self, settings: ConnectionSettings, session: aiohttp.ClientSession) -> None:
        self.settings = settings
        self._session = session
        self._in_flight: InFlight = session.connector.in_flight  # type: ignore[union-attr]
        self._headers = {TRACE_HEADER: settings.trace_id} if settings.trace_id else {}
        # What a wait sends at each poll is made once: path, URL and headers of its latest GET.
        self._latest: tuple[object, str, URL] | None = None
        self._headers_of: dict[tuple[str, bool], CIMultiDict[str]] = {}

    @property
    def pool(self) -> object:
        """Key of what clients with equal settings on one loop share, whatever their trace ids."""
        return self._session

    async def get(self, path: str, ids: Mapping[str, str], query: Query | None = None) -> dict[str, Any]:
        """
        GET a JSON object in one attempt: on the event loop each GET is a poll, and the poller decides about the next.

        :param path: Path template below the base URL, with ``{name}`` for each id.
        :param ids: The ids by name.
        :param query: Query parameters in addition to the connection's.
        :raises PortkeyRequestError: the subclass for the failure.
        """
        key = (path, tuple(ids.items()), query and tuple(query))
        if self._latest is None or self._latest[0] != key:
            expanded = expand_path(path, ids)
            self._latest = (key, expanded, self._url(expanded, query))
        _, expanded, url = self._latest
        return read_response(await self._send("GET", expanded, url), self.settings)

    async def post(self, path: str, ids: Mapping[str, str], body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """
        POST a JSON object and return that of the response; retried only where it cannot have taken effect.

        :param body: As of :meth:`PortkeyClient.post`.
        :raises PortkeyRequestError: the subclass for the failure.
        """
        from tenacity import AsyncRetrying

        expanded = expand_path(path, ids)
        url = self._url(expanded)
        content = None if body is None else json.dumps(body).encode()

        async def attempt() -> dict[str, Any]:
            return read_response(await self._send("POST", expanded, url, content), self.settings)

        arguments = retry_arguments(max_retries=self.settings.max_retries, idempotent=False, log=log)

        async def report(state: RetryCallState) -> None:
            await write_line(arguments["before_sleep"], state)

        retrying = AsyncRetrying(**arguments | {"before_sleep": report})
        return await retrying(attempt)

    def _url(self, path: str, query: Query | None = None) -> URL:
        from yarl import URL

        # Encoded already: quoting or resolving the URL once more could move an id out of its segment.
        return URL(self.settings.url(path, query or ()), encoded=True)

    def _headers_for(self, method: str, has_body: bool) -> CIMultiDict[str]:
        key = (method, has_body)
        if key not in self._headers_of:
            from multidict import CIMultiDict

            self._headers_of[key] = CIMultiDict(self._headers | self.settings.request_headers(method, has_body))
        return self._headers_of[key]

    async def _send(self, method: str, path: str, url: URL, body: bytes | None = None) -> Response:
        settings = self.settings
        attempt = Attempt(settings)
        attempt.request_sent = False  # until the session has a connection
        try:
            with Request(self._in_flight, attempt):
                async with self._session.request(
                    method,
                    url,
                    data=body,
                    headers=self._headers_for(method, body is not None),
                    skip_auto_headers=None if method == "GET" else ("Content-Type",),
                    allow_redirects=False,
                ) as response:
                    if response.status < 100:
                        raise ValueError(f"{response.status} is no status of HTTP")
                    content = bytearray()
                    check_encoding(response.headers, method, path, settings)
                    attempt.note_progress()
                    while not response.content.at_eof():
                        content += await response.content.readany()
                        attempt.note_progress()
                        check_body_size(len(content), method, path, settings)
                    return Response(method, path, response.status, response.headers, bytes(content))
        except PortkeyError:
            raise
        except Exception as error:  # each library has exceptions of its own, and some of them no common base
            failure = unreachable_error(method, path, _reason(error, attempt), settings, attempt)
        # Outside of the block: the library's exception would be the context, and shows the query with its secrets.
        raise failure


def _reason(error: Exception, attempt: Attempt) -> str:
    import aiohttp

    if type(error) is TimeoutError:
        return attempt.overdue
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy refused the connection: {error.status} {error.message}"
    return f"{type(error).__name__}: {error}".removesuffix(": ")


@asynccontextmanager
async def open_client(
    settings: ConnectionSettings, *, trace_id: str | None = None, task_metadata: Mapping[str, str] | None = None
) -> AsyncIterator[AsyncPortkeyClient]:
    """
    Open a client on the running loop's shared session; the last client closes the session.

    :param settings: Equal settings share a session.
    :param trace_id: Sent with every request of this client; the connection's own trace id wins.
    :param task_metadata: Likewise: as of :meth:`ConnectionSettings.for_task`.
    """
    on_this_loop = _SHARED.setdefault(asyncio.get_running_loop(), {})
    if settings not in on_this_loop:
        # A task, not a session: clients that open meanwhile await the same session.
        on_this_loop[settings] = _Shared(asyncio.create_task(_open_session(settings)))
    shared = on_this_loop[settings]
    shared.users += 1
    try:
        session = await asyncio.shield(shared.opening)
        session.connector.follow(shared.users)  # type: ignore[union-attr]
        yield AsyncPortkeyClient(settings.for_task(trace_id, task_metadata), session)
    finally:
        shared.users -= 1
        if not shared.users:
            del on_this_loop[settings]
            await (await shared.opening).close()


async def _open_session(settings: ConnectionSettings) -> aiohttp.ClientSession:
    # In a thread, not on the event loop: aiohttp takes tenths of a second to import.
    module = await asyncio.to_thread(importlib.import_module, "airflow_provider_portkey.client.aiohttp_session")
    session: aiohttp.ClientSession = await module.new_session(settings)
    return session
