"""Uploads over a real connection."""

from __future__ import annotations

import io
import re
import tracemalloc
from collections.abc import Callable
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler
from typing import Any, BinaryIO

import pytest

from airflow_provider_portkey import exceptions
from airflow_provider_portkey.client.attempts import Attempt
from airflow_provider_portkey.client.settings import read_settings
from airflow_provider_portkey.client.sync import PortkeyClient
from airflow_provider_portkey.client.uploads import MultipartFile, with_upload_timeouts
from airflow_provider_portkey.testing import Clock

CONTENT = b'{"a": 1}\r\n--not-a-boundary\x00\xff\n' * 10_000


def client(url: str, **extra: Any) -> PortkeyClient:
    return PortkeyClient(read_settings(host=url, api_key="pk-secret-key", extra={"max_retries": 2, **extra}))


def upload(url: str, file: BinaryIO | None = None, filename: str = "in.jsonl", **extra: Any) -> dict[str, Any]:
    fields = {"purpose": "batch"}
    return client(url, **extra).upload("/files", {}, file or io.BytesIO(CONTENT), filename=filename, fields=fields)


def parts(received: Any) -> dict[str, tuple[str | None, bytes]]:
    head = f"Content-Type: {received.headers['Content-Type']}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP.clone(max_line_length=None)).parsebytes(head + received.body)
    return {
        part.get_param("name", header="content-disposition"): (part.get_filename(), part.get_payload(decode=True))
        for part in message.iter_parts()
    }


def test_a_file_arrives_complete_in_a_form_of_known_length(loopback: Callable[..., Any]) -> None:
    server = loopback()

    assert upload(server.url, provider="openai", query={"api-version": "1"}) == {"id": "run_1"}

    (received,) = server.requests
    assert (received.method, received.path) == ("POST", "/v1/files?api-version=1")
    assert received.headers["Content-Length"] == str(len(received.body))
    assert "Transfer-Encoding" not in received.headers
    assert received.headers["x-portkey-provider"] == "openai"
    boundary = re.fullmatch("multipart/form-data; boundary=([0-9a-f]{32})", received.headers["Content-Type"])
    assert boundary and received.body.endswith(f"\r\n--{boundary[1]}--\r\n".encode())
    assert received.body.count(CONTENT) == 1
    assert received.body.index(b'name="purpose"') < received.body.index(CONTENT)
    assert {name: filename for name, (filename, _) in parts(received).items()} == {"purpose": None, "file": "in.jsonl"}


def test_a_file_is_read_from_its_start_whatever_its_position(loopback: Callable[..., Any]) -> None:
    server = loopback()
    file = io.BytesIO(b"abcdef")
    file.seek(4)
    upload(server.url, file)
    assert b"\r\n\r\nabcdef\r\n" in server.requests[0].body


def test_a_file_name_cannot_end_its_header(loopback: Callable[..., Any]) -> None:
    server = loopback()
    upload(server.url, filename='a"\r\nX-Evil: 1\r\n\r\n')
    assert b'filename="a%22%0D%0AX-Evil: 1%0D%0A%0D%0A"' in server.requests[0].body


def test_a_rate_limited_upload_is_retried_from_the_start(loopback: Callable[..., Any], waits: list[float]) -> None:
    server = loopback([{"status": 429, "Retry_After": "2"}, {}])

    assert upload(server.url) == {"id": "run_1"}

    first, second = server.requests
    assert first.body == second.body
    assert len(waits) == 1 and 2 <= waits[0] <= 2.2


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        ({"status": 500}, exceptions.PortkeyServerError),
        ({"status": 502}, exceptions.PortkeyServerError),
        ({"status": 408}, exceptions.PortkeyRequestTimeoutError),
        ("no response", exceptions.PortkeyUnreachableError),
    ],
)
def test_an_upload_of_unknown_outcome_is_not_retried(
    loopback: Callable[..., Any], waits: list[float], broken: Any, error: type[Exception]
) -> None:
    server = loopback(broken)
    with pytest.raises(error) as raised:
        upload(server.url)
    assert not raised.value.safe_to_retry  # type: ignore[attr-defined]
    assert len(server.requests) == 1


