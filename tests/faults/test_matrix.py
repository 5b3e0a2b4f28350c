"""
Every fault through both clients: the same exception, the same number of requests, the same log.

``docs/reliability.md`` has the outcomes; ``--update-docs`` writes the page.
"""

from __future__ import annotations

import functools
import gzip
import json
import socket
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_portkey.polling.poller import is_final

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
#: Seconds of an attempt against a server that never ends its response.
SHORT = {"connect_timeout": 0.3, "read_timeout": 0.5}
JOB = b'{"id": "run_1", "status": "completed"}'


def response(body: bytes = JOB, status: str = "200 OK", *headers: str) -> bytes:
    head = "\r\n".join((f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers))
    return head.encode() + b"\r\n\r\n" + body


def head(*headers: str) -> bytes:
    return "\r\n".join(("HTTP/1.1 200 OK", *headers)).encode() + b"\r\n\r\n"


def encoded(body: bytes, encoding: str) -> bytes:
    return response(body, "200 OK", f"Content-Encoding: {encoding}")


def chunk(part: bytes) -> bytes:
    return f"{len(part):x}\r\n".encode() + part + b"\r\n"


def sends(*parts: bytes) -> Callable[[Any], Any]:
    return lambda peer: peer.send(*parts)


def responds(*parts: bytes) -> Callable[[Any], str]:
    """Send a whole response, and serve the next request on the same connection."""

    def script(peer: Any) -> str:
        peer.send(*parts)
        return "keep open"

    return script


def drips(begin: bytes, part: bytes) -> Callable[[Any], Any]:
    """Send a beginning at once, and then a part for ever."""

    def script(peer: Any) -> None:
        peer.send(begin)
        peer.drip(part)

    return script


def resets(begin: bytes) -> Callable[[Any], Any]:
    def script(peer: Any) -> None:
        peer.send(begin)
        peer.reset()

    return script


def holds(begin: bytes) -> Callable[[Any], Any]:
    def script(peer: Any) -> None:
        peer.send(begin)
        peer.hold()

    return script


CHUNKS = "Transfer-Encoding: chunked"
CHUNKED = head(CHUNKS)
GZIP_CHUNKED = head(CHUNKS, "Content-Encoding: gzip")
#: A gzip header with a file name that has not ended (RFC 1952, section 2.3).
GZIP_NAME = b"\x1f\x8b\x08\x08\0\0\0\0\0\xff"
GZIP_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
#: A stored block of no bytes (RFC 1951, section 3.2.4).
EMPTY_BLOCK = b"\0\0\0\xff\xff"


def provider_error(message: str, code: str | None = None) -> bytes:
    return json.dumps({"error": {"message": message, "type": "x", "code": code}}).encode()


def portkey_error(message: str) -> bytes:
    return json.dumps({"status": "failure", "message": message}).encode()


@dataclass(frozen=True)
class Fault:
    """
    A fault, as a row of the page.

    :param what: What happens, as the page says it.
    :param section: Part of the page.
    :param script: Sends the response.
    :param fix: What to do.
    :param place: Where the connection leads: ``server``, or another place of :func:`place_of`.
    """

    section: str
    what: str
    script: Callable[[Any], Any] | None
    fix: str
    place: str = "server"

    @property
    def is_endless(self) -> bool:
        """Whether only a time-out ends the attempt."""
        return self.fix == SLOW or self.place == "deaf" or " drip" in self.what or "does not end" in self.what


NOT_SENT = "The request was not sent"
BROKEN = "No complete response"
STATUS = "An error response"
UNEXPECTED = "A response of something else"
FINE = "No fault"

NETWORK = "Check the connection's host and port, proxies and firewalls, from the worker and from the triggerer."
GATEWAY = "If it lasts, check the gateway and what lies before it: load balancer, proxy, ingress."
SLOW = "Raise `read_timeout`, or find the slow part: gateway, proxy, provider."
TLS = "Correct `verify`, the CA bundle, or the scheme of the base URL."
PROXY = "Check the proxy's rules and credentials, or add the gateway to `NO_PROXY`."
HOST = "Check the connection's host: another server responds."
REQUEST = "The request itself is wrong: the message says why."

