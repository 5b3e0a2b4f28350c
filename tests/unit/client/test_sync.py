from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_portkey import exceptions
from airflow_provider_portkey.client import requests_session
from airflow_provider_portkey.client.settings import read_settings
from airflow_provider_portkey.client.sync import PortkeyClient

KEY = "pk-secret-key"
#: Ends the pauses of a dripping answer when the test is over.
NEVER = threading.Event()


def client(url: str, *, api_key: str = KEY, **extra: Any) -> PortkeyClient:
    return PortkeyClient(read_settings(host=url, api_key=api_key, extra={"max_retries": 0, **extra}))


def send(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def good(handler: BaseHTTPRequestHandler) -> None:
    send(handler, b'{"id": "run_1"}')


def test_a_get_carries_the_connections_headers_and_query(loopback: Callable[..., Any]) -> None:
    server = loopback(good)
    own = {"headers": {"x-portkey-trace-id": "t-1"}, "query": {"api-version": "2025 preview", "tag": ["a", "b&c"]}}
    asked = client(server.url, provider="openai", provider_api_key="sk-1", **own)

    assert asked.get("/threads/{t}/runs", {"t": "a/../b"}, [("limit", "5"), ("include[]", "x[*].y")]) == {"id": "run_1"}

    (request,) = server.requests
    path, _, query = request.path.partition("?")
    assert path == "/v1/threads/a%2F..%2Fb/runs"
    assert query == "api-version=2025+preview&tag=a&tag=b%26c&limit=5&include%5B%5D=x%5B%2A%5D.y"
    assert request.headers["x-portkey-api-key"] == KEY
    assert request.headers["x-portkey-provider"] == "openai"
    assert request.headers["Authorization"] == "Bearer sk-1"
    assert request.headers["OpenAI-Beta"] == "assistants=v2"
    assert request.headers["x-portkey-trace-id"] == "t-1"
    assert request.body == b""


@pytest.mark.parametrize("hostile", ["../models", "%2e%2e", "..%2Fmodels", "a?b#c", "线"])
def test_no_id_leaves_its_segment_on_the_wire(loopback: Callable[..., Any], hostile: str) -> None:
    server = loopback(good)

    client(server.url).get("/threads/{t}/runs", {"t": hostile})

    path = server.requests[0].path
    assert path.startswith("/v1/threads/")
    assert path.endswith("/runs")
    assert path.count("/") == 4
    assert ".." not in path.split("/")


@pytest.mark.parametrize(("body", "sent"), [(None, b"{}"), ({"tool": "ä"}, b'{"tool": "\\u00e4"}')])
def test_a_post_sends_json_even_without_a_body(loopback: Callable[..., Any], body: Any, sent: bytes) -> None:
    server = loopback(good)

    client(server.url).post("/threads/{t}/runs", {"t": "t"}, body)

    (request,) = server.requests
    assert (request.method, request.body, request.headers["Content-Type"]) == ("POST", sent, "application/json")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_redirect_is_never_followed(loopback: Callable[..., Any], status: int, method: str) -> None:
    collector = loopback(good)
    server = loopback(lambda handler: send(handler, b"", status, Location=f"{collector.url}/v1/collect"))

    with pytest.raises(exceptions.PortkeyRedirectedError) as raised:
        getattr(client(server.url), method)("/models", {})

    assert raised.value.status_code == status
    assert f"{collector.url}/v1/collect" in str(raised.value)
    assert len(server.requests) == 1
    assert collector.requests == []


@pytest.mark.parametrize("provider_api_key", ["sk-provider", None])
def test_a_netrc_entry_does_not_replace_the_authorization(
    loopback: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider_api_key: str | None
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\ndefault login any password one\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server = loopback(good)

    client(server.url, provider_api_key=provider_api_key).get("/models", {})

    assert server.requests[0].headers["Authorization"] == (provider_api_key and f"Bearer {provider_api_key}")


def test_the_environments_proxy_is_used(loopback: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = loopback(good)
    monkeypatch.setenv("http_proxy", proxy.url)

    assert client("http://gateway.invalid").get("/models", {}) == {"id": "run_1"}
    assert proxy.requests[0].path == "http://gateway.invalid/v1/models"


def cut_short(handler: BaseHTTPRequestHandler) -> None:
    send(handler, b'{"id": "run_1"}', Content_Length="1000")
    handler.close_connection = True


def chunked_cut_in_a_chunk(handler: BaseHTTPRequestHandler) -> None:
    chunked(handler, [b'{"id": '], end=b"ff\r\n")


def chunked_cut_between_chunks(handler: BaseHTTPRequestHandler) -> None:
    chunked(handler, [b'{"id": "run_1"}'], end=b"")


def chunked(handler: BaseHTTPRequestHandler, pieces: list[bytes], end: bytes = b"0\r\n\r\n", **headers: str) -> None:
    handler.send_response(200)
    for name, value in {"Transfer-Encoding": "chunked", **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    for piece in pieces:
        handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        handler.wfile.flush()
    handler.wfile.write(end)
    handler.close_connection = True


def no_answer_at_all(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def broken_gzip(handler: BaseHTTPRequestHandler) -> None:
    send(handler, b"this is not gzip", Content_Encoding="gzip")


@pytest.mark.parametrize(
    "answer", [cut_short, chunked_cut_in_a_chunk, chunked_cut_between_chunks, no_answer_at_all, broken_gzip]
)
def test_a_broken_answer_is_unreachable_and_was_sent(loopback: Callable[..., Any], answer: Any) -> None:
    server = loopback(answer)

    with pytest.raises(exceptions.PortkeyUnreachableError) as raised:
        client(server.url, query={"token": "query-secret"}).post("/models", {})

    assert raised.value.request_sent is True
    assert len(server.requests) == 1
    assert raised.value.server_message
    assert "query-secret" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_port_where_nobody_listens_is_unreachable_and_was_not_sent(
    closed_port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    with pytest.raises(exceptions.PortkeyUnreachableError, match="Connection refused") as raised:
        client(closed_port).get("/models", {})

    assert raised.value.request_sent is False
    assert f"got no answer from {closed_port}/v1" in str(raised.value)


def test_a_port_that_does_not_accept_in_time_was_not_sent_to(deaf_port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    with pytest.raises(exceptions.PortkeyUnreachableError, match="timed out") as raised:
        client(deaf_port, connect_timeout=0.2, read_timeout=5).get("/models", {})

    assert raised.value.request_sent is False


def test_a_name_that_nobody_knows_is_unreachable_and_was_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")

    with pytest.raises(exceptions.PortkeyUnreachableError) as raised:
        client("http://gateway.invalid").get("/models", {})

    assert raised.value.request_sent is False


def drip_body(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(40):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        NEVER.wait(0.05)


def drip_headers(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    for _ in range(40):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        NEVER.wait(0.05)


def silence(handler: BaseHTTPRequestHandler) -> None:
    NEVER.wait(2)


@pytest.mark.parametrize(
    "answer",
    [
        drip_body,
        silence,
        drip_headers,
    ],
)
def test_a_slow_answer_ends_at_the_deadline_of_the_try(loopback: Callable[..., Any], answer: Any) -> None:
    server = loopback(answer)
    slow = client(server.url, connect_timeout=0.1, read_timeout=0.2)
    started = time.monotonic()

    with pytest.raises(exceptions.PortkeyUnreachableError) as raised:
        slow.get("/models", {})

    assert time.monotonic() - started < 1.0
    assert raised.value.request_sent is True


def test_a_body_over_the_limit_is_not_read_to_its_end(
    loopback: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_portkey.client.sync.MAX_BODY_BYTES", 1000)
    server = loopback(lambda handler: send(handler, json.dumps({"id": "x" * 991}).encode()))
    with pytest.raises(exceptions.PortkeyUnreachableError, match="more than 1000 bytes came"):
        client(server.url).get("/models", {})

    server.answer = lambda handler: send(handler, json.dumps({"id": "x" * 990}).encode())

    assert client(server.url).get("/models", {})["id"] == "x" * 990


def test_a_body_that_grows_when_it_is_decompressed_is_limited_too(
    loopback: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_portkey.client.sync.MAX_BODY_BYTES", 100_000)
    bomb = gzip.compress(b" " * 1_000_000)
    server = loopback(lambda handler: send(handler, bomb, Content_Encoding="gzip"))

    with pytest.raises(exceptions.PortkeyUnreachableError, match="more than 100000 bytes came"):
        client(server.url).get("/models", {})

    assert len(bomb) < 100_000


LARGE = {"data": [{"id": f"step_{number}", "text": "äöü" * 50} for number in range(2_000)]}


def whole(handler: BaseHTTPRequestHandler) -> None:
    send(handler, json.dumps(LARGE).encode())


def gzipped(handler: BaseHTTPRequestHandler) -> None:
    send(handler, gzip.compress(json.dumps(LARGE).encode()), Content_Encoding="gzip")


def in_chunks(handler: BaseHTTPRequestHandler) -> None:
    body = json.dumps(LARGE).encode()
    chunked(handler, [body[start : start + 7_001] for start in range(0, len(body), 7_001)])


def gzipped_in_tiny_chunks(handler: BaseHTTPRequestHandler) -> None:
    body = gzip.compress(json.dumps(LARGE).encode())
    pieces = [body[start : start + 1] for start in range(30)] + [body[30:]]
    chunked(handler, pieces, Content_Encoding="gzip")


def until_closed(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(json.dumps(LARGE).encode())


@pytest.mark.parametrize("answer", [whole, gzipped, in_chunks, gzipped_in_tiny_chunks, until_closed])
def test_a_large_answer_arrives_whole_in_every_encoding(loopback: Callable[..., Any], answer: Any) -> None:
    server = loopback(answer)

    assert client(server.url).get("/models", {}) == LARGE


def test_one_pooled_connection_serves_all_requests(loopback: Callable[..., Any]) -> None:
    server = loopback(whole)
    one = client(server.url)
    for _ in range(3):
        one.get("/models", {})
    server.answer = lambda handler: send(handler, b'{"error": {"message": "no"}}', 404)
    with pytest.raises(exceptions.PortkeyNotFoundError):
        one.get("/threads/{t}", {"t": "t"})
    server.answer = good
    one.post("/models", {})

    assert len(server.requests) == 5
    assert server.connections == 1


def test_a_closed_client_opens_a_new_connection_when_it_is_used_again(loopback: Callable[..., Any]) -> None:
    server = loopback(good)
    one = client(server.url)
    one.close()
    one.get("/models", {})
    one.close()

    assert one.get("/models", {}) == {"id": "run_1"}
    assert server.connections == 2


def test_threads_that_use_a_client_at_once_share_one_session(
    loopback: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = loopback(whole)
    opened = []
    new_session = requests_session.new_session
    monkeypatch.setattr(
        requests_session, "new_session", lambda *given, **more: opened.append(1) or new_session(*given, **more)
    )
    one, together, answers = client(server.url), threading.Barrier(16), []

    def get() -> None:
        together.wait(10)
        answers.append(one.get("/models", {}))

    threads = [threading.Thread(target=get) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert len(answers) == 16
    assert opened == [1]
