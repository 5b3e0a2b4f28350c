"""
The settings of a connection, checked once and frozen: base URL, headers, query, time-outs, TLS, secrets.

Secrets are found and redacted in ``redaction.py``; proxies and CA bundles of the environment are read in
``environment.py``.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote_plus, urlencode, urlsplit

from airflow_provider_portkey.client.base_url import DEFAULT_BASE_URL, check_url, is_loopback, normalise_base_url
from airflow_provider_portkey.client.redaction import find_secrets, longest_first, redact
from airflow_provider_portkey.exceptions import PortkeyConnectionInvalidError

#: Seconds to wait for a connection: enough for lost SYN packets, sent again after 1 s, 3 s and 7 s (RFC 6298).
CONNECT_TIMEOUT = 10.0
#: Seconds between two bytes of a response: twice the time of a slow list call of a hundred steps.
READ_TIMEOUT = 60.0
#: Attempts after the first one. The vendor's SDK has 1, OpenAI's 2; a nightly job can afford more.
MAX_RETRIES = 4

#: Groups requests in Portkey's logs.
TRACE_HEADER = "x-portkey-trace-id"
#: With ``false`` Portkey's logs keep the record of a request and drop the bodies (measured).
_DEBUG_HEADER = "x-portkey-debug"

#: Every Assistants call needs this header; Portkey's reference sends it with each call.
_ASSISTANTS_BETA = {"OpenAI-Beta": "assistants=v2"}
#: Portkey's limit for a metadata value.
_METADATA_MAX_CHARACTERS = 128
#: RFC 9110, section 5.6.2.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: Characters of an unknown name that a warning shows.
_MAX_NAME = 100
#: Shorter parameters of a signed URL are no secrets, and may be words of a message.
_SHORTEST_URL_SECRET = 8

#: The form's fields that are sent as one header each.
_HEADER_OF_FIELD = {
    "provider": "x-portkey-provider",
    "virtual_key": "x-portkey-virtual-key",
    "custom_host": "x-portkey-custom-host",
}
#: Prefix of the form's fields in ``extra`` before Airflow 2.3.
_OLD_PREFIX = "extra__portkey__"


@dataclass(frozen=True, repr=False)
class ConnectionSettings:
    """
    The settings of a connection that requests need. Hashable, so that equal connections share a session.

    :param base_url: Ends in ``/v1``.
    :param headers: Names and values, sent with every request.
    :param query: Names and values, sent with every request.
    :param connect_timeout: Seconds.
    :param read_timeout: Seconds between two chunks of a response.
    :param max_retries: Attempts after the first one.
    :param verify: ``True``, ``False``, or the path of a CA bundle.
    :param secrets: Values that no log and no error may show.
    :param log_polls: Whether Portkey's logs keep the bodies of GETs.
    :param workspace_slug: The workspace of analytics.
    :param warnings: What is allowed and probably not meant, one sentence each.
    """

    base_url: str
    headers: tuple[tuple[str, str], ...]
    query: tuple[tuple[str, str], ...] = ()
    connect_timeout: float = CONNECT_TIMEOUT
    read_timeout: float = READ_TIMEOUT
    max_retries: int = MAX_RETRIES
    verify: bool | str = True
    secrets: tuple[str, ...] = ()
    log_polls: bool = False
    workspace_slug: str | None = None
    warnings: tuple[str, ...] = field(default=(), compare=False)

    def __repr__(self) -> str:
        return f"ConnectionSettings(base_url={self.base_url!r})"

    @property
    def trace_id(self) -> str | None:
        """The trace id that is sent with every request."""
        return next((value for name, value in self.headers if name.lower() == TRACE_HEADER), None)

    def with_trace_id(self, trace_id: str | None) -> ConnectionSettings:
        """Return settings with a trace id; the connection's own trace id wins."""
        if trace_id is None or self.trace_id is not None:
            return self
        return replace(self, headers=(*self.headers, (TRACE_HEADER, trace_id)))

    @property
    def attempt_timeout(self) -> float:
        """Seconds that one attempt may take as a whole, however slow the response is."""
        return self.connect_timeout + self.read_timeout

    def url(self, path: str, query: Sequence[tuple[str, str]] = ()) -> str:
        """Return the URL of a request: the base URL, the path, the connection's query, the request's query."""
        pairs = (*self.query, *query)
        return f"{self.base_url}{path}" + (f"?{urlencode(pairs)}" if pairs else "")

    def request_headers(self, method: str, has_body: bool) -> dict[str, str]:
        """Return the headers of one request in addition to the connection's."""
        headers = {"Accept-Encoding": "gzip, deflate"}
        if has_body:
            headers["Content-Type"] = "application/json"
        # Each GET would be stored with its whole body. The connection's own header wins.
        if method == "GET" and not self.log_polls and _DEBUG_HEADER not in {name.lower() for name, _ in self.headers}:
            headers[_DEBUG_HEADER] = "false"
        return headers

    def redact(self, message: str) -> str:
        """Return the message with every secret replaced, in every spelling."""
        return redact(message, self.secrets)

    def for_signed_url(self, url: str) -> ConnectionSettings:
        """Return settings for a store: without headers and query, and with the secrets of the signed URL added."""
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        # As in the URL and decoded: a store's error may repeat either form.
        values = [pair.partition("=")[2] for pair in parts.query.split("&")]
        signed = {
            form for value in values for form in (value, unquote_plus(value)) if len(form) >= _SHORTEST_URL_SECRET
        }
        secrets = {*self.secrets, *signed, *filter(None, (parts.query, parts.password))}
        return replace(self, base_url=origin, headers=(), query=(), secrets=longest_first(secrets))


