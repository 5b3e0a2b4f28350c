"""Every request and every fault through both transports, which have to behave alike."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_portkey import exceptions

SECRET = "pk-secret-key"


def test_a_get_sends_the_headers_and_the_query_of_the_connection(
    transport: Any, loopback: Any, settings_for: Any
) -> None:
    server = loopback()
    extra = {
        "provider": "openai",
        "provider_api_key": "sk-1",
        "headers": {"x-portkey-trace-id": "t-1"},
        "query": {"api-version": "2025 preview", "tag": ["a", "b&c"]},
    }
    query = [("limit", "5"), ("include[]", "x[*].y"), ("after", "run_1&2")]

    assert transport.get(settings_for(server.url, **extra), query=query) == {"id": "run_1"}

    (request,) = server.requests
    assert request.path == (
        "/v1/threads/thread_1/runs/run_1?api-version=2025+preview&tag=a&tag=b%26c"
        "&limit=5&include%5B%5D=x%5B%2A%5D.y&after=run_1%262"
    )
    assert request.headers["x-portkey-api-key"] == SECRET
    assert request.headers["x-portkey-provider"] == "openai"
    assert request.headers["Authorization"] == "Bearer sk-1"
    assert request.headers["OpenAI-Beta"] == "assistants=v2"
    assert request.headers["x-portkey-trace-id"] == "t-1"
    assert request.body == b""


def test_a_get_without_a_query_sends_none(transport: Any, loopback: Any, settings_for: Any) -> None:
    server = loopback()

    transport.get(settings_for(server.url))

    assert server.requests[0].path == "/v1/threads/thread_1/runs/run_1"


@pytest.mark.parametrize(
    ("body", "sent", "content_type"),
    [(None, b"", None), ({}, b"{}", "application/json"), ({"a": 1}, b'{"a": 1}', "application/json")],
)
def test_a_post_without_a_body_sends_no_content_type(
    transport: Any, loopback: Any, settings_for: Any, body: Any, sent: bytes, content_type: str | None
) -> None:
    server = loopback()

    transport.post(settings_for(server.url), body=body)

    (request,) = server.requests
    assert (request.method, request.body, request.headers["Content-Type"]) == ("POST", sent, content_type)
    assert request.headers["Content-Length"] == str(len(sent))
    assert request.path == "/v1/threads/thread_1/runs/run_1/cancel"


@pytest.mark.parametrize(
    ("hostile", "segment"),
    [
        ("a/../b", "a%2F..%2Fb"),
        ("../models", "..%2Fmodels"),
        ("%2e%2e", "%252e%252e"),
        ("..%2Fmodels", "..%252Fmodels"),
        ("a?b#c", "a%3Fb%23c"),
        ("a b+c", "a%20b%2Bc"),
        ("线", "%E7%BA%BF"),
    ],
)
def test_a_hostile_id_stays_in_its_segment(
    transport: Any, loopback: Any, settings_for: Any, hostile: str, segment: str
) -> None:
    server = loopback()

    transport.get(settings_for(server.url, query={"v": "1"}), ids={"thread_id": hostile})

    assert server.requests[0].path == f"/v1/threads/{segment}/runs/run_1?v=1"


@pytest.mark.parametrize("wrong", ["", "..", None])
def test_an_invalid_id_is_refused_before_any_request(
    transport: Any, loopback: Any, settings_for: Any, wrong: Any
) -> None:
    server = loopback()

    for call in (transport.get, transport.post):
        with pytest.raises(exceptions.PortkeyInvalidArgumentError, match=r"^thread_id="):
            call(settings_for(server.url), ids={"thread_id": wrong})

    assert server.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_redirect_is_never_followed(
    transport: Any, loopback: Any, settings_for: Any, status: int, method: str
) -> None:
    target = loopback()
    server = loopback(body=b"", status=status, Location=f"{target.url}/v1/target")

    with pytest.raises(exceptions.PortkeyRedirectedError, match=f"{target.url}/v1/target") as raised:
        getattr(transport, method)(settings_for(server.url))

    assert raised.value.status_code == status
    assert len(server.requests) == 1
    assert target.requests == []


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
def test_an_error_response_has_its_exception_with_secrets_redacted(
    transport: Any, loopback: Any, settings_for: Any, status: int, body: bytes, error: type[Exception]
) -> None:
    server = loopback(body=body, status=status, X_Request_Id="req_9", Retry_After="7")

    with pytest.raises(error) as raised:
        transport.get(settings_for(server.url))

    assert raised.value.status_code == status  # type: ignore[attr-defined]
    assert raised.value.request_id == "req_9"  # type: ignore[attr-defined]
    assert raised.value.retry_after == 7.0  # type: ignore[attr-defined]
    assert SECRET not in str(raised.value)
    assert len(server.requests) == 1


def test_a_post_that_was_refused_is_retried(
    transport: Any, loopback: Any, settings_for: Any, retry_waits: list[float]
) -> None:
    server = loopback([{"status": 429, "Retry_After": "3"}, {}])

    assert transport.post(settings_for(server.url, max_retries=2)) == {"id": "run_1"}

    assert len(server.requests) == 2
    (wait,) = retry_waits
    assert 3 <= wait <= 3.3


@pytest.mark.parametrize("status", [408, 500, 503])
def test_a_post_of_unknown_outcome_is_not_retried(
    transport: Any, loopback: Any, settings_for: Any, retry_waits: list[float], status: int
) -> None:
    server = loopback(status=status, Retry_After="1")

    with pytest.raises(exceptions.PortkeyRequestError):
        transport.post(settings_for(server.url, max_retries=2))

    assert len(server.requests) == 1


def test_a_post_to_a_closed_port_was_not_sent_and_is_retried(
    transport: Any, closed_port: str, settings_for: Any, retry_waits: list[float]
) -> None:
    with pytest.raises(exceptions.PortkeyUnreachableError) as raised:
        transport.post(settings_for(closed_port, max_retries=2, query={"token": "query-secret"}))

    assert raised.value.request_sent is False
    assert f"got no complete response from {closed_port}/v1: " in str(raised.value)
    assert "query-secret" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert len(retry_waits) == 2


def test_a_connect_timeout_means_that_the_request_was_not_sent(
    transport: Any, deaf_port: str, settings_for: Any
) -> None:
    with pytest.raises(exceptions.PortkeyUnreachableError, match=r"(?i)timed?.?out") as raised:
        transport.get(settings_for(deaf_port, connect_timeout=0.2, read_timeout=5))

    assert raised.value.request_sent is False


def test_an_unknown_host_means_that_the_request_was_not_sent(
    transport: Any, settings_for: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")

    with pytest.raises(exceptions.PortkeyUnreachableError) as raised:
        transport.get(settings_for("http://gateway.invalid"))

    assert raised.value.request_sent is False


@pytest.mark.parametrize(
    "fault", ["cut in the body", "cut in a chunk", "cut between chunks", "no response", "broken gzip", "not HTTP"]
)
def test_a_broken_response_means_that_the_request_was_sent(
    transport: Any, loopback: Any, settings_for: Any, retry_waits: list[float], fault: str
) -> None:
    server = loopback(fault)
    settings = settings_for(server.url, max_retries=2, query={"token": "query-secret"}).with_trace_id("trace-1")

    with pytest.raises(exceptions.PortkeyUnreachableError) as raised:
        transport.post(settings)

    assert raised.value.request_sent is True
    assert raised.value.server_message
    assert raised.value.trace_id == "trace-1"
    assert "query-secret" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert len(server.requests) == 1


@pytest.mark.parametrize("fault", ["slow body", "slow headers", "silence"])
def test_an_endless_response_ends_at_the_deadline_of_the_attempt(
    transport: Any, loopback: Any, settings_for: Any, fault: str
) -> None:
    server = loopback(fault)

    with pytest.raises(exceptions.PortkeyUnreachableError) as raised:
        transport.get(settings_for(server.url, connect_timeout=0.1, read_timeout=0.2))

    assert raised.value.request_sent is True


@pytest.mark.parametrize("headers", [{}, {"Content_Encoding": "gzip"}])
def test_a_body_above_the_limit_is_not_read(
    transport: Any, loopback: Any, settings_for: Any, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    monkeypatch.setattr("airflow_provider_portkey.client.responses.MAX_BODY_BYTES", 1_000)

    def body(size: int) -> bytes:
        content = b'{"id": "' + b"x" * (size - 10) + b'"}'
        return gzip.compress(content) if headers else content

    longest = loopback(body=body(1_000), **headers)
    assert len(transport.get(settings_for(longest.url))["id"]) == 990

    longer = loopback(body=body(1_001), **headers)
    with pytest.raises(exceptions.PortkeyUnreachableError, match="the body has more than 1000 bytes"):
        transport.get(settings_for(longer.url))


@pytest.mark.parametrize("encoding", ["known length", "gzip", "chunks", "gzip in tiny chunks", "until closed"])
def test_a_large_body_is_complete_in_every_encoding(
    transport: Any, loopback: Any, settings_for: Any, encoding: str
) -> None:
    assert transport.get(settings_for(loopback(encoding).url)) == {"data": "äöü" * 60_000}


@pytest.mark.parametrize("provider_api_key", ["sk-provider", None])
def test_a_netrc_entry_does_not_replace_the_authorization(
    transport: Any,
    loopback: Any,
    settings_for: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    provider_api_key: str | None,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\ndefault login any password one\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server = loopback()

    transport.get(settings_for(server.url, provider_api_key=provider_api_key))

    assert server.requests[0].headers["Authorization"] == (provider_api_key and f"Bearer {provider_api_key}")


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_the_proxy_of_the_environment_is_used(
    transport: Any, loopback: Callable[..., Any], settings_for: Any, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    proxy = loopback()
    monkeypatch.setenv(variable, proxy.url)

    assert transport.get(settings_for("http://gateway.invalid")) == {"id": "run_1"}
    assert proxy.requests[0].path == "http://gateway.invalid/v1/threads/thread_1/runs/run_1"


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "127.0.0.0/8", "*"])
def test_no_proxy_of_the_environment_is_respected(
    transport: Any, loopback: Callable[..., Any], settings_for: Any, monkeypatch: pytest.MonkeyPatch, no_proxy: str
) -> None:
    proxy, server = loopback(), loopback()
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv("no_proxy", no_proxy)

    transport.get(settings_for(server.url))

    assert (len(server.requests), len(proxy.requests)) == (1, 0)


def test_a_ca_bundle_without_certificates_is_an_error_of_this_provider(
    transport: Any, loopback: Any, settings_for: Any, tmp_path: Path
) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    url = loopback().url.replace("http:", "https:")

    with pytest.raises(exceptions.PortkeyError):
        transport.get(settings_for(url, verify=str(bundle)))
