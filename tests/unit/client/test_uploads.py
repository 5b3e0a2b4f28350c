"""Uploads over a real connection."""

from __future__ import annotations

import io
import json
import re
import tracemalloc
from collections.abc import Callable
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace
from typing import Any, BinaryIO

import pytest

from airflow_provider_portkey import exceptions
from airflow_provider_portkey.client import requests_session
from airflow_provider_portkey.client.requests_session import new_session
from airflow_provider_portkey.client.settings import read_settings
from airflow_provider_portkey.client.sync import PortkeyClient
from airflow_provider_portkey.client.uploads import MultipartFile, with_upload_timeouts

CONTENT = b'{"a": 1}\r\n--not-a-boundary\x00\xff\n' * 10_000


def client(url: str, **extra: Any) -> PortkeyClient:
    return PortkeyClient(read_settings(host=url, api_key="pk-secret-key", extra={"max_retries": 2, **extra}))


def upload(url: str, file: BinaryIO | None = None, filename: str = "in.jsonl", **extra: Any) -> dict[str, Any]:
    fields = {"purpose": "batch"}
    return client(url, **extra).upload("/files", {}, file or io.BytesIO(CONTENT), filename=filename, fields=fields)


def answer(status: int = 200, body: object = None, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    content = json.dumps(body or {"id": "file_1"}).encode()

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return send


def in_turn(*answers: Callable[[BaseHTTPRequestHandler], None]) -> Callable[[BaseHTTPRequestHandler], None]:
    left = list(answers)

    def next_one(handler: BaseHTTPRequestHandler) -> None:
        left.pop(0)(handler)

    return next_one


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def parts(received: Any) -> dict[str, tuple[str | None, bytes]]:
    head = f"Content-Type: {received.headers['Content-Type']}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP.clone(max_line_length=None)).parsebytes(head + received.body)
    return {
        part.get_param("name", header="content-disposition"): (part.get_filename(), part.get_payload(decode=True))
        for part in message.iter_parts()
    }


def test_a_file_arrives_whole_as_a_form_of_known_length(loopback: Callable[..., Any]) -> None:
    server = loopback(answer())

    assert upload(server.url, provider="openai", query={"api-version": "1"}) == {"id": "file_1"}

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


def test_a_file_is_read_from_its_start_wherever_it_stands(loopback: Callable[..., Any]) -> None:
    server = loopback(answer())
    file = io.BytesIO(b"abcdef")
    file.seek(4)
    upload(server.url, file)
    assert b"\r\n\r\nabcdef\r\n" in server.requests[0].body


def test_a_name_cannot_end_its_header(loopback: Callable[..., Any]) -> None:
    server = loopback(answer())
    upload(server.url, filename='a"\r\nX-Evil: 1\r\n\r\n')
    assert b'filename="a%22%0D%0AX-Evil: 1%0D%0A%0D%0A"' in server.requests[0].body


def test_what_was_refused_for_the_moment_is_sent_again_from_the_start(
    loopback: Callable[..., Any], waits: list[float]
) -> None:
    server = loopback(in_turn(answer(429, {"error": {"message": "slow down"}}, Retry_After="2"), answer()))

    assert upload(server.url) == {"id": "file_1"}

    first, second = server.requests
    assert first.body == second.body
    assert len(waits) == 1 and 2 <= waits[0] <= 2.2


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (answer(500), exceptions.PortkeyServerError),
        (answer(502), exceptions.PortkeyServerError),
        (answer(408), exceptions.PortkeyRequestTimeoutError),
        (hang_up, exceptions.PortkeyUnreachableError),
    ],
)
def test_what_may_have_been_carried_out_is_not_sent_again(
    loopback: Callable[..., Any], waits: list[float], broken: Any, error: type[Exception]
) -> None:
    server = loopback(broken)
    with pytest.raises(error) as raised:
        upload(server.url)
    assert not raised.value.safe_to_retry  # type: ignore[attr-defined]
    assert len(server.requests) == 1


def test_a_redirect_is_not_followed(loopback: Callable[..., Any]) -> None:
    server = loopback(answer(307, Location="http://127.0.0.1:9/elsewhere"))
    with pytest.raises(exceptions.PortkeyRedirectedError):
        upload(server.url)
    assert len(server.requests) == 1


