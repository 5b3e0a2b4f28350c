"""What a connection says, checked once and frozen: where to send, which headers, how long to wait."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_portkey.client.base_url import DEFAULT_BASE_URL, normalise_base_url
from airflow_provider_portkey.exceptions import PortkeyConnectionInvalidError

#: Seconds to wait for a connection: a gateway that has not answered SYN by then is unreachable_error.
CONNECT_TIMEOUT = 10.0
#: Seconds between two bytes of an answer: twice what a slow list call of a hundred steps needs.
READ_TIMEOUT = 60.0
#: Tries after the first one. The vendor's SDK has 1, OpenAI's 2; a nightly job can afford more.
MAX_RETRIES = 4

#: Groups requests in Portkey's logs.
TRACE_HEADER = "x-portkey-trace-id"

#: A header that every Assistants call needs; Portkey's reference sends it with each.
_ASSISTANTS_BETA = {"OpenAI-Beta": "assistants=v2"}
#: Portkey's limit for a metadata value.
_METADATA_MAX_CHARACTERS = 128
#: RFC 9110, section 5.6.2.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SECRET_NAME = re.compile(r"(?<!port)key|token|secret|passw|auth|credential|cookie|signature|virtual", re.IGNORECASE)
#: Shorter texts are words that logs are full of; Airflow's own masking has the same floor.
_SHORTEST_SECRET = 5

#: The form's text fields that are sent as one header each.
_HEADER_OF_FIELD = {
    "provider": "x-portkey-provider",
    "virtual_key": "x-portkey-virtual-key",
    "custom_host": "x-portkey-custom-host",
}


@dataclass(frozen=True, repr=False)
class ConnectionSettings:
    """
    All that a request needs from a connection. Hashable, so that equal connections share a session.

    :param base_url: Ends in ``/v1``.
    :param headers: Pairs that go with every request.
    :param query: Pairs that go with every request.
    :param connect_timeout: Seconds.
    :param read_timeout: Seconds between two pieces of an answer.
    :param max_retries: Tries after the first one.
    :param verify: ``True``, ``False``, or the path of a CA bundle.
    :param secrets: Every value that must appear in no log and no error.
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
        """The trace id that goes with every request."""
        return next((value for name, value in self.headers if name.lower() == TRACE_HEADER), None)

    def with_trace_id(self, trace_id: str | None) -> ConnectionSettings:
        """Return settings that send a trace id, unless the connection itself has one."""
        if trace_id is None or self.trace_id is not None:
            return self
        return replace(self, headers=(*self.headers, (TRACE_HEADER, trace_id)))

    @property
    def attempt_timeout(self) -> float:
        """Seconds that one try may take as a whole, however slowly its answer drips."""
        return self.connect_timeout + self.read_timeout

    def redact(self, text: str) -> str:
        """Return the text with every secret taken out, also where it stands quoted as JSON."""
        for secret in self.secrets:
            for form in (secret, json.dumps(secret)[1:-1]):
                text = text.replace(form, "***")
        return text


