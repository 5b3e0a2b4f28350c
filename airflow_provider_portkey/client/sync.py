"""
The worker's transport: Portkey over one pooled ``requests`` session, which is imported at the first request.

It only sends. What a response means is decided in ``responses.py``, whether and when to retry in ``retries.py``, the
next page in ``pagination.py``, paths in ``paths.py``, URL, headers and time-outs in ``settings.py``; likewise for the
triggerer's transport, ``aio.py``.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from airflow_provider_portkey.client.attempts import Attempt
from airflow_provider_portkey.client.downloads import iter_download
from airflow_provider_portkey.client.paths import expand_path
from airflow_provider_portkey.client.responses import (
    Response,
    check_body_size,
    check_encoding,
    read_response,
    unreachable_error,
)
from airflow_provider_portkey.client.retries import retry_arguments
from airflow_provider_portkey.client.stopping import current_stop
from airflow_provider_portkey.client.uploads import MultipartFile, with_upload_timeouts
from airflow_provider_portkey.exceptions import PortkeyError

if TYPE_CHECKING:
    import requests

    from airflow_provider_portkey.client.pagination import Query
    from airflow_provider_portkey.client.settings import ConnectionSettings

log = logging.getLogger(__name__)

#: Bytes read at once at most: few reads, each of which waits for the interpreter while another thread writes rows.
_CHUNK = 256 * 1024


class PortkeyClient:
    """
    Sends requests to Portkey and returns the JSON objects of its responses. Thread-safe.

    :param settings: The settings of the connection.
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

        :param path: Path template below the base URL, with ``{name}`` for each id.
        :param ids: The ids by name.
        :param query: Query parameters in addition to the connection's.
        :param max_retries: Instead of the connection's number; a poll is one attempt (``0``).
        :raises PortkeyRequestError: the subclass for the failure.
        """
        return self._call("GET", expand_path(path, ids), query, None, max_retries)

    def post(self, path: str, ids: Mapping[str, str], body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """
        POST a JSON object and return that of the response; retried only where it cannot have taken effect.

        :param body: ``None`` for a request without a body, and then without a content type: with one, the gateway
            fails on an empty body.
        :raises PortkeyRequestError: the subclass for the failure.
        """
        content = None if body is None else json.dumps(body).encode()
        return self._call("POST", expand_path(path, ids), None, content, None)

    def put(self, path: str, ids: Mapping[str, str], body: Mapping[str, Any]) -> dict[str, Any]:
        """
        PUT a JSON object and return that of the response; idempotent, so retried like a GET.

        :raises PortkeyRequestError: the subclass for the failure.
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
        POST a file of any length as a streamed form; retried, from its start, like every POST.

        :param file: Open for reading, seekable.
        :param filename: The provider's name for the file.
        :param fields: The form's other fields.
        :raises PortkeyRequestError: the subclass for the failure.
        """
        body = MultipartFile(file, filename=filename, fields=fields)
        return self._call("POST", expand_path(path, ids), None, body, None)

    def download(self, path: str, ids: Mapping[str, str]) -> Iterator[bytes]:
        """
        GET a body of any length in chunks; an interrupted download is resumed.

        :raises PortkeyRequestError: the subclass for the failure.
        """
        expanded = expand_path(path, ids)
        return iter_download(self._session, self.settings.url(expanded), name=expanded, settings=self.settings)

    def close(self) -> None:
        """Close the pooled connections; a later request opens new ones."""
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    @property
    def _session(self) -> requests.Session:
        from airflow_provider_portkey.client.requests_session import new_session

        with self._lock:
            if self._opened is None:
                self._opened = new_session(self.settings.headers)
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
        arguments = retry_arguments(max_retries=retries, idempotent=method != "POST", log=log)
        if stop := current_stop():
            arguments["sleep"] = stop.sleep
        retrying = Retrying(**arguments)
        return retrying(lambda: read_response(self._send(method, path, query, body), self.settings))

    def _send(self, method: str, path: str, query: Query | None, body: bytes | MultipartFile | None) -> Response:
        is_upload = isinstance(body, MultipartFile)
        settings = with_upload_timeouts(self.settings) if is_upload else self.settings
        headers = settings.request_headers(method, body is not None)
        if isinstance(body, MultipartFile):
            headers["Content-Type"] = body.content_type
        attempt, session = Attempt(settings, restarts=is_upload), self._session
        try:
            with (
                attempt,
                session.request(
                    method,
                    settings.url(path, query or ()),
                    data=body,
                    headers=headers,
                    timeout=(settings.connect_timeout, settings.read_timeout),
                    allow_redirects=False,
                    verify=settings.verify,
                    stream=True,
                ) as response,
            ):
                content = bytearray()
                check_encoding(response.headers, method, path, settings)
                while chunk := response.raw.read1(_CHUNK, decode_content=True):
                    content += chunk
                    check_body_size(len(content), method, path, settings)
                return Response(method, path, response.status_code, response.headers, bytes(content))
        except PortkeyError:
            raise
        except Exception as error:  # each library has exceptions of its own, and some of them no common base
            failure = unreachable_error(method, path, _reason(error), settings, attempt)
        # Outside of the block: the library's exception would be the context, and shows the query with its secrets.
        raise failure


def _reason(error: BaseException) -> str:
    """Return the innermost reason; ``requests`` wraps the reason in a message with the URL."""
    inner = error
    while (deeper := getattr(inner, "reason", None) or (inner.args[0] if inner.args else None)) and isinstance(
        deeper, BaseException
    ):
        inner = deeper
    message = str(inner)
    if message.startswith("Tunnel connection failed: "):
        return f"the proxy refused the connection: {message.partition(': ')[2]}"
    if type(inner).__module__.startswith("urllib3"):
        message = message.rpartition(": ")[2]
    return f"{type(inner).__name__}: {message}".removesuffix(": ")
