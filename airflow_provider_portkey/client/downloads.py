"""Long answers as a stream that goes on where it was cut, and that is as long as it was said to be."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from airflow_provider_portkey.client.responses import Response, error_from_response, unreachable_error
from airflow_provider_portkey.client.retries import wait_before_retry
from airflow_provider_portkey.exceptions import PortkeyRequestError, PortkeyUnexpectedResponseError

if TYPE_CHECKING:
    import requests

    from airflow_provider_portkey.client.settings import ConnectionSettings

log = logging.getLogger(__name__)

#: Seconds that a whole download may take, its resumptions included.
DOWNLOAD_BUDGET = 6 * 3600.0
#: Bytes of one piece.
_PIECE = 256 * 1024
#: Bytes that are read of an answer that is an error.
_ERROR_BYTES = 64 * 1024
#: What a store answers to a signed URL that has expired: S3 and Azure 403, Google 400, others 401 or 410.
_EXPIRED = frozenset({400, 401, 403, 410})


def iter_download(
    session: requests.Session,
    url: str,
    *,
    name: str,
    settings: ConnectionSettings,
    query: list[tuple[str, str]] | None = None,
    renew: Callable[[], tuple[str, ConnectionSettings]] | None = None,
) -> Iterator[bytes]:
    """
    Yield the bytes behind a URL, piece by piece; after a cut the rest is asked for by range.

    :param session: With Portkey's headers or, for a signed URL, without any.
    :param name: What errors and logs call it; a signed URL itself is a secret.
    :param settings: Time-outs, number of retries, TLS, and the secrets to keep out of errors.
    :param renew: Gives another URL and its secrets where the one before has expired; asked once in a row.
    :raises PortkeyRequestError: its subclass that fits what happened, once as many tries in a row as the connection
        allows brought not one byte.
    """
    done, failures, total = 0, 0, None
    renewed = False
    deadline = time.monotonic() + DOWNLOAD_BUDGET
    while True:
        try:
            with _open(session, url, query, done, name, settings) as response:
                total = _total(response, done, total, name)
                for piece in _pieces(response, skip=0 if response.status_code == 206 else done):
                    done += len(piece)
                    failures, renewed = 0, False
                    yield piece
                    if time.monotonic() > deadline:
                        raise unreachable_error("GET", name, f"not whole after {DOWNLOAD_BUDGET:g} s", settings)
            if total is None or done == total:
                return
            raise unreachable_error("GET", name, f"ended after {done} of {total} bytes", settings)
        except _broken() as error:
            caught: PortkeyRequestError = unreachable_error("GET", name, type(error).__name__, settings)
        except PortkeyRequestError as error:
            caught = error
        if renew and not renewed and caught.status_code in _EXPIRED:
            log.info("The URL does not hold any more after %d bytes, asking for another one.", done)
            (url, settings), renewed = renew(), True
            continue
        failures += 1
        if not caught.transient or failures > settings.max_retries or time.monotonic() > deadline:
            raise caught
        wait = wait_before_retry(caught.retry_after, failures, random.random())  # noqa: S311
        log.warning("The download broke off after %d bytes, active_statuses on in %.1f s: %s", done, wait, caught)
        time.sleep(wait)


def _broken() -> tuple[type[BaseException], ...]:
    import requests
    import urllib3

    return (requests.RequestException, urllib3.exceptions.HTTPError, OSError)


def _open(
    session: requests.Session,
    url: str,
    query: list[tuple[str, str]] | None,
    done: int,
    name: str,
    settings: ConnectionSettings,
) -> requests.Response:
    # Compressed on the way, a byte's place would not be its place in the file.
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={done}-"} if done else {})}
    response = session.get(
        url,
        params=query,
        headers=headers,
        timeout=(settings.connect_timeout, settings.read_timeout),
        allow_redirects=False,
        verify=settings.verify,
        stream=True,
    )
    if response.status_code in (200, 206):
        return response
    with response:
        body = response.raw.read(_ERROR_BYTES, decode_content=True)
        raise error_from_response(Response("GET", name, response.status_code, response.headers, body), settings)


def _total(response: requests.Response, done: int, known: int | None, name: str) -> int | None:
    """Return how long the whole is, as the answer says; it must not change between two parts of it."""
    headers: Mapping[str, str] = response.headers
    if response.status_code == 206:
        start, _, end_and_total = headers.get("content-range", "").removeprefix("bytes ").partition("-")
        total = end_and_total.partition("/")[2]
        if start != str(done):
            raise PortkeyUnexpectedResponseError(
                f"{name}: asked for the bytes from {done} on, got those from {start!r} on."
            )
        said = int(total) if total.isdecimal() else known
    else:
        length = headers.get("content-length", "")
        said = int(length) if length.isdecimal() and "content-encoding" not in headers else known
    if known is not None and said != known:
        raise PortkeyUnexpectedResponseError(f"{name}: it had {known} bytes before it was cut, and {said} afterwards.")
    return said


def _pieces(response: requests.Response, skip: int) -> Iterator[bytes]:
    while piece := response.raw.read1(_PIECE, decode_content=True):
        if skip >= len(piece):
            skip -= len(piece)
            continue
        yield piece[skip:]
        skip = 0