def test_nobody_there_was_surely_not_carried_out_and_is_tried_again(closed_port: str, waits: list[float]) -> None:
    with pytest.raises(exceptions.PortkeyUnreachableError) as raised:
        upload(closed_port)
    assert raised.value.safe_to_retry
    assert len(waits) == 2


def test_a_refusal_that_comes_before_the_file_is_read_is_still_heard(loopback: Callable[..., Any]) -> None:
    server = loopback(answer())
    handler_class = server._server.RequestHandlerClass

    def refuse(self: BaseHTTPRequestHandler) -> None:
        answer(413, {"error": {"message": "The file is too large."}}, Connection="close")(self)
        self.rfile.read(200_000)  # some of it is on its way already
        self.close_connection = True

    handler_class.do_POST = refuse
    with pytest.raises(exceptions.PortkeyBadRequestError, match=r"The file is too large"):
        upload(server.url, io.BytesIO(b"x" * 300_000))


def test_a_file_that_has_changed_its_length_is_not_passed_off_as_whole(loopback: Callable[..., Any]) -> None:
    server = loopback(answer())
    for change in (-1, 1):
        file = io.BytesIO(b"x" * 100)
        form = MultipartFile(file, filename="in.jsonl", size=100 + change)
        with pytest.raises(exceptions.PortkeyError, match=rf"no longer has the {100 + change} bytes"):
            b"".join(form)
    assert server.requests == []


def test_the_length_is_the_one_that_is_sent() -> None:
    form = MultipartFile(io.BytesIO(CONTENT), filename="ü.jsonl", fields={"purpose": "batch", "ü": "ß"})
    assert len(b"".join(form)) == len(b"".join(form)) == len(form)


def test_a_large_file_is_never_held() -> None:
    class Large(io.RawIOBase):
        """Two hundred megabytes that nobody has written."""

        place = 0
        size = 200_000_000

        def seek(self, offset: int, whence: int = 0) -> int:
            self.place = offset + (self.size if whence == 2 else 0)
            return self.place

        def read(self, size: int = -1) -> bytes:
            piece = b"x" * min(size, self.size - self.place)
            self.place += len(piece)
            return piece

    tracemalloc.start()
    try:
        form = MultipartFile(Large(), filename="large.jsonl")  # type: ignore[arg-type]
        assert sum(map(len, form)) == len(form) > 200_000_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_time_outs_are_those_of_an_upload_unless_the_connections_own_are_longer() -> None:
    patient = with_upload_timeouts(read_settings(host="http://x", api_key="k" * 8, extra={"read_timeout": 5}))
    assert (patient.connect_timeout, patient.read_timeout) == (60, 600)
    longer = {"connect_timeout": 90, "read_timeout": 3600}
    patient = with_upload_timeouts(read_settings(host="http://x", api_key="k" * 8, extra=longer))
    assert (patient.connect_timeout, patient.read_timeout) == (90, 3600)


def test_the_answer_may_take_longer_than_those_of_other_calls(
    loopback: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    head_timeouts: list[float] = []

    def watched(headers: Any, *, head_timeout: float) -> Any:
        head_timeouts.append(head_timeout)
        return new_session(headers, head_timeout=head_timeout)

    monkeypatch.setattr(requests_session, "new_session", watched)
    upload(loopback(answer()).url, read_timeout=1)
    assert head_timeouts == [660]


def test_the_time_that_sending_takes_is_not_taken_from_the_answer(
    loopback: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)

    class Slow(io.BytesIO):
        """Every read takes three hours."""

        def read(self, size: int | None = -1) -> bytes:
            clock.now += 3 * 3600
            return super().read(size)

    monkeypatch.setattr("airflow_provider_portkey.client.sync.time", clock)
    assert upload(loopback(answer()).url, Slow(CONTENT)) == {"id": "file_1"}
    assert clock.now > 3600


def test_an_answer_that_is_none_says_so(loopback: Callable[..., Any]) -> None:
    def page(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "6")
        handler.end_headers()
        handler.wfile.write(b"<html>")

    server = loopback(page)
    with pytest.raises(exceptions.PortkeyUnexpectedResponseError):
        upload(server.url)
    assert len(server.requests) == 1
