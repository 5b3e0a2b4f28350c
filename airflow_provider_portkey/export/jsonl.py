"""The reader of JSON Lines: bytes in chunks of any length become lines, and lines become JSON objects."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, cast

from airflow_provider_portkey.exceptions import PortkeyLineInvalidError

#: Bytes of one line. A request with a few images has some 20 MB; a file without line breaks is one line.
MAX_LINE_BYTES = 64 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_KINDS = {list: "an array", str: "a string", bool: "true or false", int: "a number", float: "a number"}


def refuse_constant(name: str) -> None:
    """
    Refuse ``NaN`` and ``Infinity``, as ``parse_constant`` of Python's JSON decoder.

    :raises ValueError: always.
    """
    raise ValueError(f"{name} is no JSON")


_STRICT = json.JSONDecoder(parse_constant=refuse_constant)
_LENIENT = json.JSONDecoder()


def split_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """
    Yield each line without its line feed; the last line may have none.

    A line longer than :data:`MAX_LINE_BYTES` is yielded cut off, as soon as it is too long, so that
    :func:`read_object` refuses the line before the rest is read; the rest of the line is skipped.

    :param chunks: Of any length.
    """
    begun, skipping = bytearray(), False
    for chunk in chunks:
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            if not skipping:
                yield bytes(begun) + end if begun else end
            begun.clear()
            skipping = False
        if skipping:
            continue
        begun += rest
        if skipping := len(begun) > MAX_LINE_BYTES:
            yield bytes(begun)
            begun.clear()
    if begun:
        yield bytes(begun)


def read_object(line: bytes, *, strict: bool = False) -> dict[str, Any]:
    """
    Return the JSON object on a line.

    :param strict: Refuse ``NaN`` and ``Infinity``, which Python writes and reads and JSON does not have.
    :raises ValueError: saying what the line is instead, without the line itself.
    """
    if (found := _usual(line, strict=strict)) is not None:
        return found
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"is longer than {MAX_LINE_BYTES} bytes")
    if not line.strip():
        raise ValueError("is blank")
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise ValueError(_encoding_of(line, error)) from None
    if line.startswith(_BOM):
        raise ValueError("begins with a byte order mark (BOM): save the file as UTF-8 without one")
    try:
        value = _STRICT.decode(text) if strict else json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON: {error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"is no JSON object but {_KINDS.get(type(value), 'null')}")
    return value


def _usual(line: bytes, *, strict: bool) -> dict[str, Any] | None:
    """Return the object of a line that is nothing but one, ``None`` for any other line, whatever it has."""
    if line[:1] != b"{" or len(line) > MAX_LINE_BYTES:
        return None
    try:
        text = line.decode()
        # ``decode`` spends as much on the white space around a short value as on the value.
        value, end = (_STRICT if strict else _LENIENT).raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", value) if end == len(text) or text[end:] == "\r" else None


def iter_objects(lines: Iterable[bytes], name: str) -> Iterator[dict[str, Any]]:
    """
    Yield the JSON object on each line; blank lines are skipped.

    :param name: What errors call the file.
    :raises PortkeyLineInvalidError: naming the first line that is no JSON object.
    """
    for number, line in enumerate(lines, 1):
        if line[:1] == b"{" or line.strip():
            try:
                yield read_object(line)
            except ValueError as error:
                raise PortkeyLineInvalidError(f"{name}: line {number} {error}.") from None


def _encoding_of(line: bytes, error: UnicodeDecodeError) -> str:
    if line.startswith(_GZIP):
        return "is compressed (gzip): the file must be plain text"
    if line.startswith(_UTF_16):
        return "is UTF-16: save the file as UTF-8"
    return f"is not UTF-8 (byte {error.start + 1} is 0x{line[error.start]:02x})"
