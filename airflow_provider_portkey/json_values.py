"""
Values of responses: read from JSON, and as databases and JSON files can hold them.

Python reads more from JSON than PostgreSQL stores: U+0000, halves of surrogate pairs, ``NaN`` and ``Infinity``. A value
with one of them is refused where Airflow stores it, and a triggerer that meets the same event again at every start
never gets on. So everything that this provider gives to Airflow to store goes through :func:`storable`, and everything
that it writes as JSON through :func:`strict_json`.
"""

from __future__ import annotations

import json
import marshal
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from typing import Any

#: Nested values deeper than this become a JSON string: Airflow and databases walk values by recursion.
MAX_DEPTH = 50

#: U+2028 and U+2029 end a line to some readers; in JSON they only occur within strings, where an escape is the same.
_SEPARATOR = re.compile(b"\xe2\x80([\xa8\xa9])")
_SEPARATOR_ESCAPES = {b"\xa8": b"\\u2028", b"\xa9": b"\\u2029"}

# Values are trees, or too deep: no check for circles, a tenth of the time.
_JSON: dict[str, Any] = {"ensure_ascii": False, "sort_keys": True, "separators": (",", ":"), "check_circular": False}
_encode_finite = json.JSONEncoder(allow_nan=False, **_JSON).encode
_encode_any = json.JSONEncoder(**_JSON).encode

#: Characters that PostgreSQL refuses in text and in jsonb.
_REFUSED = re.compile("[\0\ud800-\udfff]")
#: The strings of a JSON text, and the numbers that are not finite.
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|-?Infinity|NaN')
#: A float as version 1 of marshal writes it, by ``%.17g`` after its length, that ``orjson`` spells otherwise than
#: ``json``: not finite, or with an exponent in one of them, which ``json`` has from 1e16 on and below 0.0001.
_OTHERWISE_SPELLED = re.compile(rb"f(?:[\x03-\x18]-?(?:[0-9.]*e|inf|nan)|\x11[0-9]{17}|\x12-[0-9]{17})")

#: A value between two others, and the text between theirs, which no string has: quotes within are escaped.
_MARK, _MARKED = "\0", b',"\\u0000",'

#: Digits of the shortest whole number that may not fit 64 bits: ``orjson`` would return the nearest float.
_LONG_NUMBER = b"0" * 19
#: Nesting that ``json`` reads at any depth of the call stack (1,000 calls in all); what is deeper, ``json`` decides.
_SAFE_DEPTH = 200
#: Passes over the brackets of a body: values of APIs are less deep.
_PASSES = 16
#: Digits as 0, brackets as (), everything else as a space.
_MARKS = bytes(
    ord("0") if octet in b"0123456789" else ord("(") if octet in b"[{" else ord(")") if octet in b"]}" else ord(" ")
    for octet in range(256)
)


def read_json(body: bytes) -> Any:
    """
    Return the value of a JSON text as ``json.loads`` does, by ``orjson`` where that is installed (extra ``fast``).

    ``orjson`` refuses what ``json`` takes beyond the standard (``NaN``, halves of surrogate pairs, UTF-16), and then
    ``json`` decides; so does it for numbers of more than 64 bits and for deep nesting. Brackets in strings can hide
    nesting: such a body is read down to 1,024 levels.

    :raises ValueError: for what is no JSON.
    :raises RecursionError: for what is nested too deeply.
    """
    if (loads := _orjson_loads()) and _reads_alike(body):
        try:
            return loads(body)
        except ValueError:  # json decides
            pass
    return json.loads(body)


def storable(value: Any) -> Any:
    r"""
    Return a value of JSON as Airflow's database can store it; any other object is left as it is.

    U+0000 and each half of a surrogate pair are replaced by their escapes (``\u0000`` as six characters), so that the
    text stays readable; ``NaN``, ``Infinity`` and ``-Infinity`` by ``None``; what is nested deeper than
    :data:`MAX_DEPTH` by its JSON as a string, or by ``None`` where it is too deep for Python's own encoder.
    """
    return _storable(value, 0)


def strict_json(value: Any) -> tuple[str, int]:
    """
    Return a value as JSON on one line, its keys sorted, and how many numbers in it are not finite.

    Such a number is written as ``null``, a half of a surrogate pair as its escape, and so are U+2028 and U+2029: valid
    in JSON, and line ends to readers that split lines by Unicode's rules.
    """
    replaced = 0
    try:
        text = _encode_finite(value)
    except ValueError:  # a number that is not finite
        text, replaced = _without_non_finite(_encode_any(value))
    if text.isascii():
        return text, replaced
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can carry
        text = _REFUSED.sub(_escape, text)
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"), replaced


