"""
The settings of a connection, checked once and frozen: base URL, headers, query, time-outs, TLS, secrets.

Proxies and CA bundles of the environment are those of ``requests``: ``sync.py`` leaves them to ``requests``, and
``aio.py`` follows it in ``_proxy`` and ``_tls_context``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote_plus, urlencode, urlsplit

from airflow_provider_portkey.client.base_url import DEFAULT_BASE_URL, normalise_base_url
from airflow_provider_portkey.exceptions import PortkeyConnectionInvalidError

#: Seconds to wait for a connection: enough for lost SYN packets, sent again after 1 s, 3 s and 7 s (RFC 6298).
CONNECT_TIMEOUT = 10.0
#: Seconds between two bytes of a response: twice the time of a slow list call of a hundred steps.
READ_TIMEOUT = 60.0
#: Attempts after the first one. The vendor's SDK has 1, OpenAI's 2; a nightly job can afford more.
MAX_RETRIES = 4

#: Groups requests in Portkey's logs.
TRACE_HEADER = "x-portkey-trace-id"

#: Every Assistants call needs this header; Portkey's reference sends it with each call.
_ASSISTANTS_BETA = {"OpenAI-Beta": "assistants=v2"}
#: Portkey's limit for a metadata value.
_METADATA_MAX_CHARACTERS = 128
#: RFC 9110, section 5.6.2.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SECRET_NAME = re.compile(r"(?<!port)key|token|secret|passw|auth|credential|cookie|signature|virtual", re.IGNORECASE)
#: Shorter strings are common words of logs; Airflow's own masking has the same limit.
_SHORTEST_SECRET = 5
#: Shorter parameters of a signed URL are no secrets, and may be words of a message.
_SHORTEST_URL_SECRET = 8

#: The form's fields that are sent as one header each.
_HEADER_OF_FIELD = {
    "provider": "x-portkey-provider",
    "virtual_key": "x-portkey-virtual-key",
    "custom_host": "x-portkey-custom-host",
}


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
    """

    base_url: str
    headers: tuple[tuple[str, str], ...]
    query: tuple[tuple[str, str], ...] = ()
    connect_timeout: float = CONNECT_TIMEOUT
    read_timeout: float = READ_TIMEOUT
    max_retries: int = MAX_RETRIES
    verify: bool | str = True
    secrets: tuple[str, ...] = ()

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

    def redact(self, message: str) -> str:
        """Return the message with every secret replaced, also in its JSON form."""
        for secret in self.secrets:
            for form in (secret, json.dumps(secret)[1:-1]):
                message = message.replace(form, "***")
        return message

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
        return replace(self, base_url=origin, headers=(), query=(), secrets=_longest_first(secrets))


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
    base_url = fields.take("host", host or DEFAULT_BASE_URL, lambda value: normalise_base_url(value, port, path))
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
        secrets=_secrets(
            [*fields.secret_values, *secret_headers.values()], own_headers, fields.take("query", read=_json_object)
        ),
    )
    fields.raise_wrong()
    return settings


class _Fields:
    """Reads fields one by one and collects the wrong ones, so that one error names all of them."""

    def __init__(self, extra: Mapping[str, Any]) -> None:
        self._extra = extra
        self._wrong: dict[str, str] = {}
        self.secret_values: list[Any] = []

    def take(self, name: str, value: Any = None, read: Callable[[Any], Any] = str, *, secret: bool = False) -> Any:
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

    def raise_wrong(self) -> None:
        if self._wrong:
            wrong = "; ".join(f"{name}: {reason}" for name, reason in self._wrong.items())
            raise PortkeyConnectionInvalidError(f"The Portkey connection cannot be used. {wrong}.")


def _overridden(headers: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Return headers with others in place of those of the same name, whatever its case."""
    names = {name.lower() for name in own}
    return {**{name: value for name, value in headers.items() if name.lower() not in names}, **own}


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


def _verify(value: Any) -> bool | str:
    if isinstance(value, bool):
        return value
    string = str(value)
    if string.lower() in ("true", "false"):
        return string.lower() == "true"
    if not os.path.exists(string):
        raise ValueError("true, false, or the path of a CA bundle that exists")
    return string


def _secrets(credentials: list[Any], *named: Mapping[str, Any] | None) -> tuple[str, ...]:
    found = {*_secrets_in(credentials, is_secret=True), *_secrets_in(list(named))}
    return _longest_first(secret for secret in found if len(secret) >= _SHORTEST_SECRET)


def _longest_first(secrets: Iterable[str]) -> tuple[str, ...]:
    """Return the secrets in the order in which to redact them: one may be a part of another."""
    return tuple(sorted(secrets, key=len, reverse=True))


def _secrets_in(value: Any, *, is_secret: bool = False) -> Iterator[str]:
    """Yield the strings that are secret themselves or by a name above them."""
    if isinstance(value, str) and value.startswith(("{", "[")):
        with contextlib.suppress(ValueError):  # not every string that begins so is JSON
            value = json.loads(value)
    if isinstance(value, Mapping):
        for name, entry in value.items():
            yield from _secrets_in(entry, is_secret=bool(_SECRET_NAME.search(name)))
    elif isinstance(value, list):
        for entry in value:
            yield from _secrets_in(entry, is_secret=is_secret)
    elif is_secret and isinstance(value, (str, int, float)):
        secret = str(value).strip()
        yield secret
        yield secret.removeprefix("Bearer ")
