"""Portkey over HTTP for the event loop: one ``aiohttp`` session for all who use the same connection on it."""

from __future__ import annotations

import asyncio
import logging
import os
import weakref
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

from airflow_provider_portkey.client.paths import expand_path
from airflow_provider_portkey.client.responses import MAX_BODY_BYTES, Response, read_response, unreachable_error
from airflow_provider_portkey.client.retries import retry_arguments
from airflow_provider_portkey.client.settings import TRACE_HEADER
from airflow_provider_portkey.exceptions import PortkeyConnectionInvalidError

if TYPE_CHECKING:
    import ssl

    import aiohttp

    from airflow_provider_portkey.client.pagination import Query
    from airflow_provider_portkey.client.settings import ConnectionSettings

log = logging.getLogger(__name__)

#: Connections that all waits of one triggerer on one Portkey connection share.
_MAX_CONNECTIONS = 100


@dataclass
class _Shared:
    opening: asyncio.Task[aiohttp.ClientSession]
    users: int = 0


_SHARED: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[ConnectionSettings, _Shared]] = (
    weakref.WeakKeyDictionary()
)


class AsyncPortkeyClient:
    """
    Sends requests to Portkey from an event loop; got from :func:`open_client`.

    :param settings: Where to send and what to send with each request.
    :param session: The session that all clients with these settings share on this loop, whatever their trace ids.
    """

    def __init__(self, settings: ConnectionSettings, session: aiohttp.ClientSession) -> None:
        self.settings = settings
        self._session = session
        self._headers = {TRACE_HEADER: settings.trace_id} if settings.trace_id else {}
        self._query = _query_string(settings.query)

    @property
    def pool(self) -> object:
        """What clients with equal settings on one loop have in common, whatever their trace ids."""
        return self._session

    async def get(self, path: str, ids: Mapping[str, str], query: Query | None = None) -> dict[str, Any]:
        """
        GET a JSON object, in one try: whoever waits on the event loop looks again anyway.

        :param path: Below the base URL, with ``{name}`` where an id goes.
        :param ids: The ids by name; each stays within its own path segment.
        :param query: Added to the connection's own.
        :raises PortkeyRequestError: its subclass that fits what happened.
        """
        return read_response(await self._send("GET", expand_path(path, ids), None, query), self.settings)

    async def post(self, path: str, ids: Mapping[str, str]) -> dict[str, Any]:
        """
        POST an empty JSON object; sent again only where it was surely not carried out.

        :raises PortkeyRequestError: its subclass that fits what happened.
        """
        from tenacity import AsyncRetrying

        filled = expand_path(path, ids)

        async def attempt() -> dict[str, Any]:
            return read_response(await self._send("POST", filled, b"{}"), self.settings)

        retrying = AsyncRetrying(**retry_arguments(max_retries=self.settings.max_retries, idempotent=False, log=log))
        return await retrying(attempt)

    async def _send(self, method: str, path: str, body: bytes | None, query: Query | None = None) -> Response:
        import aiohttp
        from yarl import URL

        search = _query_string((*self.settings.query, *query)) if query else self._query
        # As it is: a library that quotes or resolves it once more could let an id out of its segment.
        url = URL(f"{self.settings.base_url}{path}{search}", encoded=True)
        try:
            async with self._session.request(
                method,
                url,
                data=body,
                headers=self._headers | ({"Content-Type": "application/json"} if body is not None else {}),
                allow_redirects=False,
            ) as response:
                content = bytearray()
                async for piece in response.content.iter_any():
                    content += piece
                    if len(content) > MAX_BODY_BYTES:
                        raise unreachable_error(method, path, f"more than {MAX_BODY_BYTES} bytes came", self.settings)
                return Response(method, path, response.status, response.headers, bytes(content))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            sent = not isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError))
            reason = f"{type(error).__name__}: {error}".removesuffix(": ")
            # Without the cause: its text would show the query, and with it what the connection adds to it.
            raise unreachable_error(method, path, reason, self.settings, request_sent=sent) from None


@asynccontextmanager
async def open_client(
    settings: ConnectionSettings, *, trace_id: str | None = None
) -> AsyncIterator[AsyncPortkeyClient]:
    """
    Open a client on the running loop's shared session; the last one who leaves closes the session.

    :param settings: Equal settings share a session.
    :param trace_id: Goes with every request of this client, unless the connection itself has one.
    """
    on_this_loop = _SHARED.setdefault(asyncio.get_running_loop(), {})
    if settings not in on_this_loop:
        # A task, not a session: whoever comes while it is being opened waits for the same one.
        on_this_loop[settings] = _Shared(asyncio.create_task(_open_session(settings)))
    shared = on_this_loop[settings]
    shared.users += 1
    try:
        yield AsyncPortkeyClient(settings.with_trace_id(trace_id), await asyncio.shield(shared.opening))
    finally:
        shared.users -= 1
        if not shared.users:
            del on_this_loop[settings]
            await (await shared.opening).close()


async def _open_session(settings: ConnectionSettings) -> aiohttp.ClientSession:
    tls = await asyncio.to_thread(_tls_context, settings)  # imports aiohttp and reads files

    import aiohttp

    return aiohttp.ClientSession(
        headers=list(settings.headers),
        connector=aiohttp.TCPConnector(limit=_MAX_CONNECTIONS, ssl=tls),
        proxy=_proxy(settings.base_url),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(
            total=settings.attempt_timeout,
            sock_connect=settings.connect_timeout,
            sock_read=settings.read_timeout,
        ),
    )


def _tls_context(settings: ConnectionSettings) -> ssl.SSLContext | bool:
    """Trust whom ``requests`` would trust, so that a worker and the triggerer agree."""
    import ssl

    import aiohttp  # noqa: F401
    import certifi

    verify = settings.verify
    if verify is False or not settings.base_url.startswith("https:"):
        return False
    bundle = verify if isinstance(verify, str) else None
    bundle = bundle or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or certifi.where()
    is_folder = os.path.isdir(bundle)
    try:
        return ssl.create_default_context(cafile=None if is_folder else bundle, capath=bundle if is_folder else None)
    except OSError as error:
        raise PortkeyConnectionInvalidError(f"The CA bundle {bundle!r} cannot be used: {error}.") from error


def _query_string(pairs: Sequence[tuple[str, str]]) -> str:
    return f"?{urlencode(pairs)}" if pairs else ""


def _proxy(base_url: str) -> str | None:
    """Return the environment's proxy; not by aiohttp's ``trust_env``, which would also read ``.netrc``."""
    url = urlsplit(base_url)
    return None if proxy_bypass(url.hostname or "") else getproxies().get(url.scheme)
