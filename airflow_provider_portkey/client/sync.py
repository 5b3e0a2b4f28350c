"""Portkey over HTTP for workers: one pooled ``requests`` session, which is loaded at the first request."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from airflow_provider_portkey.client.downloads import iter_download
from airflow_provider_portkey.client.paths import expand_path
from airflow_provider_portkey.client.responses import MAX_BODY_BYTES, Response, read_response, unreachable_error
from airflow_provider_portkey.client.retries import retry_arguments
from airflow_provider_portkey.client.uploads import MultipartFile, with_upload_timeouts

if TYPE_CHECKING:
    import requests

    from airflow_provider_portkey.client.pagination import Query
    from airflow_provider_portkey.client.settings import ConnectionSettings

log = logging.getLogger(__name__)

#: Bytes read at once, so that a slow answer is noticed between two pieces.
_PIECE = 64 * 1024


class PortkeyClient:
    """
    Sends requests to Portkey and returns the JSON objects that it answers. Several threads may use it at once.

    :param settings: Where to send and what to send with each request.
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._opened: requests.Session | None = None

    def get(
        self, path: str, ids: Mapping[str, str], query: Query | None = None, *, max_retries: int | None = None
    ) -> dict[str, Any]:
        """
        GET a JSON object.

        :param path: Below the base URL, with ``{name}`` where an id goes.
        :param ids: The ids by name; each stays within its own path segment.
        :param query: Added to the connection's own.
        :param max_retries: In place of the connection's own.
        :raises PortkeyRequestError: its subclass that fits what happened.
        """
        return self._call("GET", expand_path(path, ids), query, None, max_retries)

    def post(self, path: str, ids: Mapping[str, str], body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """
        POST a JSON object (``{}`` for none: the gateway fails on an empty body) and return the answer.

        It is sent again only where it was surely not carried out.

        :raises PortkeyRequestError: its subclass that fits what happened.
        """
        return self._call("POST", expand_path(path, ids), None, json.dumps(body or {}).encode(), None)

    def put(self, path: str, ids: Mapping[str, str], body: Mapping[str, Any]) -> dict[str, Any]:
        """
        PUT a JSON object and return the answer; it is sent again like a GET, because twice is as good as once.

        :raises PortkeyRequestError: its subclass that fits what happened.
        """
        return self._call("PUT", expand_path(path, ids), None, json.dumps(body).encode(), None)

    def upload(
        self,
        path: str,
        ids: Mapping[str, str],
        file: BinaryIO,
        *,
        filename: str,
        fields: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """
        POST a file of any length as a form, piece by piece, and return the answer.

        It is sent again, from its start, only where it was surely not carried out.

        :param file: Open for reading, seekable.
        :param filename: What the provider calls it.
        :param fields: The form's other fields.
        :raises PortkeyRequestError: its subclass that fits what happened.
        """
        filled = expand_path(path, ids)
        # With a session of its own: a session knows one time for the head of every answer.
        client = PortkeyClient(with_upload_timeouts(self.settings))
        try:
            return client._call("POST", filled, None, MultipartFile(file, filename=filename, fields=fields), None)
        finally:
            client.close()

    def download(self, path: str, ids: Mapping[str, str]) -> Iterator[bytes]:
        """
        GET an answer of any length, piece by piece; what was cut is resumed.

        :raises PortkeyRequestError: its subclass that fits what happened.
        """
        filled = expand_path(path, ids)
        settings = self.settings
        return iter_download(
            self._session,
            settings.base_url + filled,
            name=filled,
            settings=settings,
            query=list(settings.query),
        )

    def close(self) -> None:
        """Close the pooled connections; the client opens new ones when it is used again."""
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    @property
    def _session(self) -> requests.Session:
        from airflow_provider_portkey.client.sessions import new_session

        with self._lock:
            if self._opened is None:
                settings = self.settings
                self._opened = new_session(settings.headers, head_timeout=settings.attempt_timeout)
            return self._opened

    def _call(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: bytes | MultipartFile | None,
        max_retries: int | None,
    ) -> dict[str, Any]:
        from tenacity import Retrying

        retries = self.settings.max_retries if max_retries is None else max_retries
        retrying = Retrying(**retry_arguments(max_retries=retries, idempotent=method != "POST", log=log))
        return retrying(lambda: read_response(self._send(method, path, query, body), self.settings))

    def _send(self, method: str, path: str, query: Query | None, body: bytes | MultipartFile | None) -> Response:
        import requests
        import urllib3

        settings = self.settings
        deadline = time.monotonic() + settings.attempt_timeout
        try:
            with self._session.request(
                method,
                settings.base_url + path,
                params=[*settings.query, *(query or ())],
                data=body,
                headers=_content_type(body),
                timeout=(settings.connect_timeout, settings.read_timeout),
                allow_redirects=False,
                verify=settings.verify,
                stream=True,
            ) as response:
                if isinstance(body, MultipartFile):  # sending it has taken its own time
                    deadline = time.monotonic() + settings.attempt_timeout
                content = bytearray()
                while piece := response.raw.read1(_PIECE, decode_content=True):
                    content += piece
                    if len(content) > MAX_BODY_BYTES:
                        raise unreachable_error(method, path, f"more than {MAX_BODY_BYTES} bytes came", settings)
                    if time.monotonic() > deadline:
                        reason = f"not whole after {settings.attempt_timeout:g} s"
                        raise unreachable_error(method, path, reason, settings)
                return Response(method, path, response.status_code, response.headers, bytes(content))
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            # Without the cause: its text would show the query, and with it what the connection adds to it.
            raise unreachable_error(
                method, path, _reason(error), settings, request_sent=not _never_left(error)
            ) from None


def _content_type(body: bytes | MultipartFile | None) -> dict[str, str] | None:
    if body is None:
        return None
    return {"Content-Type": body.content_type if isinstance(body, MultipartFile) else "application/json"}


def _reason(error: BaseException) -> str:
    """Return the innermost reason; ``requests`` wraps it in the text of a whole URL."""
    inner = error
    while (deeper := getattr(inner, "reason", None) or (inner.args[0] if inner.args else None)) and isinstance(
        deeper, BaseException
    ):
        inner = deeper
    text = str(inner).rpartition(": ")[2] if type(inner).__module__.startswith("urllib3") else str(inner)
    return f"{type(inner).__name__}: {text}"


def _never_left(error: BaseException) -> bool:
    import requests
    import urllib3

    reason = getattr(error.args[0] if error.args else None, "reason", None)
    return isinstance(error, requests.ConnectTimeout) or isinstance(reason, urllib3.exceptions.NewConnectionError)
