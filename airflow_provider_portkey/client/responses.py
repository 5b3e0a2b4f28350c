"""Is an answer what was asked for? If not, what happened, who refused, and what to do: decided here once."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.client.retries import read_retry_after
from airflow_provider_portkey.client.settings import TRACE_HEADER
from airflow_provider_portkey.exceptions import PortkeyRequestError, PortkeyUnreachableError, error_for_status

if TYPE_CHECKING:
    from airflow_provider_portkey.client.settings import ConnectionSettings

#: Bytes of one answer that are read. A page of a hundred steps with code interpreter output has some 5 MB.
MAX_BODY_BYTES = 64 * 1024 * 1024
#: Characters of an answer that an error shows.
_SHOWN = 300
#: Characters of a message that an error repeats.
_LONGEST_SAID = 1_000

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


@dataclass(frozen=True)
class Response:
    """
    One HTTP answer, whoever fetched it.

    :param method: Of the request.
    :param path: Of the request, below the base URL, without its query.
    :param headers: Of the answer; keys are looked up without regard to case.
    :param body: Whole and decompressed.
    """

    method: str
    path: str
    status: int
    headers: Mapping[str, str]
    body: bytes


def read_response(answer: Response, settings: ConnectionSettings) -> dict[str, Any]:
    """
    Return the JSON object of a good answer.

    :raises PortkeyRequestError: the subclass that the status stands for; ``PortkeyUnexpectedResponseError`` where
        the status is good and the body is not a JSON object.
    """
    parsed = _parse(answer.body)
    if 200 <= answer.status < 300 and isinstance(parsed, dict):
        return parsed
    raise error_from_response(answer, settings)


def unreachable_error(
    method: str, path: str, reason: object, settings: ConnectionSettings, *, request_sent: bool = True
) -> PortkeyUnreachableError:
    """Return the error for a request that got no whole answer; ``request_sent`` is false where it surely did not leave."""
    message = (
        f"{method} {path} got no answer from {settings.base_url}: {reason}. "
        "Check the connection's host and port, and that the gateway is up."
    )
    return PortkeyUnreachableError(
        settings.redact(message),
        server_message=settings.redact(str(reason)),
        request_sent=request_sent,
        trace_id=settings.trace_id,
    )


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def error_from_response(answer: Response, settings: ConnectionSettings) -> PortkeyRequestError:
    """Return the error that an answer means which is not what was asked for."""
    parsed = _parse(answer.body)
    refused_by = _refused_by(answer, parsed)
    trace_id = answer.headers.get(TRACE_HEADER) or settings.trace_id
    request_id = answer.headers.get("x-request-id") or None
    traces = [
        f"{name} {value}"
        for name, value in (
            ("trace id", trace_id),
            ("request id", request_id),
            ("gateway retries", answer.headers.get("x-portkey-retry-attempt-count")),
        )
        if value and value != "0"
    ]
    said = settings.redact(_said(answer, parsed, settings))[:_LONGEST_SAID].rstrip(".")
    what = f"{answer.method} {answer.path}: {_what_happened(answer, said, refused_by)}"
    message = f"{what} ({', '.join(traces)})." if traces else f"{what}."
    if advice := _advice(answer, refused_by):
        message = f"{message} {advice}"
    return error_for_status(answer.status)(
        settings.redact(message),
        server_message=said,
        status_code=answer.status,
        refused_by=refused_by,
        trace_id=trace_id,
        request_id=request_id,
        retry_after=read_retry_after(answer.headers, time.time()),
    )


def _refused_by(answer: Response, parsed: Any) -> str | None:
    """Portkey and its gateway say ``status`` or ``success``; a provider's refusal is an ``error`` object."""
    if answer.status < 400:
        return None
    if answer.headers.get("x-portkey-gateway-exception") == "true" or answer.status in (412, 446):
        return _PORTKEY
    if isinstance(parsed, dict):
        if parsed.get("status") == "failure" or parsed.get("success") is False:
            return _PORTKEY
        if isinstance(error := parsed.get("error"), dict):
            return _PORTKEY if answer.status == 408 and error.get("type") == "timeout_error" else _PROVIDER
        if "error" in parsed:
            return _PROVIDER
    return _PORTKEY if _is_fetch_failure(answer) else None


def _is_fetch_failure(answer: Response) -> bool:
    """The gateway's own words, as plain text, where it could not reach the provider."""
    return answer.status == 500 and answer.body.startswith(b"Message: ")


def _what_happened(answer: Response, said: str, refused_by: str | None) -> str:
    who = {_PORTKEY: "Portkey", _PROVIDER: "the provider behind Portkey"}.get(refused_by or "", "the server")
    if 200 <= answer.status < 300:
        kind = answer.headers.get("content-type") or "no content type"
        return f"answered {answer.status} with something that is not a JSON object ({kind}): {said}"
    if 300 <= answer.status < 400:
        return f"answered {answer.status}, {said}"
    if _is_fetch_failure(answer):
        return f"the gateway could not reach the provider ({answer.status}): {said}"
    verb = "failed" if answer.status >= 500 else "refused"
    return f"{who} {verb} ({answer.status}): {said}"


def _said(answer: Response, parsed: Any, settings: ConnectionSettings) -> str:
    if 300 <= answer.status < 400:
        target = (answer.headers.get("location") or "").split("?")[0]
        return f"a redirect to {target!r}, which is not followed: the keys would go with it"
    return _message_in(parsed) or _beginning(answer.body, settings)


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
    # Cleaned before it is cut: half a secret could not be recognised any more.
    text = " ".join(settings.redact(body.decode("utf-8", "replace")).split())
    return repr(text[:_SHOWN]) if text else "an empty body"


def _advice(answer: Response, refused_by: str | None) -> str:
    if answer.status in (404, 410) and answer.path.startswith("/threads"):
        return _RETIRED
    if 200 <= answer.status < 400:
        return "Check the connection's host: it should be a Portkey gateway, ending in /v1."
    return _ADVICE.get((answer.status, refused_by)) or _ADVICE.get((answer.status, None)) or ""
