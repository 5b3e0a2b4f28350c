"""JSON of responses is read alike with orjson and without."""

from __future__ import annotations

import json
import random
import struct
import sys
from collections.abc import Callable, Iterator
from math import isfinite
from typing import Any

import pytest

from airflow_provider_portkey import json_values
from airflow_provider_portkey.client.responses import Response, read_response
from airflow_provider_portkey.client.settings import read_settings
from airflow_provider_portkey.exceptions import PortkeyError
from airflow_provider_portkey.json_values import read_json


@pytest.fixture(params=["orjson", "json"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Read with orjson, and as if orjson were not installed."""
    if request.param == "json":
        monkeypatch.setitem(sys.modules, "orjson", None)
    json_values._orjson_loads.cache_clear()
    yield request.param
    monkeypatch.undo()
    json_values._orjson_loads.cache_clear()


BODIES = {
    "object": b'{"a": [1, -2, 3.5, true, false, null, "text"]}',
    "not finite": b'{"a": NaN, "b": [Infinity, -Infinity]}',
    "float too large": b'{"a": 1e400, "b": -1e999999}',
    "smallest floats": b"[5e-324, 2.2250738585072014e-308, 1e-400]",
    "duplicate keys": b'{"a": 1, "b": 2, "a": {"c": 3, "c": 4}}',
    "largest numbers of 64 bits": b"[9223372036854775807, -9223372036854775808, 18446744073709551615]",
    "more than 64 bits": b"[18446744073709551616, -9223372036854775809, 9999999999999999999, -9999999999999999999]",
    "number of 4,000 digits": b"1" * 4_000,
    "more digits than Python reads": b"[" + b"1" * 5_000 + b"]",
    "long fraction": b"[0." + b"123456789" * 30 + b", 1" + b"0" * 30 + b".5]",
    "minus zero": b"[-0, -0.0, 0e1]",
    "digits in a string": b'{"id": "12345678901234567890123", "n": 18446744073709551616}',
    "surrogate pair": b'["\\ud83d\\ude00", {"\\ud83d\\ude00": 1}]',
    "half of a pair": b'{"a": "\\ud800", "\\udc00": "\\udc00\\ud800"}',
    "half of a pair in bytes": b'{"a": "\xed\xa0\x80"}',
    "null character": b'{"a": "\\u0000"}',
    "control character": b'{"a": "\x01"}',
    "delete": b'{"a": "\x7f"}',
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a": "ü"}'.encode("utf-16"),
    "UTF-32": '{"a": "ü"}'.encode("utf-32"),
    "no UTF-8": b'{"a": "\xff"}',
    "overlong": b'{"a": "\xc0\x80"}',
    "empty": b"",
    "blank": b" \n",
    "white space of other kinds": b"\x0c{}",
    "rest": b'{"a": 1} {"b": 2}',
    "comma too many": b'{"a": [1, 2,],}',
    "leading zero": b"[01]",
    "no digit": b"[1., .5, +1]",
    "single quotes": b"{'a': 1}",
    "unknown escape": b'["\\x41"]',
    "half": b'{"a": [1, 2',
    "HTML": b"<html></html>",
    "200 levels": b"[" * 200 + b"1" + b"]" * 200,
    "900 levels": b'{"a":' * 900 + b"1" + b"}" * 900,
    "980 levels": b"[" * 980 + b"]" * 980,
    "1,020 levels": b"[" * 1_020 + b"]" * 1_020,
    "100,000 levels": b"[" * 100_000 + b"]" * 100_000,
    "100,000 levels without an end": b'{"a":' * 100_000,
    "many values side by side": b"[" + b", ".join([b'{"a": [[[{}]]]}'] * 3_000) + b"]",
    "brackets in strings": b'["[[[[{{{{", ' + b", ".join([b'"]}"'] * 3_000) + b"]",
}


def outcome(read: Callable[[bytes], Any], body: bytes) -> Any:
    """Return the value with the type of each part, or the kind of the error."""
    try:
        value = read(body)
    except (ValueError, RecursionError) as error:
        return RecursionError if isinstance(error, RecursionError) else ValueError
    try:
        return type(value), repr(value)
    except RecursionError:
        return "a value that is too deep to be shown"


@pytest.mark.parametrize("name", BODIES)
def test_a_body_is_read_as_json_reads_it(library: str, name: str) -> None:
    assert outcome(read_json, BODIES[name]) == outcome(json.loads, BODIES[name])


def test_any_float_is_read_as_json_reads_it(library: str) -> None:
    numbers = random.Random(7)
    floats = [struct.unpack("d", numbers.randbytes(8))[0] for _ in range(5_000)]
    bodies = [f"[{each!r}, {each:.14e}, {each:.25g}, {each % 1e6:.3f}]".encode() for each in floats if isfinite(each)]

    assert [repr(read_json(body)) for body in bodies] == [repr(json.loads(body)) for body in bodies]


def test_the_order_of_keys_is_that_of_json(library: str) -> None:
    body = b'{"b": 1, "a": 2, "b": 3, "c": {"z": 0, "y": 1, "z": 2}}'

    assert json.dumps(read_json(body)) == json.dumps(json.loads(body))


def test_an_ordinary_body_is_read_by_orjson_where_it_is_installed(
    monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    read: list[bytes] = []

    def loads(body: bytes) -> Any:
        read.append(body)
        return {}

    if library == "orjson":
        monkeypatch.setattr("orjson.loads", loads)
        json_values._orjson_loads.cache_clear()
    items = b", ".join(b'{"id": "step_%d", "details": {"calls": [{"id": 12345678}]}}' % at for at in range(1_000))
    body = b'{"data": [' + items + b"]}"
    read_json(body)

    assert read == ([body] if library == "orjson" else [])


BROKEN = ["empty", "half", "HTML", "rest", "no UTF-8", "control character", "100,000 levels"]


@pytest.mark.parametrize("name", BROKEN)
def test_the_error_of_a_broken_body_is_the_same(library: str, name: str) -> None:
    settings = read_settings(host="http://127.0.0.1:1")

    with pytest.raises(PortkeyError, match="a body that is no JSON object") as raised:
        read_response(Response("GET", "/threads", 200, {}, BODIES[name]), settings)

    assert type(raised.value).__name__ == "PortkeyUnexpectedResponseError"
