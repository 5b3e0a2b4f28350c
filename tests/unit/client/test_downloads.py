"""Downloads: resumed, renewed, and checked for their length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from airflow_provider_portkey.client import downloads
from airflow_provider_portkey.client.downloads import iter_download
from airflow_provider_portkey.client.settings import ConnectionSettings
from airflow_provider_portkey.exceptions import (
    PortkeyPermissionDeniedError,
    PortkeyServerError,
    PortkeyUnexpectedResponseError,
    PortkeyUnreachableError,
)
from airflow_provider_portkey.testing import Clock

URL = "https://store.test/logs.jsonl"
CONTENT = b"0123456789"


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of downloads; sleeping advances it."""
    clock = Clock()
    monkeypatch.setattr(downloads, "time", clock)
    return clock


class Store:
    """Serves ``CONTENT``, by one instruction for each request: bytes to send, a status, or changes as a dict."""

    def __init__(self, requests_mock: Any, *instructions: Any) -> None:
        self.instructions = list(instructions)
        self.requests: list[Any] = []
        requests_mock.get(URL, content=self.respond)

    def respond(self, request: Any, context: Any) -> bytes:
        self.requests.append(request)
        instruction = self.instructions.pop(0)
        start = int(request.headers.get("Range", "bytes=0-")[6:-1])
        if isinstance(instruction, int) and instruction >= 300:
            context.status_code = instruction
            return b""
        given: dict[str, Any] = {"size": len(CONTENT), "start": start, "send": instruction, "ranges": True}
        given |= instruction if isinstance(instruction, dict) else {}
        if start and given["ranges"]:
            context.status_code = 206
            context.headers["Content-Range"] = f"bytes {given['start']}-{given['size'] - 1}/{given['size']}"
        else:
            start = 0
        context.headers["Content-Length"] = str(given["size"] - start)
        return CONTENT[start:] if not isinstance(given["send"], int) else CONTENT[start : start + given["send"]]


def download(renew: Callable[[], tuple[str, ConnectionSettings]] | None = None) -> bytes:
    settings = ConnectionSettings("https://store.test", (), max_retries=2)
    with requests.Session() as session:
        return b"".join(iter_download(session, URL, name="the download", settings=settings, renew=renew))


def ranges(store: Store) -> list[str | None]:
    return [request.headers.get("Range") for request in store.requests]


def test_an_interrupted_download_resumes_by_range(requests_mock: Any, clock: Clock) -> None:
    store = Store(requests_mock, 4, 3, None)

    assert download() == CONTENT
    assert ranges(store) == [None, "bytes=4-", "bytes=7-"]
    assert len(clock.sleeps) == 2


def test_a_store_without_ranges_sends_the_file_again(requests_mock: Any) -> None:
    Store(requests_mock, 4, {"ranges": False})

    assert download() == CONTENT


def test_a_body_is_requested_without_compression(requests_mock: Any) -> None:
    store = Store(requests_mock, None)

    assert download() == CONTENT
    assert store.requests[0].headers["Accept-Encoding"] == "identity"


def test_a_download_that_stays_short_is_an_error(requests_mock: Any) -> None:
    Store(requests_mock, 4, 0, 0, 0)

    with pytest.raises(PortkeyUnreachableError, match="ended after 4 of 10 bytes"):
        download()


def test_retries_count_from_the_last_byte(requests_mock: Any) -> None:
    Store(requests_mock, 1, 503, 1, 503, 1, None)

    assert download() == CONTENT


def test_a_transient_error_is_raised_after_the_retries(requests_mock: Any) -> None:
    store = Store(requests_mock, 503, 503, 503)

    with pytest.raises(PortkeyServerError):
        download()

    assert len(store.requests) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": 5}, "the download: requested the bytes from 4, received those from '5'"),
        ({"size": 11}, "the download: had 10 bytes before the interruption and 11 bytes after it"),
        ({"ranges": False, "size": 11}, "the download: had 10 bytes before the interruption and 11 bytes after it"),
    ],
)
def test_another_file_after_an_interruption_is_an_error(
    requests_mock: Any, change: dict[str, Any], message: str
) -> None:
    Store(requests_mock, 4, change)

    with pytest.raises(PortkeyUnexpectedResponseError, match=message):
        download()


@pytest.mark.parametrize("status", [400, 401, 403, 410])
def test_an_expired_url_is_renewed_and_the_download_resumed(requests_mock: Any, status: int) -> None:
    store = Store(requests_mock, 4, status, None)
    settings = ConnectionSettings("https://store.test", ())

    assert download(lambda: (f"{URL}?signature=new", settings)) == CONTENT
    assert store.requests[2].url.endswith("?signature=new")
    assert ranges(store) == [None, "bytes=4-", "bytes=4-"]


def test_a_url_may_expire_again_after_further_bytes(requests_mock: Any) -> None:
    Store(requests_mock, 4, 403, 3, 403, None)

    assert download(lambda: (URL, ConnectionSettings("https://store.test", ()))) == CONTENT


def test_a_new_url_that_is_refused_is_an_error(requests_mock: Any) -> None:
    store = Store(requests_mock, 4, 403, 403)

    with pytest.raises(PortkeyPermissionDeniedError):
        download(lambda: (URL, ConnectionSettings("https://store.test", ())))

    assert len(store.requests) == 3


def test_a_refusal_without_renewal_is_an_error(requests_mock: Any) -> None:
    Store(requests_mock, 403)

    with pytest.raises(PortkeyPermissionDeniedError):
        download()


def test_a_download_ends_at_its_budget(requests_mock: Any, clock: Clock) -> None:
    def respond(request: Any, context: Any) -> bytes:
        clock.sleep(downloads.DOWNLOAD_BUDGET + 1)
        return CONTENT

    calls = requests_mock.get(URL, content=respond)

    with pytest.raises(PortkeyUnreachableError, match="not complete after 21600 s"):
        download()

    assert calls.call_count == 1
