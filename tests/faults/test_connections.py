"""What two requests on one connection, proxies, TLS and logs have in common in both transports."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_portkey.client.aio import open_client
from airflow_provider_portkey.client.settings import read_settings
from airflow_provider_portkey.client.sync import PortkeyClient
from airflow_provider_portkey.exceptions import PortkeyConnectionInvalidError, PortkeyError


def response(run: str, status: str = "200 OK") -> bytes:
    body = json.dumps({"id": run, "status": "completed"}).encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def get_runs(transport: str, url: str, run_ids: list[str], pause: Callable[[], None] = lambda: None) -> list[Any]:
    """GET runs one after the other with one client; return the id of each, or the name of the error."""
    settings = read_settings(host=url, extra={"max_retries": 0, "connect_timeout": 5, "read_timeout": 5})
    path = "/threads/{thread_id}/runs/{run_id}"
    seen: list[Any] = []

    async def main() -> None:
        async with open_client(settings) as client:
            for run_id in run_ids:
                try:
                    seen.append((await client.get(path, {"thread_id": "t", "run_id": run_id}))["id"])
                except PortkeyError as error:
                    seen.append(type(error).__name__)
                await asyncio.to_thread(pause)

    if transport == "aiohttp":
        asyncio.run(main())
        return seen
    with contextlib.closing(PortkeyClient(settings)) as client:
        for run_id in run_ids:
            try:
                seen.append(client.get(path, {"thread_id": "t", "run_id": run_id})["id"])
            except PortkeyError as error:
                seen.append(type(error).__name__)
            pause()
    return seen


def run_of(peer: Any) -> str:
    match = re.search(rb"/runs/(\w+)", peer.head)
    assert match
    return match[1].decode()


@pytest.fixture(autouse=True)
def direct(faults: Any) -> Any:
    """No proxy of the machine."""
    with faults.environment(no_proxy="*"):
        yield


@pytest.mark.parametrize("status", ["102 Processing", "103 Early Hints", "199 Unassigned", "100 Continue"])
@pytest.mark.parametrize("count", [1, 5])
def test_a_response_after_informational_ones_belongs_to_its_request(
    transport: str, serve: Any, faults: Any, status: str, count: int
) -> None:
    def script(peer: Any) -> str:
        peer.send(f"HTTP/1.1 {status}\r\nLink: </a>\r\n\r\n".encode() * count)
        peer.send(response(run_of(peer)))
        return faults.KEEP_OPEN

    server = serve(script)

    assert get_runs(transport, f"http://127.0.0.1:{server.port}", ["a", "b", "c"]) == ["a", "b", "c"]
    assert server.connections == 1


def test_an_informational_response_long_before_the_real_one_is_waited_out(
    transport: str, serve: Any, faults: Any
) -> None:
    sent, proceed = threading.Event(), threading.Event()

    def script(peer: Any) -> str:
        peer.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        sent.set()
        proceed.wait(2)
        peer.send(response(run_of(peer)))
        return faults.KEEP_OPEN

    server = serve(script)
    threading.Thread(target=lambda: (sent.wait(10), proceed.set()), daemon=True).start()

    assert get_runs(transport, f"http://127.0.0.1:{server.port}", ["a", "b"]) == ["a", "b"]


def test_the_connection_of_a_101_is_not_used_again(transport: str, serve: Any, faults: Any) -> None:
    def script(peer: Any) -> str:
        switches = run_of(peer) == "a"
        head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
        peer.send(head if switches else response(run_of(peer)))
        return faults.KEEP_OPEN

    server = serve(script)

    seen = get_runs(transport, f"http://127.0.0.1:{server.port}", ["a", "b"])

    assert seen == ["PortkeyUnexpectedResponseError", "b"]
    assert server.connections == 2


def test_a_second_response_to_one_request_is_not_that_of_the_next(transport: str, serve: Any, faults: Any) -> None:
    sent = threading.Event()

    def script(peer: Any) -> str:
        peer.send(response(run_of(peer)))
        if run_of(peer) == "a":
            peer.send(response("stray"))
        sent.set()
        return faults.KEEP_OPEN

    server = serve(script)

    seen = get_runs(transport, f"http://127.0.0.1:{server.port}", ["a", "b"], lambda: sent.wait(5) and None)

    assert "stray" not in seen
    assert seen[0] == "a"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_gets_the_credentials_of_its_url(transport: str, serve: Any, faults: Any, scheme: str) -> None:
    server = serve([b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"])
    proxy = f"us%40er:pass%2Fword@127.0.0.1:{server.port}"

    with faults.environment(**{f"{scheme}_proxy": proxy}):
        outcome = faults.call(transport, "get", f"{scheme}://gateway.invalid", server)

    expected = base64.b64encode(b"us@er:pass/word")
    assert b"proxy-authorization: Basic " + expected in server.requests[0].replace(b"Proxy-A", b"proxy-a")
    assert outcome.requests == 1
    assert "pass" not in str(outcome.raised) or "password" in str(outcome.raised)
    assert "pass%2Fword" not in repr(outcome.raised)


def test_a_proxy_that_cannot_be_used_is_an_invalid_connection(transport: str, faults: Any) -> None:
    with faults.environment(all_proxy="socks5://proxy:1080"):
        outcome = faults.call(transport, "post", "https://gateway.invalid")

    assert outcome.error == PortkeyConnectionInvalidError.__name__
    assert outcome.log == ()


@pytest.mark.parametrize("where", ["verify", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_ca_bundle_that_cannot_be_used_is_an_invalid_connection(
    transport: str, faults: Any, tmp_path: Path, where: str, content: str | None
) -> None:
    bundle = tmp_path / "ca.pem"
    if content is not None or where == "verify":
        bundle.write_text(content or "")

    with faults.environment(no_proxy="*", **({} if where == "verify" else {where: str(bundle)})):
        extra = {"verify": str(bundle)} if where == "verify" else {}
        outcome = faults.call(transport, "post", "https://gateway.invalid", **extra)

    assert outcome.error == PortkeyConnectionInvalidError.__name__
    assert str(bundle) in outcome.message
    assert outcome.log == ()


@pytest.mark.parametrize("where", ["verify", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "verify=False"])
def test_a_certificate_is_trusted_where_the_connection_or_the_environment_says_so(
    transport: str, serve: Any, faults: Any, where: str
) -> None:
    server = serve([response("run_1")], tls=faults.server_tls())
    bundle = faults.certificate()
    extra = {"verify": {"verify": bundle}, "verify=False": {"verify": False}}.get(where, {})

    with faults.environment(no_proxy="*", **({} if extra else {where: bundle})):
        outcome = faults.call(transport, "get", f"https://127.0.0.1:{server.port}", server, **extra)

    assert outcome.result == {"id": "run_1", "status": "completed"}


def test_debug_lines_of_the_libraries_show_no_secret(transport: str, serve: Any, faults: Any) -> None:
    server = serve([response("run_1", "500 X")])

    with faults.collect("urllib3") as of_urllib3, faults.collect("aiohttp") as of_aiohttp:
        faults.call(transport, "get", f"http://127.0.0.1:{server.port}", server)

    lines = of_urllib3 + of_aiohttp
    assert lines or transport == "aiohttp"
    assert "s3cret" not in " ".join(lines)


def test_a_server_that_repeats_the_url_shows_no_secret(transport: str, serve: Any, faults: Any) -> None:
    def script(peer: Any) -> None:
        target = peer.head.split()[1].decode()
        body = json.dumps({"error": {"message": f"cannot GET {target}\x1b[31m\n\u202eforged"}}).encode()
        peer.send(f"HTTP/1.1 500 X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    server = serve(script)

    outcome = faults.call(transport, "get", f"http://127.0.0.1:{server.port}", server)

    assert "cannot GET /v1/threads/thread_1/runs/run_1?token=***\\x1b[31m\\n\\u202eforged" in outcome.message


def test_gets_do_not_log_their_bodies(transport: str, serve: Any, faults: Any) -> None:
    server = serve(lambda peer: peer.send(response("run_1")))

    for method, extra in (("get", {}), ("get", {"log_polls": True}), ("post", {})):
        faults.call(transport, method, f"http://127.0.0.1:{server.port}", server, **extra)

    assert [b"x-portkey-debug: false" in request.lower() for request in server.requests] == [True, False, False]
