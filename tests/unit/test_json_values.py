from __future__ import annotations

import json
import math
import sys
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import IntEnum
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_portkey import json_values
from airflow_provider_portkey.json_values import (
    MAX_DEPTH,
    storable,
    strict_json,
    strict_json_joined,
    strict_json_of_all,
)

INF = math.inf


def refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("bad byte \0 and half an emoji \ud83d", "bad byte \\u0000 and half an emoji \\ud83d"),
        ("\ude00\ud83d", "\\ude00\\ud83d"),
        ("an emoji 😀, a line separator \u2028", "an emoji 😀, a line separator \u2028"),
        (math.nan, None),
        (INF, None),
        (-INF, None),
        (1.5, 1.5),
        (True, True),
        (None, None),
        (2**70, 2**70),
        ({"a\0": {"b": ["\ud83d", (INF, 1)]}}, {"a\\u0000": {"b": ["\\ud83d", [None, 1]]}}),
    ],
)
def test_a_value_is_made_storable_and_stays_readable(value: Any, stored: Any) -> None:
    assert storable(value) == stored
    assert "\\u0000" not in json.dumps(stored).replace("\\\\u0000", "")


class Level(IntEnum):
    HIGH = 3


class Named(str):
    """A string of a class of its own."""


@dataclass
class Point:
    x: int
    y: int


def nested(depth: int, innermost: Any) -> Any:
    value = innermost
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1, 300, 600])
def test_deep_values_end_at_a_known_depth(depth: int) -> None:
    value, levels = storable(nested(depth, ["\0"])), 0
    while isinstance(value, list):
        value, levels = value[0], levels + 1

    assert levels == min(depth + 1, MAX_DEPTH)
    assert "\\u0000" in value


def test_what_not_even_the_encoder_can_walk_is_none() -> None:
    value = storable(nested(100_000, 1))
    for _ in range(MAX_DEPTH):
        (value,) = value

    assert value is None


def test_json_has_null_for_each_number_that_is_not_finite_and_counts_them() -> None:
    row = {"b": [math.nan, INF, -INF, 1e999], "a": 'NaN "Infinity" \\', "c": 1.5}

    text, replaced = strict_json(row)

    assert replaced == 4
    assert json.loads(text, parse_constant=refuse) == {"a": row["a"], "b": [None] * 4, "c": 1.5}
    assert list(json.loads(text)) == ["a", "b", "c"]


def test_json_is_one_line_to_every_reader() -> None:
    row = {"text": "one\u2028two\u2029three\nfour"}

    text, replaced = strict_json(row)

    assert text.splitlines() == [text]
    assert (json.loads(text), replaced) == (row, 0)


def test_json_keeps_characters_and_escapes_halves_of_surrogate_pairs() -> None:
    row = {"text": "Grüße 😀 \ud83d \0 \\ud83d"}

    text, _ = strict_json(row)

    assert "Grüße 😀" in text.encode().decode()
    assert json.loads(text) == row


@pytest.mark.parametrize("depth", [50, 400])
def test_a_deep_row_has_its_numbers_replaced_too(depth: int) -> None:
    text, replaced = strict_json(nested(depth, math.nan))

    assert (text, replaced) == ("[" * depth + "null" + "]" * depth, 1)


#: Also near 0.0001 and 1e16, from which on the exponents begin.
FLOATS = st.floats() | st.floats(1e-6, 1e-3) | st.floats(1e15, 1e18) | st.integers(-(2**60), 2**60).map(float)
FLOATS |= st.builds(
    lambda exponent, steps, sign: sign * 10.0**exponent * (1 + steps * sys.float_info.epsilon),
    st.integers(-8, 20), st.integers(-3, 3), st.sampled_from([1, -1]),
)  # fmt: skip
#: Also what may look like floats where values are searched as bytes.
TEXTS = st.text(st.characters(codec=None)) | st.sampled_from(
    ["f\x03nan", "f\x041e-9", "\u2028é\u2029", "è\xa9", "1e16", "NaN"]
)
INTEGERS = st.integers() | st.integers(-(2**70), 2**70)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | INTEGERS | FLOATS | TEXTS,
    lambda values: st.lists(values) | st.dictionaries(TEXTS, values),
    max_leaves=20,
)
NO_JSON = st.builds(
    lambda: [datetime(2026, 1, 2, tzinfo=UTC), uuid.UUID(int=1), b"bytes", {1}, Decimal("1.5"), 1j, ..., Point(1, 2)]
).flatmap(st.sampled_from)
KEYS = TEXTS | INTEGERS | FLOATS | st.booleans() | st.none()
ANYTHING = st.recursive(
    ANY_JSON | NO_JSON | st.sampled_from([Level.HIGH, Named("text")]),
    lambda values: st.lists(values) | st.dictionaries(KEYS, values) | st.tuples(values),
    max_leaves=8,
)