def read_settings(
    *,
    host: str | None = None,
    port: int | None = None,
    path: str | None = None,
    api_key: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> ConnectionSettings:
    """
    Check the fields of a connection and return its settings.

    :param host: Base URL, with or without scheme and ``/v1``.
    :param port: Completes a base URL without a port.
    :param path: Completes a base URL without a path.
    :param api_key: The Portkey API key.
    :param extra: The form's other fields; numbers, booleans and JSON may be strings.
    :raises PortkeyConnectionInvalidError: naming every field that is wrong, the expected value, and the field's own
        value unless it may be secret.
    """
    fields = _Fields(extra or {})
    checked_port = fields.take("port", port, _port)
    base_url = fields.take(
        "host", host or DEFAULT_BASE_URL, lambda value: normalise_base_url(value, checked_port, path)
    )
    headers = dict(_ASSISTANTS_BETA)
    if key := fields.take("password", api_key, _header_value, secret=True):
        headers["x-portkey-api-key"] = key
    for name, header in _HEADER_OF_FIELD.items():
        if value := fields.take(name, read=_READER_OF_FIELD.get(name, _header_value), secret=name == "virtual_key"):
            headers[header] = value
    if provider_key := fields.take("provider_api_key", read=_header_value, secret=True):
        headers["Authorization"] = f"Bearer {provider_key.removeprefix('Bearer ')}"
    if config := fields.take("config", read=_config, secret=True):
        headers["x-portkey-config"] = config
    if metadata := fields.take("metadata", read=_metadata):
        headers["x-portkey-metadata"] = json.dumps(metadata, ensure_ascii=True)
    secret_headers = fields.take("secret_headers", read=_headers, secret=True) or {}
    own_headers = _overridden(fields.take("headers", read=_headers) or {}, secret_headers)
    settings = ConnectionSettings(
        base_url=base_url or DEFAULT_BASE_URL,
        headers=tuple(_overridden(headers, own_headers).items()),
        query=tuple(fields.take("query", read=_query) or ()),
        connect_timeout=fields.take("connect_timeout", read=_seconds) or CONNECT_TIMEOUT,
        read_timeout=fields.take("read_timeout", read=_seconds) or READ_TIMEOUT,
        max_retries=_or(fields.take("max_retries", read=_count), MAX_RETRIES),
        verify=_or(fields.take("verify", read=_verify), True),
        secrets=find_secrets(
            [*fields.secret_values, *secret_headers.values()], own_headers, fields.take("query", read=_json_object)
        ),
        log_polls=fields.take("log_polls", read=_boolean) or False,
        workspace_slug=fields.take("workspace_slug", read=_header_value),
    )
    fields.raise_wrong()
    return replace(settings, warnings=tuple(_warnings(settings, fields.unknown)))


class _Fields:
    """Reads fields one by one and collects the wrong ones, so that one error names all of them."""

    def __init__(self, extra: Mapping[str, Any]) -> None:
        self._extra = extra
        self._wrong: dict[str, str] = {}
        self._known: list[str] = []
        self.secret_values: list[Any] = []

    def take(self, name: str, value: Any = None, read: Callable[[Any], Any] = str, *, secret: bool = False) -> Any:
        self._known.append(name)
        value = self._extra.get(name) if value is None else value
        if isinstance(value, str):
            value = value.strip()
        if value in (None, ""):
            return None
        if secret or re.search("://.*@", str(value)):
            self.secret_values.append(value)
        try:
            return read(value)
        except ValueError as error:
            may_hold_secret = secret or name in ("headers", "query") or any(mark in str(value) for mark in "@?")
            self._wrong[name] = f"expected {error}" + ("" if may_hold_secret else f" (the value is {value!r})")
            return None

    @property
    def unknown(self) -> list[str]:
        """The names in ``extra`` that are no fields, each with the nearest field."""
        own = [name for name in self._known if name not in ("host", "port", "password")]
        described = []
        for name in self._extra:
            if name not in own:
                near = difflib.get_close_matches(str(name).removeprefix(_OLD_PREFIX).lower(), own, 1)
                described.append(f"{str(name)[:_MAX_NAME]!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
        return described

    def raise_wrong(self) -> None:
        if self._wrong:
            wrong = "; ".join(f"{name}: {reason}" for name, reason in self._wrong.items())
            raise PortkeyConnectionInvalidError(f"The Portkey connection cannot be used. {wrong}.")


def _overridden(headers: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Return headers with others in place of those of the same name, whatever its case."""
    names = {name.lower() for name in own}
    return {**{name: value for name, value in headers.items() if name.lower() not in names}, **own}


def _warnings(settings: ConnectionSettings, unknown: Sequence[str]) -> Iterator[str]:
    if unknown:
        plural = "s" if len(unknown) > 1 else ""
        yield f"Unknown field{plural} in extra, not used: {', '.join(unknown)}."
    if settings.base_url.startswith("http:") and not is_loopback(settings.base_url):
        yield f"{settings.base_url} has no TLS: the API keys are sent in clear."
    if settings.verify is False and settings.base_url.startswith("https:"):
        yield "verify is false: the gateway's certificate is not checked, so the API keys may reach another server."


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _header_value(value: Any) -> str:
    stripped = str(value).strip()
    if not stripped.isprintable() or not stripped.isascii():
        raise ValueError("printable ASCII characters on one line")
    return stripped


def _custom_host(value: Any) -> str:
    string = _header_value(value)
    if not string.startswith(("http://", "https://")):
        raise ValueError("an http or https URL such as http://localhost:1234/v1")
    check_url(string)
    return string.rstrip("/")  # the gateway would add a second slash


_READER_OF_FIELD: dict[str, Callable[[Any], str]] = {"custom_host": _custom_host}


def _json_object(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ValueError(f"a JSON object ({error.args[0].split(' (')[0]})") from None
    if not isinstance(value, dict):
        raise ValueError('a JSON object such as {"name": "value"}')
    return value


def _config(value: Any) -> str:
    if isinstance(value, str) and not value.startswith(("{", "[")):
        return _header_value(value)
    return json.dumps(_json_object(value), ensure_ascii=True)


def _metadata(value: Any) -> dict[str, str]:
    for name, entry in (metadata := _json_object(value)).items():
        if not isinstance(entry, str) or len(entry) > _METADATA_MAX_CHARACTERS:
            raise ValueError(f"a string of at most {_METADATA_MAX_CHARACTERS} characters as the value of {name!r}")
    return metadata


def _headers(value: Any) -> dict[str, str]:
    headers = _json_object(value)
    for name, entry in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"the name of a header in place of {name!r}")
        if not isinstance(entry, str) or not entry.isprintable() or not entry.isascii():
            raise ValueError(f"printable ASCII characters on one line as the value of {name!r}")
    return {name: entry.strip() for name, entry in headers.items()}


def _query(value: Any) -> Iterator[tuple[str, str]]:
    pairs = []
    for name, entry in _json_object(value).items():
        for value_ in entry if isinstance(entry, list) else [entry]:
            if isinstance(value_, (dict, list)) or value_ is None:
                raise ValueError(f"a string, a number, a boolean or a list of these as the value of {name!r}")
            pairs.append((name, value_ if isinstance(value_, str) else json.dumps(value_)))
    return iter(pairs)


# Not the rules of validation.py: their errors show the value, and name one parameter only.
def _seconds(value: Any) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = 0.0
    if isinstance(value, bool) or not 0 < seconds <= 3600:
        raise ValueError("a number of seconds above 0, at most 3600")
    return seconds


def _count(value: Any) -> int:
    string = str(value)
    if isinstance(value, bool) or not string.isdecimal() or int(string) > 20:
        raise ValueError("a whole number from 0 to 20")
    return int(string)


def _port(value: Any) -> int | None:
    if isinstance(value, bool) or not re.fullmatch("[0-9]{1,5}", str(value)) or int(value) > 65535:
        raise ValueError("a port from 1 to 65535")
    return int(value) or None  # Airflow stores an empty port as 0 here and there


def _boolean(value: Any) -> bool:
    string = str(value).lower()
    if string not in ("true", "false"):
        raise ValueError("true or false")
    return string == "true"


def _verify(value: Any) -> bool | str:
    string = str(value)
    if string.lower() in ("true", "false"):
        return _boolean(value)
    if not os.path.exists(string):
        raise ValueError("true, false, or the path of a CA bundle that exists")
    return string