def test_a_redirect_is_not_followed(loopback: Callable[..., Any]) -> None:
    server = loopback(status=307, Location="http://127.0.0.1:9/elsewhere")
    with pytest.raises(exceptions.PortkeyRedirectedError):
        upload(server.url)
    assert len(server.requests) == 1


def test_an_upload_to_a_closed_port_is_retried(closed_port: str, waits: list[float]) -> None:
    with pytest.raises(exceptions.PortkeyUnreachableError) as raised:
        upload(closed_port)
    assert raised.value.safe_to_retry
    assert len(waits) == 2


def test_a_refusal_before_the_file_is_read_is_reported(loopback: Callable[..., Any]) -> None:
    server = loopback()

    def refuse(handler: BaseHTTPRequestHandler) -> None:
        body = b'{"error": {"message": "The file is too large."}}'
        handler.send_response(413)
        handler.send_header("Content-Length", str(len(body)))
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(body)
        handler.rfile.read(200_000)  # a part of the file is sent already
        handler.close_connection = True

    server.handler.do_POST = refuse
    with pytest.raises(exceptions.PortkeyBadRequestError, match=r"The file is too large"):
        upload(server.url, io.BytesIO(b"x" * 300_000))


def test_a_file_that_has_changed_its_length_is_an_error(loopback: Callable[..., Any]) -> None:
    server = loopback()
    for change in (-1, 1):
        file = io.BytesIO(b"x" * 100)
        form = MultipartFile(file, filename="in.jsonl", size=100 + change)
        with pytest.raises(exceptions.PortkeyError, match=rf"no longer has the {100 + change} bytes"):
            b"".join(form)
    assert server.requests == []


def test_the_announced_length_is_the_one_that_is_sent() -> None:
    form = MultipartFile(io.BytesIO(CONTENT), filename="ü.jsonl", fields={"purpose": "batch", "ü": "ß"})
    assert len(b"".join(form)) == len(b"".join(form)) == len(form)


def test_a_large_file_is_never_in_memory() -> None:
    class Large(io.RawIOBase):
        """Two hundred megabytes, generated."""

        position = 0
        size = 200_000_000

        def seek(self, offset: int, whence: int = 0) -> int:
            self.position = offset + (self.size if whence == 2 else 0)
            return self.position

        def read(self, size: int = -1) -> bytes:
            chunk = b"x" * min(size, self.size - self.position)
            self.position += len(chunk)
            return chunk

    tracemalloc.start()
    try:
        form = MultipartFile(Large(), filename="large.jsonl")  # type: ignore[arg-type]
        assert sum(map(len, form)) == len(form) > 200_000_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_time_outs_are_those_of_an_upload_unless_those_of_the_connection_are_longer() -> None:
    settings = with_upload_timeouts(read_settings(host="http://x", api_key="k" * 8, extra={"read_timeout": 5}))
    assert (settings.connect_timeout, settings.read_timeout) == (60, 600)
    longer = {"connect_timeout": 90, "read_timeout": 3600}
    settings = with_upload_timeouts(read_settings(host="http://x", api_key="k" * 8, extra=longer))
    assert (settings.connect_timeout, settings.read_timeout) == (90, 3600)


def test_the_response_may_take_longer_than_that_of_other_calls(
    loopback: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds: list[float] = []
    monkeypatch.setattr(Attempt, "restart", lambda attempt: seconds.append(attempt.seconds))
    monkeypatch.setattr(Attempt, "remaining", lambda attempt: attempt.seconds)
    monkeypatch.setattr(Attempt, "is_over", False)
    upload(loopback().url, read_timeout=1)
    assert set(seconds) == {660}


def test_the_time_to_send_the_file_does_not_count_for_the_response(
    loopback: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    started = clock.now

    class Slow(io.BytesIO):
        """Every read takes three hours."""

        def read(self, size: int | None = -1) -> bytes:
            clock.now += 3 * 3600
            return super().read(size)

    monkeypatch.setattr("airflow_provider_portkey.client.attempts.time", clock)
    assert upload(loopback().url, Slow(CONTENT)) == {"id": "run_1"}
    assert clock.now - started > 3600