def read_settings(
    *,
    host: str | None = None,
    port: int | None = None,
    path: str | None = None,
    api_key: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> ConnectionSettings:
    """
    Check the fields of a connection and freeze them.

    :param host: Base URL, with or without scheme and ``/v1``.
    :param port: Completes a base URL that names none.
    :param path: Completes a base URL that has none.
    :param api_key: The Portkey API key.
    :param extra: The form's other fields; numbers and booleans may be text, JSON may be parsed or text.
    :raises PortkeyConnectionInvalidError: naming every field that is wrong, what it holds unless it is secret,
        and what would be right.
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
    own_headers = fields.take("headers", read=_headers) or {}
    overridden = {name.lower() for name in own_headers}
    headers = {name: value for name, value in headers.items() if name.lower() not in overridden}
    settings = ConnectionSettings(
        base_url=base_url or DEFAULT_BASE_URL,
        headers=(*headers.items(), *own_headers.items()),
        query=tuple(fields.take("query", read=_query) or ()),
        connect_timeout=fields.take("connect_timeout", read=_seconds) or CONNECT_TIMEOUT,
        read_timeout=fields.take("read_timeout", read=_seconds) or READ_TIMEOUT,
        max_retries=_or(fields.take("max_retries", read=_count), MAX_RETRIES),
        verify=_or(fields.take("verify", read=_verify), True),
        secrets=_secrets(fields.secret_values, own_headers, fields.take("query", read=_json_object)),
    )
    fields.raise_wrong()
    return settings


class _Fields:
    """Takes fields one by one and remembers what was wrong, so that one error can name them all."""

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
            self._wrong[name] = f"expected {error}" + ("" if may_hold_secret else f" (it holds {value!r})")
            return None

    def raise_wrong(self) -> None:
        if self._wrong:
            wrong = "; ".join(f"{name}: {reason}" for name, reason in self._wrong.items())
            raise PortkeyConnectionInvalidError(f"The Portkey connection cannot be used. {wrong}.")


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _header_value(value: Any) -> str:
    text = str(value).strip()
    if not text.isprintable() or not text.isascii():
        raise ValueError("printable ASCII characters on one line")
    return text


def _custom_host(value: Any) -> str:
    text = _header_value(value)
    if not text.startswith(("http://", "https://")):
        raise ValueError("an http or https URL such as http://localhost:1234/v1")
    return text.rstrip("/")  # the gateway would put a second slash behind the first


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
            raise ValueError(f"text of at most {_METADATA_MAX_CHARACTERS} characters as the value of {name!r}")
    return metadata


def _headers(value: Any) -> dict[str, str]:
    headers = _json_object(value)
    for name, entry in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"a header's name in place of {name!r}")
        if not isinstance(entry, str) or not entry.isprintable() or not entry.isascii():
            raise ValueError(f"printable ASCII text on one line as the value of {name!r}")
    return {name: entry.strip() for name, entry in headers.items()}


def _query(value: Any) -> Iterator[tuple[str, str]]:
    pairs = []
    for name, entry in _json_object(value).items():
        for one in entry if isinstance(entry, list) else [entry]:
            if isinstance(one, (dict, list)) or one is None:
                raise ValueError(f"text, a number, a boolean or a list of these as the value of {name!r}")
            pairs.append((name, one if isinstance(one, str) else json.dumps(one)))
    return iter(pairs)


def _seconds(value: Any) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = 0.0
    if isinstance(value, bool) or not 0 < seconds <= 3600:
        raise ValueError("a number of seconds above 0, at most 3600")
    return seconds


def _count(value: Any) -> int:
    text = str(value)
    if isinstance(value, bool) or not text.isdecimal() or int(text) > 20:
        raise ValueError("a whole number from 0 to 20")
    return int(text)


def _verify(value: Any) -> bool | str:
    if isinstance(value, bool):
        return value
    text = str(value)
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if not os.path.exists(text):
        raise ValueError("true, false, or the path of a CA bundle that exists")
    return text


def _secrets(settings: list[Any], *named: Mapping[str, Any] | None) -> tuple[str, ...]:
    found = {*_secrets_in(settings, is_secret=True), *_secrets_in(list(named))}
    return tuple(sorted((text for text in found if len(text) >= _SHORTEST_SECRET), key=len, reverse=True))


def _secrets_in(value: Any, *, is_secret: bool = False) -> Iterator[str]:
    """Yield the texts that are settings, or stand below a name that sounds like one."""
    if isinstance(value, str) and value.startswith(("{", "[")):
        with contextlib.suppress(ValueError):  # text that only looks like JSON is a text
            value = json.loads(value)
    if isinstance(value, Mapping):
        for name, entry in value.items():
            yield from _secrets_in(entry, is_secret=bool(_SECRET_NAME.search(name)))
    elif isinstance(value, list):
        for entry in value:
            yield from _secrets_in(entry, is_secret=is_secret)
    elif is_secret and isinstance(value, (str, int, float)):
        text = str(value).strip()
        yield text
        yield text.removeprefix("Bearer ")
