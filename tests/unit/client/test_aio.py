from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Awaitable, Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import pytest

from airflow_provider_portkey import exceptions
from airflow_provider_portkey.client.aio import AsyncPortkeyClient, open_client
from airflow_provider_portkey.client.settings import ConnectionSettings, read_settings

T = TypeVar("T")
#: Ends the pauses of a dripping answer when the test is over.
NEVER = Event()
RUN = "/threads/{thread_id}/runs/{run_id}"
IDS = {"thread_id": "thread_1", "run_id": "run_1"}


def credentials_for(url: str, **extra: Any) -> ConnectionSettings:
    return read_settings(host=url, api_key="pk-secret-key", extra={"max_retries": 2, **extra})


def call(settings: ConnectionSettings, use: Callable[[AsyncPortkeyClient], Awaitable[T]]) -> T:
    async def main() -> T:
        async with open_client(settings) as client:
            return await use(client)

    return asyncio.run(main())


def get_run(client: AsyncPortkeyClient) -> Awaitable[dict[str, Any]]:
    return client.get(RUN, IDS)


def cancel_run(client: AsyncPortkeyClient) -> Awaitable[dict[str, Any]]:
    return client.post(RUN + "/cancel", IDS)


def send(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def good(handler: BaseHTTPRequestHandler) -> None:
    send(handler, b'{"id": "run_1"}')


def refusal(status: int, body: bytes = b'{"error": {"message": "no"}}', **headers: str) -> Callable[..., None]:
    return lambda handler: send(handler, body, status, **headers)


@pytest.fixture
def async_waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits that retries on the event loop asked for; none of them is slept."""
    asked: list[float] = []
    yield_to_others = asyncio.sleep

    async def sleep(seconds: float) -> None:
        asked.append(seconds)
        await yield_to_others(0)

    monkeypatch.setattr("asyncio.sleep", sleep)
    return asked


def test_a_get_carries_the_connections_headers_and_query(loopback: Callable[..., Any]) -> None:
    server = loopback(good)
    extra = {
        "provider": "openai",
        "provider_api_key": "sk-1",
        "query": {"api-version": "2025 preview", "tag": ["a", "b&c"]},
    }

    assert call(credentials_for(server.url, **extra), get_run) == {"id": "run_1"}

    (request,) = server.requests
    assert request.path == "/v1/threads/thread_1/runs/run_1?api-version=2025+preview&tag=a&tag=b%26c"
    assert request.headers["x-portkey-api-key"] == "pk-secret-key"
    assert request.headers["x-portkey-provider"] == "openai"
    assert request.headers["Authorization"] == "Bearer sk-1"
    assert request.headers["OpenAI-Beta"] == "assistants=v2"
    assert request.body == b""


def test_without_a_query_of_the_connection_none_is_sent(loopback: Callable[..., Any]) -> None:
    server = loopback(good)

    call(credentials_for(server.url), get_run)

    assert server.requests[0].path == "/v1/threads/thread_1/runs/run_1"


def test_a_query_of_the_call_goes_behind_the_connections_own(loopback: Callable[..., Any]) -> None:
    server = loopback(good)
    query = [("limit", "100"), ("after", "run_1&2")]

    call(credentials_for(server.url, query={"v": "1"}), lambda client: client.get(RUN, IDS, query))

    assert server.requests[0].path == "/v1/threads/thread_1/runs/run_1?v=1&limit=100&after=run_1%262"


def test_a_post_sends_an_empty_json_object(loopback: Callable[..., Any]) -> None:
    server = loopback(good)

    call(credentials_for(server.url), cancel_run)

    (request,) = server.requests
    assert (request.method, request.body, request.headers["Content-Type"]) == ("POST", b"{}", "application/json")
    assert request.path == "/v1/threads/thread_1/runs/run_1/cancel"


@pytest.mark.parametrize(
    ("hostile", "segment"),
    [
        ("a/../b", "a%2F..%2Fb"),
        ("../models", "..%2Fmodels"),
        ("%2e%2e", "%252e%252e"),
        ("a?b#c", "a%3Fb%23c"),
        ("a b+c", "a%20b%2Bc"),
        ("线", "%E7%BA%BF"),
    ],
)
def test_a_hostile_id_arrives_in_one_segment(loopback: Callable[..., Any], hostile: str, segment: str) -> None:
    server = loopback(good)
    settings = credentials_for(server.url, query={"v": "1"})

    call(settings, lambda client: client.get(RUN, {**IDS, "thread_id": hostile}))

    assert server.requests[0].path == f"/v1/threads/{segment}/runs/run_1?v=1"


@pytest.mark.parametrize("wrong", ["", "..", None])
def test_what_is_no_id_is_refused_before_anything_is_sent(loopback: Callable[..., Any], wrong: Any) -> None:
    server = loopback(good)

    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match=r"^thread_id="):
        call(credentials_for(server.url), lambda client: client.post(RUN, {**IDS, "thread_id": wrong}))

    assert server.requests == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("use", [get_run, cancel_run])
def test_a_redirect_is_never_followed(loopback: Callable[..., Any], status: int, use: Any) -> None:
    collector = loopback(good)
    server = loopback(refusal(status, b"", Location=f"{collector.url}/v1/collect"))

    with pytest.raises(exceptions.PortkeyRedirectedError, match="which is not followed"):
        call(credentials_for(server.url), use)

    assert len(server.requests) == 1
    assert collector.requests == []


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (
            401,
            b'{"status": "failure", "message": "Portkey Error: Invalid API Key: pk-secret-key"}',
            exceptions.PortkeyAuthenticationError,
        ),
        (404, b'{"error": {"message": "No run pk-secret-key"}}', exceptions.PortkeyNotFoundError),
        (503, b"pk-secret-key", exceptions.PortkeyServerError),
        (200, b"<html>pk-secret-key</html>", exceptions.PortkeyUnexpectedResponseError),
    ],
)
def test_a_get_is_tried_once_and_its_error_is_typed_and_clean(
    loopback: Callable[..., Any], status: int, body: bytes, error: type[Exception]
) -> None:
    server = loopback(refusal(status, body, X_Request_Id="req_9"))

    with pytest.raises(error) as raised:
        call(credentials_for(server.url), get_run)

    assert raised.value.status_code == status
    assert raised.value.request_id == "req_9"
    assert "pk-secret-key" not in str(raised.value)
    assert len(server.requests) == 1


def test_an_answer_names_the_seconds_to_wait(loopback: Callable[..., Any]) -> None:
    server = loopback(refusal(429, Retry_After="7"))

    with pytest.raises(exceptions.PortkeyRateLimitedError) as raised:
        call(credentials_for(server.url), get_run)

    assert raised.value.retry_after == 7.0


def test_a_post_that_was_turned_away_is_sent_again(loopback: Callable[..., Any], async_waits: list[float]) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        send(handler, b'{"id": "run_1"}', 200 if len(server.requests) > 1 else 429, Retry_After="3")

    server = loopback(answer)

    assert call(credentials_for(server.url), cancel_run) == {"id": "run_1"}

    assert len(server.requests) == 2
    assert len(async_waits) == 1
    assert 3 <= async_waits[0] <= 3.3


@pytest.mark.parametrize("status", [408, 500, 503])
def test_a_post_whose_outcome_is_unknown_is_not_sent_again(loopback: Callable[..., Any], status: int) -> None:
    server = loopback(refusal(status))

    with pytest.raises(exceptions.PortkeyRequestError):
        call(credentials_for(server.url), cancel_run)

    assert len(server.requests) == 1


def test_a_port_where_nobody_listens_is_unreachable_and_was_not_sent(
    closed_port: str, async_waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    with pytest.raises(exceptions.PortkeyUnreachableError, match="Connect call failed") as raised:
        call(credentials_for(closed_port, query={"token": "query-secret"}), cancel_run)

    assert raised.value.request_sent is False
    assert "query-secret" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert len(async_waits) == 2


def test_a_port_that_does_not_accept_in_time_was_not_sent_to(deaf_port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    with pytest.raises(exceptions.PortkeyUnreachableError, match="Timeout") as raised:
        call(credentials_for(deaf_port, connect_timeout=0.2, read_timeout=5), get_run)

    assert raised.value.request_sent is False


def cut_short(handler: BaseHTTPRequestHandler) -> None:
    send(handler, b'{"id": "run_1"}', Content_Length="1000")
    handler.close_connection = True


def no_answer_at_all(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def broken_gzip(handler: BaseHTTPRequestHandler) -> None:
    send(handler, b"this is not gzip", Content_Encoding="gzip")


def not_http(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")
    handler.close_connection = True


@pytest.mark.parametrize("answer", [cut_short, no_answer_at_all, broken_gzip, not_http])
def test_a_broken_answer_is_unreachable_and_was_sent(loopback: Callable[..., Any], answer: Any) -> None:
    server = loopback(answer)

    with pytest.raises(exceptions.PortkeyUnreachableError) as raised:
        call(credentials_for(server.url, query={"token": "query-secret"}), cancel_run)

    assert raised.value.request_sent is True
    assert raised.value.server_message
    assert "query-secret" not in str(raised.value)
    assert len(server.requests) == 1


def drip_body(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    drip(handler)


def drip_headers(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    drip(handler)


def drip(handler: BaseHTTPRequestHandler) -> None:
    for _ in range(40):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        NEVER.wait(0.05)


def silence(handler: BaseHTTPRequestHandler) -> None:
    NEVER.wait(2)


@pytest.mark.parametrize("answer", [drip_body, drip_headers, silence])
def test_a_slow_answer_ends_at_the_deadline_of_the_try(loopback: Callable[..., Any], answer: Any) -> None:
    server = loopback(answer)
    started = time.monotonic()

    with pytest.raises(exceptions.PortkeyUnreachableError, match="Timeout"):
        call(credentials_for(server.url, connect_timeout=0.1, read_timeout=0.2), get_run)

    assert time.monotonic() - started < 1.0


def test_a_body_over_the_limit_is_not_read_to_its_end(
    loopback: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_portkey.client.aio.MAX_BODY_BYTES", 1000)
    server = loopback(lambda handler: send(handler, gzip.compress(b" " * 100_000), Content_Encoding="gzip"))

    with pytest.raises(exceptions.PortkeyUnreachableError, match="more than 1000 bytes came"):
        call(credentials_for(server.url), get_run)


def test_a_compressed_answer_is_read(loopback: Callable[..., Any]) -> None:
    server = loopback(lambda handler: send(handler, gzip.compress(b'{"id": "run_1"}'), Content_Encoding="gzip"))

    assert call(credentials_for(server.url), get_run) == {"id": "run_1"}


@pytest.mark.parametrize("provider_api_key", ["sk-provider", None])
def test_a_netrc_entry_does_not_replace_the_authorization(
    loopback: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider_api_key: str | None
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login any password one\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server = loopback(good)

    call(credentials_for(server.url, provider_api_key=provider_api_key), get_run)

    assert server.requests[0].headers["Authorization"] == (provider_api_key and f"Bearer {provider_api_key}")


def test_the_environments_proxy_is_used(loopback: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = loopback(good)
    monkeypatch.setenv("http_proxy", proxy.url)

    assert call(credentials_for("http://gateway.invalid"), get_run) == {"id": "run_1"}
    assert proxy.requests[0].path == "http://gateway.invalid/v1/threads/thread_1/runs/run_1"


def test_no_proxy_of_the_environment_is_heeded(loopback: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, server = loopback(good), loopback(good)
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    call(credentials_for(server.url), get_run)

    assert (len(server.requests), len(proxy.requests)) == (1, 0)


def test_a_bundle_without_certificates_is_a_typed_error(loopback: Callable[..., Any], tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()

    with pytest.raises(exceptions.PortkeyError):
        call(credentials_for("https://127.0.0.1:9", verify=str(bundle)), get_run)


def test_clients_with_equal_credentials_share_a_session_until_the_last_leaves(loopback: Callable[..., Any]) -> None:
    server = loopback(good)

    async def main() -> None:
        async with open_client(credentials_for(server.url)) as first:
            session = first._session
            async with open_client(credentials_for(server.url)) as second:
                assert second._session is session
                await get_run(first)
                await get_run(second)
            assert not session.closed
            await get_run(first)
        assert session.closed
        async with open_client(credentials_for(server.url)) as later:
            assert later._session is not session
            await get_run(later)

    asyncio.run(main())

    assert len(server.requests) == 4
    assert server.connections == 2


def test_clients_that_open_at_the_same_moment_share_a_session(loopback: Callable[..., Any]) -> None:
    server = loopback(good)
    sessions = set()

    async def use() -> None:
        async with open_client(credentials_for(server.url)) as client:
            sessions.add(client._session)
            await get_run(client)

    async def main() -> None:
        await asyncio.gather(*(use() for _ in range(20)))

    asyncio.run(main())

    assert len(sessions) == 1
    assert all(session.closed for session in sessions)
    assert len(server.requests) == 20


def test_who_is_cancelled_while_the_session_opens_leaves_it_to_the_others(loopback: Callable[..., Any]) -> None:
    server = loopback(good)
    sessions = []

    async def use() -> dict[str, Any]:
        async with open_client(credentials_for(server.url)) as client:
            sessions.append(client._session)
            return await get_run(client)

    async def main() -> list[Any]:
        tasks = [asyncio.create_task(use()) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    cancelled, *answers = asyncio.run(main())

    assert isinstance(cancelled, asyncio.CancelledError)
    assert answers == [{"id": "run_1"}] * 2
    assert len(set(sessions)) == 1
    assert sessions[0].closed


def test_other_credentials_have_another_session(loopback: Callable[..., Any]) -> None:
    server = loopback(good)

    async def main() -> None:
        async with (
            open_client(credentials_for(server.url)) as one,
            open_client(credentials_for(server.url, virtual_key="vk-other")) as other,
        ):
            assert one._session is not other._session
            await get_run(other)

    asyncio.run(main())

    assert server.requests[0].headers["x-portkey-virtual-key"] == "vk-other"


def test_each_event_loop_has_its_own_session(loopback: Callable[..., Any]) -> None:
    server = loopback(good)
    loops = [asyncio.new_event_loop() for _ in range(2)]
    opened = [open_client(credentials_for(server.url)) for _ in loops]
    clients = [loop.run_until_complete(one.__aenter__()) for loop, one in zip(loops, opened, strict=True)]
    try:
        assert clients[0]._session is not clients[1]._session
        for loop, client in zip(loops, clients, strict=True):
            assert loop.run_until_complete(client.get(RUN, IDS)) == {"id": "run_1"}
    finally:
        for loop, one in zip(loops, opened, strict=True):
            loop.run_until_complete(one.__aexit__(None, None, None))
            loop.close()
    assert all(client._session.closed for client in clients)


@pytest.mark.parametrize("raised", [RuntimeError("in the block"), asyncio.CancelledError()])
def test_the_session_is_closed_whatever_ends_the_block(loopback: Callable[..., Any], raised: BaseException) -> None:
    server = loopback(good)
    sessions = []

    async def main() -> None:
        async with open_client(credentials_for(server.url)) as client:
            sessions.append(client._session)
            raise raised

    with pytest.raises(type(raised)):
        asyncio.run(main())

    assert sessions[0].closed


def test_clients_with_trace_ids_of_their_own_share_a_session(loopback: Callable[..., Any]) -> None:
    server = loopback(good)

    async def main() -> None:
        async with (
            open_client(credentials_for(server.url), trace_id="a") as one,
            open_client(credentials_for(server.url), trace_id="b") as other,
            open_client(credentials_for(server.url)) as third,
        ):
            assert one._session is other._session is third._session
            await get_run(one)
            await cancel_run(other)
            await get_run(third)

    asyncio.run(main())

    assert [request.headers["x-portkey-trace-id"] for request in server.requests] == ["a", "b", None]


def test_a_broken_answer_has_the_trace_id_that_was_sent(loopback: Callable[..., Any]) -> None:
    server = loopback(no_answer_at_all)

    async def main() -> None:
        async with open_client(credentials_for(server.url), trace_id="a") as client:
            await get_run(client)

    with pytest.raises(exceptions.PortkeyUnreachableError) as raised:
        asyncio.run(main())

    assert raised.value.trace_id == "a"