FAULTS = [
    Fault(NOT_SENT, "connection refused", None, NETWORK, "closed"),
    Fault(NOT_SENT, "no response to connecting", None, NETWORK, "deaf"),
    Fault(NOT_SENT, "the host name is unknown", None, NETWORK, "unknown"),
    Fault(NOT_SENT, "the certificate is not trusted", sends(response()), TLS, "untrusted"),
    Fault(NOT_SENT, "`https` to a server without TLS", sends(b"HTTP/1.1 400 Bad Request\r\n\r\n"), TLS, "no TLS"),
    Fault(NOT_SENT, "the server closes during the TLS handshake", lambda peer: peer.reset(), TLS, "no TLS"),
    Fault(NOT_SENT, "the TLS handshake does not end", lambda peer: peer.hold(), NETWORK, "no TLS"),
    Fault(NOT_SENT, "the proxy cannot be reached", None, PROXY, "closed proxy"),
    Fault(NOT_SENT, "the proxy wants credentials (CONNECT, 407)", sends(response(b"", "407 Auth")), PROXY, "proxy"),
    Fault(NOT_SENT, "the proxy refuses (CONNECT, 403)", sends(response(b"", "403 Forbidden")), PROXY, "proxy"),
    Fault(NOT_SENT, "the proxy cannot reach the gateway (CONNECT, 502)", sends(response(b"", "502 X")), PROXY, "proxy"),
    Fault(NOT_SENT, "the proxy closes (CONNECT)", lambda peer: None, PROXY, "proxy"),
    Fault(NOT_SENT, "the proxy's response drips (CONNECT)", drips(b"HTTP/1.1 200 O", b"K"), PROXY, "proxy"),
    Fault(NOT_SENT, "the proxy's headers drip (CONNECT)", drips(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"), PROXY, "proxy"),
    Fault(BROKEN, "closed without a response", lambda peer: None, GATEWAY),
    Fault(BROKEN, "reset without a response", lambda peer: peer.reset(), GATEWAY),
    Fault(BROKEN, "closed within the status line", sends(b"HTTP/1.1 20"), GATEWAY),
    Fault(BROKEN, "closed within the headers", sends(b"HTTP/1.1 200 OK\r\nContent-Le"), GATEWAY),
    Fault(BROKEN, "closed within the body", sends(head("Content-Length: 1000") + JOB), GATEWAY),
    Fault(BROKEN, "closed within a chunk", sends(CHUNKED + b"ff\r\n{"), GATEWAY),
    Fault(BROKEN, "closed before the last chunk", sends(CHUNKED + chunk(JOB)), GATEWAY),
    Fault(BROKEN, "closed before the trailers end", sends(CHUNKED + chunk(JOB) + b"0\r\n"), GATEWAY),
    Fault(BROKEN, "reset within the body", resets(head("Content-Length: 1000") + JOB), GATEWAY),
    Fault(BROKEN, "a status of four digits", sends(response(JOB, "2000 OK")), GATEWAY),
    Fault(BROKEN, "a status below 100", sends(response(JOB, "099 OK")), GATEWAY),
    Fault(BROKEN, "HTTP/2 without TLS", sends(b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80\0\x04\0\x01\0\0"), HOST),
    Fault(BROKEN, "a header line of 1 MB", sends(head("A: " + "b" * 1_000_000, "Content-Length: 2") + b"{}"), GATEWAY),
    Fault(BROKEN, "10,000 header lines", sends(head(*["A: b"] * 10_000, "Content-Length: 2") + b"{}"), GATEWAY),
    Fault(BROKEN, "a negative length", sends(head("Content-Length: -5") + JOB), GATEWAY),
    Fault(BROKEN, "a length that is no number", sends(head("Content-Length: many") + JOB), GATEWAY),
    Fault(BROKEN, "two lengths", sends(head("Content-Length: 38", "Content-Length: 5") + JOB), GATEWAY),
    Fault(BROKEN, "a length and chunks", sends(head("Content-Length: 5", CHUNKS) + chunk(JOB) + b"0\r\n\r\n"), GATEWAY),
    Fault(BROKEN, "a header without a colon", sends(head("Content-Length: 38", "nonsense") + JOB), GATEWAY),
    Fault(BROKEN, "no HTTP", sends(b"SSH-2.0-OpenSSH_9.6\r\n"), HOST),
    Fault(BROKEN, "a status that is no number", sends(b"HTTP/1.1 abc OK\r\n\r\n"), GATEWAY),
    Fault(BROKEN, "a chunk size that is no number", sends(CHUNKED + b"zz\r\n" + JOB), GATEWAY),
    Fault(BROKEN, "a chunk of 10^300 bytes", sends(CHUNKED + b"f" * 250 + b"\r\n" + JOB), GATEWAY),
    Fault(BROKEN, "gzip that is none", sends(encoded(JOB, "gzip")), GATEWAY),
    Fault(BROKEN, "broken deflate", sends(encoded(b"\xff" * 9, "deflate")), GATEWAY),
    Fault(BROKEN, "silence", lambda peer: peer.hold(), SLOW),
    Fault(BROKEN, "silence within the headers", holds(b"HTTP/1.1 200 OK\r\n"), SLOW),
    Fault(BROKEN, "silence within the body", holds(head("Content-Length: 1000") + JOB), SLOW),
    Fault(BROKEN, "the status line drips", drips(b"HTTP/1.1 200 O", b"K"), SLOW),
    Fault(BROKEN, "header lines drip", drips(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"), SLOW),
    Fault(BROKEN, "informational responses (102, 103) without end", drips(b"", b"HTTP/1.1 103 Hints\r\n\r\n"), SLOW),
    Fault(BROKEN, "an informational response drips", drips(b"HTTP/1.1 103 Hints\r\n", b"Link: a\r\n"), SLOW),
    Fault(BROKEN, "the body drips", drips(head("Content-Length: 1000000"), b"x"), SLOW),
    Fault(BROKEN, "chunks drip", drips(CHUNKED, chunk(b" ")), SLOW),
    Fault(BROKEN, "a chunk's extension drips", drips(CHUNKED + b"5;a=", b"b"), SLOW),
    Fault(BROKEN, "trailers drip", drips(CHUNKED + chunk(JOB) + b"0\r\n", b"A: b\r\n"), SLOW),
    Fault(BROKEN, "a gzip header drips", drips(GZIP_CHUNKED + chunk(GZIP_NAME), chunk(b"n")), SLOW),
    Fault(BROKEN, "empty deflate blocks drip", drips(GZIP_CHUNKED + chunk(GZIP_HEAD), chunk(EMPTY_BLOCK)), SLOW),
    *(
        Fault(STATUS, f"{status} of Portkey", responds(response(portkey_error("No."), f"{status} X")), fix)
        for status, fix in [
            (400, REQUEST),
            (401, "Correct the Portkey API key; a wait continues with the new one."),
            (403, "Give the key the scope."),
            (408, SLOW),
            (412, "Raise the budget, or wait for its reset."),
            (429, "Run fewer tasks at the same time, poll less often, or raise the limit."),
            (446, "Change the guardrail or the config."),
            (500, GATEWAY),
            (503, GATEWAY),
        ]
    ),
    *(
        Fault(STATUS, f"{status} of the provider", responds(response(provider_error("No."), f"{status} X")), fix)
        for status, fix in [
            (400, REQUEST),
            (401, "Correct the provider's key; a wait continues with the new one."),
            (404, "Check the id, and whether the provider still serves this API."),
            (409, REQUEST),
            (410, "Check the id, and whether the provider still serves this API."),
            (422, REQUEST),
            (429, "Run fewer tasks at the same time, poll less often, or raise the limit."),
            (500, GATEWAY),
            (529, GATEWAY),
        ]
    ),
    Fault(
        STATUS,
        "the gateway cannot reach the provider (500)",
        responds(response(b"Message: fetch failed Cause: ECONNREFUSED", "500 X", "Content-Type: text/plain")),
        "Check `custom_host`, from the gateway's machine.",
    ),
    *(
        Fault(STATUS, f"{status} with HTML", responds(response(b"<html>Bad gateway</html>", f"{status} X")), GATEWAY)
        for status in (413, 502, 504, 520, 599)
    ),
    *(
        Fault(
            UNEXPECTED,
            f"a redirect ({status})",
            responds(response(b"", f"{status} X", "Location: https://login.example.com/?next=1")),
            "Enter the target as base URL, if it is the gateway. A POST may have been carried out.",
        )
        for status in (301, 302, 303, 307, 308)
    ),
    Fault(UNEXPECTED, "101", sends(b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), HOST),
    Fault(UNEXPECTED, "200 without a body", responds(response(b"")), HOST),
    Fault(UNEXPECTED, "204", responds(b"HTTP/1.1 204 No Content\r\n\r\n"), HOST),
    Fault(UNEXPECTED, "200 with HTML", responds(response(b"<html>", "200 OK", "Content-Type: text/html")), HOST),
    Fault(UNEXPECTED, "200 with a JSON array", responds(response(b"[1]")), HOST),
    Fault(UNEXPECTED, "200 with half of a gzip body", responds(encoded(gzip.compress(JOB)[:-12], "gzip")), GATEWAY),
    Fault(UNEXPECTED, "200 with half of the JSON", responds(response(JOB[:20])), GATEWAY),
    Fault(UNEXPECTED, "200 with bytes that are no text", responds(response(b"\xff\xfe{}")), HOST),
    Fault(UNEXPECTED, "JSON of 100,000 levels", responds(response(b'{"a":' + b"[" * 100_000)), GATEWAY),
    Fault(BROKEN, "an encoding that was not requested (br)", responds(encoded(b"\x8b\x03\x80{}\x03", "br")), GATEWAY),
    Fault(BROKEN, "an unknown encoding (rot13)", responds(encoded(JOB, "rot13")), GATEWAY),
    Fault(FINE, "102 and 103 before the response", responds(
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + response()
    ), ""),
    Fault(FINE, "100 and 103 before an error", responds(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + response(provider_error("No."), "404 X")
    ), ""),
    Fault(FINE, "a gzip body in chunks of one byte", responds(
        GZIP_CHUNKED, *(chunk(gzip.compress(JOB)[at : at + 1]) for at in range(len(gzip.compress(JOB)))), b"0\r\n\r\n"
    ), ""),
    Fault(FINE, "a deflate body", responds(encoded(zlib.compress(JOB), "deflate")), ""),
    Fault(FINE, "chunk extensions and trailers", responds(
        CHUNKED + f"{len(JOB):x};a=b\r\n".encode() + JOB + b"\r\n0\r\nA: b\r\n\r\n"
    ), ""),
    Fault(FINE, "a body until the connection closes", sends(head("Connection: close") + JOB), ""),
]  # fmt: skip


@contextmanager
def place_of(fault: Fault, faults: Any) -> Iterator[tuple[str, Any]]:
    """Set up where a connection leads: its URL, and the server that counts requests."""
    with ExitStack() as stack:
        variables = {"no_proxy": "*"}
        tls = faults.server_tls() if fault.place == "untrusted" else None
        server = faults.Server(fault.script or sends(), tls=tls, mute=fault.place == "no TLS")
        stack.callback(server.close)
        url = f"http://127.0.0.1:{server.port}"
        if fault.place.startswith("closed"):
            with socket.create_server(("127.0.0.1", 0)) as unused:
                url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        elif fault.place == "deaf":
            deaf = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
            for _ in range(4):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(deaf.getsockname())
            url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        elif fault.place == "unknown":
            url = "http://gateway.invalid"
        elif fault.place in ("untrusted", "no TLS"):
            url = url.replace("http:", "https:")
        if fault.place.endswith("proxy"):
            variables, url = {"https_proxy": url}, "https://gateway.invalid"
        stack.enter_context(faults.environment(**variables))
        yield url, server


@pytest.fixture(scope="module")
def outcome_of(faults: Any) -> Callable[[Fault, str, str], Any]:
    """Return what a fault, a transport and a method lead to."""

    @functools.cache
    def outcome_of(fault: Fault, transport: str, method: str) -> Any:
        with place_of(fault, faults) as (url, server):
            outcome = faults.call(transport, method, url, server, **(SHORT if fault.is_endless else {}))
            assert fault.place != "proxy" or all(request.startswith(b"CONNECT") for request in server.requests)
            return outcome

    return outcome_of


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("fault", FAULTS, ids=[fault.what for fault in FAULTS])
def test_both_transports_have_the_same_outcome(
    fault: Fault, method: str, outcome_of: Callable[..., Any], faults: Any
) -> None:
    worker, triggerer = (outcome_of(fault, name, method) for name in ("requests", "aiohttp"))

    assert worker == triggerer
    for outcome in (worker, triggerer):
        raised = list(chain(outcome.raised))
        assert len(raised) <= 1, "a chain would show the query"
        shown = " ".join([*map(str, raised), *map(repr, raised), *outcome.log])
        assert "s3cret" not in shown
        assert shown.isprintable()
        assert outcome.seconds < 8, "an endless attempt has 0.8 s, and there are three at most"
    if worker.error == "PortkeyUnreachableError":
        assert worker.request_sent is (fault.section != NOT_SENT)
    attempts = worker.requests if fault.section == STATUS else 1 + sum("Attempt" in line for line in worker.log)
    assert attempts == (3 if method == "post" and (fault.section == NOT_SENT or worker.status_code == 429) else 1)


BEGIN, END = "<!-- The tables of faults: begin -->\n", "<!-- The tables of faults: end -->\n"
COLUMNS = "| what happens | what the user sees | GET | POST | a wait | what to do |\n|---|---|---|---|---|---|"


def tables(outcome_of: Callable[[Fault, str, str], Any]) -> str:
    lines = []
    for section in (NOT_SENT, BROKEN, STATUS, UNEXPECTED):
        lines += [f"## {section}", "", COLUMNS]
        for fault in (fault for fault in FAULTS if fault.section == section):
            get, post = (outcome_of(fault, "requests", method) for method in ("get", "post"))
            is_transient = get.raised.transient
            cells = [
                fault.what,
                f"`{get.error}`",
                "repeated" if is_transient else "once",
                "repeated" if is_transient and post.raised.safe_to_retry else "once",
                "ends" if is_final(get.raised) else "continues",
                fault.fix,
            ]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def test_the_page_has_the_outcomes(outcome_of: Callable[..., Any], pytestconfig: pytest.Config) -> None:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    written, _, after = rest.partition(END)
    now = tables(outcome_of)
    if pytestconfig.getoption("--update-docs"):
        PAGE.write_text(f"{before}{BEGIN}{now}{END}{after}")
        written = now

    assert written == now
