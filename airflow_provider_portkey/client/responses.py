"""
What a response means: a JSON object, or which error, refused by whom, with which advice.

Decided here for both transports, for downloads too. ``exceptions.error_for_status`` has the class for each status.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_portkey.client.redaction import escape_unprintable
from airflow_provider_portkey.client.retries import read_retry_after
from airflow_provider_portkey.client.settings import TRACE_HEADER
from airflow_provider_portkey.exceptions import PortkeyRequestError, PortkeyUnreachableError, error_for_status
from airflow_provider_portkey.json_values import read_json

if TYPE_CHECKING:
    from airflow_provider_portkey.client.attempts import Attempt
    from airflow_provider_portkey.client.settings import ConnectionSettings

#: Longest body in bytes. A page of a hundred steps with code interpreter output has some 5 MB.
MAX_BODY_BYTES = 64 * 1024 * 1024
#: Characters of a body without a message that an error shows.
_MAX_BODY_SHOWN = 300
#: Characters of a server's message that an error shows.
_MAX_MESSAGE_SHOWN = 1_000
#: Characters of a server's string that are searched for secrets.
_MAX_REDACTED = 64 * 1024
#: Characters of the longest secret in its longest spelling.
_MAX_SECRET = 16 * 1024

#: What ``settings.request_headers`` accepts; without further libraries neither transport decodes more.
_ENCODINGS = frozenset({"", "identity", "gzip", "deflate"})

_PORTKEY = "portkey"
_PROVIDER = "provider"

_ADVICE = {
    (401, _PORTKEY): "Check the Portkey API key: the connection's password.",
    (401, _PROVIDER): "Check the provider's own key: the connection's provider_api_key, or the key behind its "
    "virtual_key, provider slug or config in Portkey.",
    (401, None): "Check both keys of the connection: the Portkey API key and the provider's own.",
    (403, _PORTKEY): "Give the Portkey API key the scope that this call needs.",
    (403, _PROVIDER): "Give the provider's key the permission that this call needs.",
    (408, None): "The provider was too slow for the gateway.",
    (412, None): "A budget or a usage limit that is set in Portkey is spent: raise it or wait for its reset.",
    (429, None): "Slow down, or raise the limit.",
    (446, None): "A guardrail that is set in Portkey denied the request.",
}
_RETIRED = (
    "Either there is no such id, or the provider behind Portkey has retired the Assistants API "
    "(OpenAI and Azure OpenAI did on 2026-08-26)."
)


class Response(NamedTuple):
    """
    One HTTP response, whichever transport received it.

    :param method: The request's method.
    :param path: The request's path below the base URL, without the query.
    :param status: HTTP status.
    :param headers: The response's headers, case-insensitive.
    :param body: Complete and decompressed.
    """

    method: str
    path: str
    status: int
    headers: Mapping[str, str]
    body: bytes


def read_response(response: Response, settings: ConnectionSettings) -> dict[str, Any]:
    """
    Return the JSON object of a successful response.

    :raises PortkeyRequestError: the subclass for the status; ``PortkeyUnexpectedResponseError`` for a 2xx whose body is
        no JSON object.
    """
    parsed = _parse(response.body)
    if 200 <= response.status < 300 and isinstance(parsed, dict):
        return parsed
    raise error_from_response(response, settings)


def check_encoding(headers: Mapping[str, str], method: str, path: str, settings: ConnectionSettings) -> None:
    """
    Check that both transports decode the body.

    :raises PortkeyUnreachableError: for an encoding that was not requested.
    """
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in _ENCODINGS:
        raise unreachable_error(method, path, f"the body has the encoding {encoding!r}, not requested", settings)


def check_body_size(size: int, method: str, path: str, settings: ConnectionSettings) -> None:
    """
    Check the bytes of a body that are read so far.

    :raises PortkeyUnreachableError: above :data:`MAX_BODY_BYTES`; the rest is not read.
    """
    if size > MAX_BODY_BYTES:
        raise unreachable_error(method, path, f"the body has more than {MAX_BODY_BYTES} bytes", settings)


def unreachable_error(
    method: str, path: str, reason: str, settings: ConnectionSettings, attempt: Attempt | None = None
) -> PortkeyUnreachableError:
    """
    Return the error for a request without a complete response.

    :param reason: Why there is none.
    :param attempt: Says whether the deadline is the reason, and whether the request cannot have reached the server.
    """
    if attempt is not None and attempt.is_over:
        reason = attempt.overdue
    reason = _shown(reason, settings)
    message = (
        f"{method} {path} got no complete response from {settings.base_url}: {reason}. "
        "Check the connection's host and port, and that the gateway is up."
    )
    return PortkeyUnreachableError(
        settings.redact(message),
        server_message=reason,
        request_sent=attempt is None or attempt.request_sent,
        trace_id=settings.trace_id,
    )


def _parse(body: bytes) -> Any:
    try:
        return read_json(body)
    except (ValueError, RecursionError):
        return None


def error_from_response(response: Response, settings: ConnectionSettings) -> PortkeyRequestError:
    """Return the error for a response that is not the expected one."""
    parsed = _parse(response.body)
    refused_by = _refused_by(response, parsed)
    trace_id = _header(response, TRACE_HEADER, settings) or settings.trace_id
    request_id = _header(response, "x-request-id", settings)
    traces = [
        f"{name} {value}"
        for name, value in (
            ("trace id", trace_id),
            ("request id", request_id),
            ("gateway retries", _header(response, "x-portkey-retry-attempt-count", settings)),
        )
        if value and value != "0"
    ]
    server_message = _server_message(response, parsed, settings).rstrip(".")
    summary = f"{response.method} {response.path}: {_summary(response, server_message, refused_by, settings)}"
    message = f"{summary} ({', '.join(traces)})." if traces else f"{summary}."
    if advice := _advice(response, refused_by):
        message = f"{message} {advice}"
    return error_for_status(response.status)(
        settings.redact(message),
        server_message=server_message,
        status_code=response.status,
        refused_by=refused_by,
        trace_id=trace_id,
        request_id=request_id,
        retry_after=read_retry_after(response.headers, time.time()),
    )


def _refused_by(response: Response, parsed: Any) -> str | None:
    """Errors of Portkey and its gateway have ``status`` or ``success``; those of a provider an ``error`` object."""
    if response.status < 400:
        return None
    if response.headers.get("x-portkey-gateway-exception") == "true" or response.status in (412, 446):
        return _PORTKEY
    if isinstance(parsed, dict):
        if parsed.get("status") == "failure" or parsed.get("success") is False:
            return _PORTKEY
        if isinstance(error := parsed.get("error"), dict):
            return _PORTKEY if response.status == 408 and error.get("type") == "timeout_error" else _PROVIDER
        if "error" in parsed:
            return _PROVIDER
    return _PORTKEY if _is_fetch_failure(response) else None


def _is_fetch_failure(response: Response) -> bool:
    """Return whether the gateway could not reach the provider, which it reports as plain text."""
    return response.status == 500 and response.body.startswith(b"Message: ")


def _summary(response: Response, server_message: str, refused_by: str | None, settings: ConnectionSettings) -> str:
    who = {_PORTKEY: "Portkey", _PROVIDER: "the provider behind Portkey"}.get(refused_by or "", "the server")
    if response.status < 200:
        return f"the server returned {response.status}, an informational response without a final one"
    if response.status < 300:
        kind = _header(response, "content-type", settings) or "no content type"
        return f"the server returned {response.status} with a body that is no JSON object ({kind}): {server_message}"
    if response.status < 400:
        return f"the server returned {response.status}, {server_message}"
    if _is_fetch_failure(response):
        return f"the gateway could not reach the provider ({response.status}): {server_message}"
    verb = "failed" if response.status >= 500 else "refused"
    return f"{who} {verb} ({response.status}): {server_message}"


def _server_message(response: Response, parsed: Any, settings: ConnectionSettings) -> str:
    if 300 <= response.status < 400:
        target = _header(response, "location", settings) or ""
        return f"a redirect to '{target.partition('?')[0]}', which is not followed: the API keys would be sent along"
    return _shown(_message_in(parsed), settings) or _beginning(response.body, settings)


def _header(response: Response, name: str, settings: ConnectionSettings) -> str | None:
    return _shown(response.headers.get(name) or "", settings) or None


def _shown(message: str, settings: ConnectionSettings, limit: int = _MAX_MESSAGE_SHOWN) -> str:
    """Return a server's string as errors and logs show it: the only way in. Redacted before it is cut."""
    redacted = settings.redact(message[:_MAX_REDACTED])
    if len(message) > _MAX_REDACTED:
        redacted = redacted[:-_MAX_SECRET]  # half a secret could not be recognised
    return escape_unprintable(redacted[:limit])


def _message_in(parsed: Any) -> str:
    if not isinstance(parsed, dict):
        return ""
    for holder in (parsed.get("error"), parsed.get("data"), parsed):
        if isinstance(holder, str):
            return holder
        if isinstance(holder, dict) and holder.get("message"):
            code = holder.get("code") or holder.get("errorCode")
            return f"{holder['message']}" + (f" ({code})" if code else "")
    return ""


def _beginning(body: bytes, settings: ConnectionSettings) -> str:
    decoded = body[: 4 * _MAX_REDACTED].decode("utf-8", "replace")
    beginning = _shown(" ".join(decoded.split()), settings, _MAX_BODY_SHOWN)
    return f"'{beginning}'" if beginning else "an empty body"


def _advice(response: Response, refused_by: str | None) -> str:
    if response.status in (404, 410) and response.path.startswith("/threads"):
        return _RETIRED
    if response.status < 400:
        return "Check the connection's host: it should be a Portkey gateway, ending in /v1."
    return _ADVICE.get((response.status, refused_by)) or _ADVICE.get((response.status, None)) or ""