def written(values: list[Any]) -> tuple[list[bytes], int] | tuple[type[Exception], str]:
    try:
        return strict_json_of_all(values)
    except Exception as error:
        return type(error), str(error)


@given(st.lists(ANY_JSON, max_size=5))
def test_json_of_all_is_that_of_each(values: list[Any]) -> None:
    each = [strict_json(value) for value in values]
    replaced = sum(replaced for _, replaced in each)

    assert strict_json_of_all(values) == ([text.encode() for text, _ in each], replaced)
    assert strict_json_joined(values, b",\n") == (",\n".join(text for text, _ in each).encode(), replaced)


@settings(max_examples=300)
@given(st.lists(ANYTHING, max_size=4))
def test_bytes_and_errors_are_the_same_without_orjson(values: list[Any]) -> None:
    found = written(values)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(json_values, "_orjson_dumps", lambda: None)

        assert written(values) == found


@pytest.mark.parametrize(
    "values", [[], ["\0"], ["\0", "\0"], [["a", "\0", "b"], 1], [{"a": ['","\0",', "\0", 0]}, {}, '",']]
)
def test_values_that_look_like_what_separates_values_stay_apart(values: list[Any]) -> None:
    each = [json.dumps(value, separators=(",", ":")).encode() for value in values]

    assert strict_json_of_all(values) == (each, 0)
    assert strict_json_joined(values, b"\n") == (b"\n".join(each), 0)


@given(st.lists(FLOATS, min_size=1, max_size=50))
def test_floats_are_spelled_as_json_does(values: list[float]) -> None:
    finite = [value for value in values if math.isfinite(value)]

    assert strict_json_of_all(finite)[0] == [json.dumps(value).encode() for value in finite]


def test_values_of_usual_floats_are_written_by_orjson(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("orjson")
    by_json = Mock(side_effect=json_values._encode_finite)
    monkeypatch.setattr(json_values, "_encode_finite", by_json)
    usual = [{"temperature": 1.0, "cost": [0.0001, 0.1, 123456.789, -2.5, 0.0, 9007199254740993.0]}, {"text": "f 1e-9"}]

    assert strict_json_of_all([*usual, {"cost": 1e-9}])[0][2] == b'{"cost":1e-09}'
    by_json.assert_called_once_with({"cost": 1e-9})


@pytest.mark.parametrize(
    "value",
    [
        1e16, -1e-5, 1e22, 5e-324, 0.0001, 1.0, -0.0, [1, [2.5]], {"a": {"b": 1e-7}},
        math.nan, [None, -INF], 2**64, -(2**63) - 1, {"\u2029": "\u2028é"}, "\ud83d", {"\ud83d": 1}, "\0\x1f\x7f\"\\/",
        {"b": 1, "a": 2, "é": 3, "B": 4, "😀": 5, "\uffff": 6, "": 7}, {1: "number as a key"}, (1, 2),
    ],
)  # fmt: skip
def test_json_of_all_is_the_same_with_orjson(value: Any) -> None:
    assert strict_json_of_all([value, "next"])[0] == [strict_json(value)[0].encode(), b'"next"']


def test_a_value_that_is_no_json_is_an_error_with_orjson_too() -> None:
    for value in (datetime.now(tz=UTC), {"a": uuid.uuid4()}, b"bytes", {1, 2}):
        with pytest.raises(TypeError):
            strict_json_of_all([value])


def test_nesting_that_orjson_refuses_is_written() -> None:
    deep = nested(400, "x")

    assert strict_json_of_all([deep])[0] == [strict_json(deep)[0].encode()]
