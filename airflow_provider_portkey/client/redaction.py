"""
What may be shown of a connection and of a server.

Secrets are replaced in every spelling, and characters that steer a terminal or reorder a line are escaped.
"""

from __future__ import annotations

import base64
import contextlib
import html
import json
import logging
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from urllib.parse import quote, quote_plus

#: Shorter strings are common words of logs; Airflow's own masking has the same limit.
SHORTEST_SECRET = 5
#: Fewer characters of a Base64 string are no sign of a secret within.
_SHORTEST_BASE64 = 6
#: Secrets that the filter of the HTTP libraries' loggers knows: those of the latest connections and signed URLs.
_MAX_FILTERED = 200

_SECRET_NAME = re.compile(r"(?<!port)key|token|secret|passw|auth|credential|cookie|signature|virtual", re.IGNORECASE)
#: An authentication scheme before its credentials (RFC 9110, section 11.6.2).
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9-]*) +(\S.*)")
_SHOWN = re.compile(r"[ -~]*")
#: Joiners within words and emoji, which reorder nothing.
_HARMLESS = frozenset("\u200c\u200d")
#: Loggers of the HTTP libraries whose lines show URLs, headers or proxies.
_LOGGERS = (
    "urllib3.connection",
    "urllib3.connectionpool",
    "urllib3.poolmanager",
    "urllib3.response",
    "urllib3.util.retry",
    "aiohttp.access",
    "aiohttp.client",
    "aiohttp.internal",
)


def find_secrets(credentials: object, *named: object) -> tuple[str, ...]:
    """
    Return the secrets of a connection, in the order in which to redact them.

    :param credentials: Values that are secret.
    :param named: Values of which those below the name of a credential are secret.
    """
    found = {*_secrets_in(credentials, is_secret=True), *_secrets_in(list(named))}
    return longest_first(secret for secret in found if len(secret) >= SHORTEST_SECRET)


def longest_first(secrets: Iterable[str]) -> tuple[str, ...]:
    """Return the secrets in the order in which to redact them: one may be a part of another."""
    return tuple(sorted(secrets, key=lambda secret: (-len(secret), secret)))


def spellings(secret: str) -> set[str]:
    """Return the spellings of a secret that encoders produce, for Airflow's masking, which knows only strings."""
    quoted = {quote(secret, safe=""), quote(secret), quote_plus(secret), quote_plus(secret, safe="/")}
    escaped = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    return {
        secret,
        *quoted,
        *(re.sub("%..", lambda match: match[0].lower(), one) for one in quoted),
        *(one.replace("/", slash) for one in escaped for slash in ("/", "\\/")),
        html.escape(secret),
        *_within_base64(secret),
    }


def redact(message: str, secrets: tuple[str, ...]) -> str:
    """
    Return the message with every secret replaced, in every spelling.

    Percent-encoded (also twice), escaped as in JSON, Python or HTML, within Base64 (as in Basic authentication).

    :param secrets: As :func:`find_secrets` returns them.
    """
    return _pattern(secrets).sub("***", message) if secrets else message


def escape_unprintable(string: str) -> str:
    r"""
    Return a server's string as one line that is shown as it is read.

    Control characters, line separators, and the characters that change the direction of text or are invisible become
    escapes such as ``\x1b`` and ``\u202e``.
    """
    if _SHOWN.fullmatch(string):
        return string
    return "".join(map(_escape, string))


def redact_library_logs(secrets: tuple[str, ...]) -> None:
    """Redact secrets in what ``urllib3`` and ``aiohttp`` log from now on; their DEBUG lines show URLs."""
    _FILTER.add(secrets)


class _Filter(logging.Filter):
    """Redacts the lines of a logger."""

    def __init__(self) -> None:
        super().__init__()
        self._secrets: dict[str, None] = {}
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self)

    def add(self, secrets: tuple[str, ...]) -> None:
        for secret in secrets:
            self._secrets.setdefault(secret)
        while len(self._secrets) > _MAX_FILTERED:
            del self._secrets[next(iter(self._secrets))]

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage(), longest_first(list(self._secrets))), ()
        return True


_FILTER = _Filter()


def _secrets_in(value: object, *, is_secret: bool = False) -> Iterator[str]:
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
    elif is_secret and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        yield from _secrets_of(str(value).strip())


def _secrets_of(credential: str) -> Iterator[str]:
    yield credential
    if match := _SCHEME.fullmatch(credential):
        scheme, secret = match.groups()
        yield secret
        if scheme.lower() == "basic":
            with contextlib.suppress(ValueError):  # not every value that begins so is Base64
                pair = base64.b64decode(secret, validate=True).decode()
                yield pair
                yield pair.partition(":")[2]


@lru_cache(maxsize=64)
def _pattern(secrets: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(spelled for secret in secrets for spelled in _spelled(secret)))


def _spelled(secret: str) -> Iterator[str]:
    yield "".join(map(_character, secret))
    for encoded in _within_base64(secret):
        yield "".join(map(_character, encoded)) + "[A-Za-z0-9+/_-]{0,2}(?:=|%3[Dd]){0,2}"


def _character(character: str) -> str:
    """Return a pattern for one character in all its encodings."""
    octets = character.encode("utf-8", "surrogatepass")
    units = character.encode("utf-16-be", "surrogatepass").hex()
    spelled = [re.escape(character), f"(?i:{''.join(f'%(?:25)*{octet:02x}' for octet in octets)})"]
    if not character.isalnum() or not character.isascii():
        unicode_escape = "".join(rf"\\+u{units[at : at + 4]}" for at in range(0, len(units), 4))
        octet_escape = "".join(rf"\\+x{octet:02x}" for octet in octets)
        code = ord(character)
        spelled.append(f"(?i:{unicode_escape}|{octet_escape}|&(?:amp;)*(?:#0*{code}|#x0*{code:x});)")
    if named := {'"': "&quot;", "&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&apos;"}.get(character):
        spelled.insert(0, named)
    if character in "\"'\\/":
        spelled.insert(0, rf"\\+{re.escape(character)}")
    if character == " ":
        spelled.append(r"\+")
    return f"(?:{'|'.join(spelled)})"


def _within_base64(secret: str) -> set[str]:
    """
    Return how Base64 shows a secret, whatever stands before and after it.

    A character of Base64 stands for six bits: at the edges those that the neighbours of the secret decide are left out.
    """
    octets, found = secret.encode("utf-8", "surrogatepass"), set()
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + octets).decode().rstrip("=")
        own = encoded[(0, 2, 3)[before] : len(encoded) - ((before + len(octets)) % 3 > 0)]
        found |= {own, own.replace("+", "-").replace("/", "_")}
    return {own for own in found if len(own) >= _SHORTEST_BASE64}


def _escape(character: str) -> str:
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _HARMLESS:
        return character.encode("unicode_escape", "surrogatepass").decode()
    return character