@cache
def _orjson_loads() -> Callable[[bytes], Any] | None:
    try:
        import orjson
    except ImportError:
        return None
    return orjson.loads


@cache
def _orjson_dumps() -> Callable[[Any], bytes] | None:
    try:
        import orjson
    except ImportError:
        return None
    return partial(orjson.dumps, option=orjson.OPT_SORT_KEYS)


def _writes_alike(values: list[Any]) -> bool:
    """Return whether ``orjson`` writes values as ``json`` does if it writes them. Too strict for some strings."""
    try:
        return not _OTHERWISE_SPELLED.search(marshal.dumps(values, 1))
    except ValueError:  # of another type than those of JSON, or too deep
        return False


def _reads_alike(body: bytes) -> bool:
    """Return whether ``orjson`` returns what ``json`` does if it returns anything. Too strict for some strings."""
    marks = body.translate(_MARKS)
    if _LONG_NUMBER in marks:
        return False
    brackets = marks.translate(None, b"0 ")
    for _ in range(_PASSES):
        if len(brackets) <= _SAFE_DEPTH:
            return True
        brackets = brackets.replace(b"()", b"")  # one level less
    return len(brackets) <= _SAFE_DEPTH - _PASSES


def strict_json_of_all(values: Sequence[Any]) -> tuple[list[bytes], int]:
    """
    Return what :func:`strict_json` returns for each value, encoded, and how many numbers in all are not finite.

    By ``orjson`` where that is installed and writes the same, which depends on the floats.
    """
    texts, replaced = _encode_all(list(values))
    together = b"".join(texts)
    return list(map(escape_separators, texts)) if _has_separators(together) else texts, replaced


def strict_json_joined(values: Sequence[Any], separator: bytes) -> tuple[bytes, int]:
    """Return what :func:`strict_json_of_all` returns, the texts with a separator between them: quicker."""
    texts, replaced = _encode_all(list(values))
    return escape_separators(separator.join(texts)), replaced


def escape_separators(text: bytes) -> bytes:
    """Return JSON with U+2028 and U+2029 escaped."""
    if not _has_separators(text):
        return text
    return _SEPARATOR.sub(lambda found: _SEPARATOR_ESCAPES[found[1]], text)


def _has_separators(text: bytes) -> bool:
    """Return whether a text may have a separator, by the last octets, which no ASCII has."""
    return b"\xa8" in text or b"\xa9" in text


def _encode_all(values: list[Any]) -> tuple[list[bytes], int]:
    """Return what :func:`strict_json_of_all` returns, U+2028 and U+2029 as they are, or escaped."""
    if dumps := _orjson_dumps():
        if _writes_alike(values):
            with suppress(TypeError):  # half of a surrogate pair, a number of more than 64 bits, deep nesting
                return _dump_all(dumps, values), 0
        if len(values) > 1:  # of a page, few rows may be such
            each = [_encode_all([value]) for value in values]
            return [text for texts, _ in each for text in texts], sum(replaced for _, replaced in each)
    try:
        return [_encode_finite(value).encode() for value in values], 0
    except ValueError:  # a number that is not finite, or half of a surrogate pair
        each_text = [strict_json(value) for value in values]
    return [text.encode() for text, _ in each_text], sum(replaced for _, replaced in each_text)


def _dump_all(dumps: Callable[[Any], bytes], values: list[Any]) -> list[bytes]:
    """Return the text of each value, by one call: a result of its own for each costs four times as much, for memory."""
    marked: list[Any] = [_MARK] * (2 * len(values) - 1)
    marked[::2] = values
    texts = dumps(marked)[1:-1].split(_MARKED)
    return texts if len(texts) == len(values) else list(map(dumps, values))


def _storable(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return _REFUSED.sub(_escape, value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if not isinstance(value, Mapping | list | tuple):
        return value
    if depth >= MAX_DEPTH:
        return _as_text(value)
    if isinstance(value, Mapping):
        return {_storable(name, depth): _storable(entry, depth + 1) for name, entry in value.items()}
    return [_storable(entry, depth + 1) for entry in value]


def _as_text(value: Any) -> str | None:
    try:
        return strict_json(value)[0]
    except RecursionError:
        return None


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def _without_non_finite(text: str) -> tuple[str, int]:
    """Return a JSON text with ``null`` for each number that is not finite, and their number."""
    replaced = 0

    def replace(token: re.Match[str]) -> str:
        nonlocal replaced
        if token[0].startswith('"'):
            return token[0]
        replaced += 1
        return "null"

    return _TOKEN.sub(replace, text), replaced
