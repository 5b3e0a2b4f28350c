"""Downloads of any length: a stream that resumes after an interruption and is checked for its length."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from airflow_provider_portkey.client.attempts import Attempt
from airflow_provider_portkey.client.responses import Response, error_from_response, unreachable_error
from airflow_provider_portkey.client.retries import may_retry, wait_before_retry
from airflow_provider_portkey.exceptions import PortkeyError, PortkeyRequestError, PortkeyUnexpectedResponseError

if TYPE_CHECKING:
    import requests

    from airflow_provider_portkey.client.settings import ConnectionSettings

log = logging.getLogger(__name__)

#: Seconds that a download may take, its resumptions included.
DOWNLOAD_BUDGET = 6 * 3600.0
#: Bytes of one chunk.
_CHUNK = 256 * 1024
#: Bytes that are read of a response that is an error.
_ERROR_BYTES = 64 * 1024
#: HTTP statuses of a store for an expired signed URL: S3 and Azure 403, Google 400, others 401 or 410.
_EXPIRED = frozenset({400, 401, 403, 410})


def iter_download(
    session: requests.Session,
    url: str,
    *,
    name: str,
    settings: ConnectionSettings,
    renew: Callable[[], tuple[str, ConnectionSettings]] | None = None,
) -> Iterator[bytes]:
    """
    Yield the bytes at a URL in chunks; after an interruption the remaining range is requested.

    :param session: With Portkey's headers or, for a signed URL, without headers.
    :param url: With its query.
    :param name: The download's name in errors and logs; a signed URL itself is a secret.
    :param settings: Time-outs, ``max_retries``, TLS, and the secrets that errors must not show.
    :param renew: Returns a new URL and its settings after an expired one; called once before further bytes arrive.
    :raises PortkeyRequestError: the subclass for the last failure, after ``max_retries`` retries without a byte.
    """
    done, failures, total = 0, 0, None
    renewed = False
    deadline = time.monotonic() + DOWNLOAD_BUDGET
    while True:
        attempt = Attempt(settings)
        try:
            with _open(session, url, done, name, settings, attempt) as response:
                total = _total(response, done, total, name)
                for chunk in _chunks(response, attempt, skip=0 if response.status_code == 206 else done):
                    done += len(chunk)
                    failures, renewed = 0, False
                    yield chunk
                    if time.monotonic() > deadline:
                        raise unreachable_error("GET", name, f"not complete after {DOWNLOAD_BUDGET:g} s", settings)
            if total is None or done == total:
                return
            raise unreachable_error("GET", name, f"ended after {done} of {total} bytes", settings)
        except PortkeyRequestError as error:
            caught = error
        except PortkeyError:
            raise
        except _transport_errors() as error:
            caught = unreachable_error("GET", name, type(error).__name__, settings, attempt)
        if renew and not renewed and caught.status_code in _EXPIRED:
            log.info("The URL has expired after %d bytes, requesting a new one.", done)
            (url, settings), renewed = renew(), True
            continue
        failures += 1
        if not may_retry(caught, idempotent=True) or failures > settings.max_retries or time.monotonic() > deadline:
            raise caught
        wait = wait_before_retry(caught.retry_after, failures, random.random())  # noqa: S311
        log.warning("The download stopped after %d bytes, resuming in %.1f s: %s", done, wait, caught)
        time.sleep(wait)


def _transport_errors() -> tuple[type[BaseException], ...]:
    import requests
    import urllib3

    return (requests.RequestException, urllib3.exceptions.HTTPError, OSError)


def _open(
    session: requests.Session,
    url: str,
    done: int,
    name: str,
    settings: ConnectionSettings,
    attempt: Attempt,
) -> requests.Response:
    # In a compressed response a byte's position would not be its position in the file.
    position = {"Range": f"bytes={done}-"} if done else {}
    headers = {"Accept-Encoding": "identity", **position, **settings.metadata_headers("GET")}
    with attempt:
        response = session.get(
            url,
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
    """Return the file's length by the response's headers; it must not change between two parts of the file."""
    headers: Mapping[str, str] = response.headers
    if response.status_code == 206:
        start, _, end_and_total = headers.get("content-range", "").removeprefix("bytes ").partition("-")
        total = end_and_total.partition("/")[2]
        if start != str(done):
            raise PortkeyUnexpectedResponseError(
                f"{name}: requested the bytes from {done}, received those from {start!r}."
            )
        length = int(total) if total.isdecimal() else known
    else:
        header = headers.get("content-length", "")
        length = int(header) if header.isdecimal() and "content-encoding" not in headers else known
    if known is not None and length != known:
        raise PortkeyUnexpectedResponseError(
            f"{name}: had {known} bytes before the interruption and {length} bytes after it."
        )
    return length


def _chunks(response: requests.Response, attempt: Attempt, *, skip: int) -> Iterator[bytes]:
    while chunk := response.raw.read1(_CHUNK, decode_content=True):
        attempt.restart()  # the deadline of an attempt is that of its next chunk
        if skip >= len(chunk):
            skip -= len(chunk)
            continue
        yield chunk[skip:]
        skip = 0
