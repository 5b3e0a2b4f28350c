from __future__ import annotations

import pytest
from markupsafe import escape

from airflow_provider_portkey.report.texts import MAX_CHARACTERS, Texts, label, readable
from tests.hostile import HOSTILE_TEXTS


@pytest.mark.parametrize("text", HOSTILE_TEXTS.values(), ids=HOSTILE_TEXTS)
def test_every_text_is_short_and_can_be_encoded(text: str) -> None:
    excerpt = Texts().excerpt(text)
    assert excerpt is not None
    assert excerpt.text.encode()
    assert len(excerpt.text) <= 10 * MAX_CHARACTERS
    assert excerpt.omitted == max(0, len(text) - MAX_CHARACTERS)
    assert len(label(text).encode()) <= 4 * 120


@pytest.mark.parametrize(
    ("character", "shown"),
    [
        ("\u202e", "\\u202e"),
        ("\0", "\\u0000"),
        ("\ud83d", "\\ud83d"),
        ("\x1b", "\\u001b"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_a_misleading_character_is_shown_as_its_escape(character: str, shown: str) -> None:
    assert readable(f"a{character}b") == f"a{shown}b"


@pytest.mark.parametrize("text", ["a\tb\nc", "👩\u200d👧", "שלום", "क्\u200dष", "Größe"])
def test_ordinary_text_stays(text: str) -> None:
    assert readable(text) == text


def test_json_is_indented_and_other_text_is_not() -> None:
    texts = Texts()
    assert texts.excerpt('{"b": [1], "a": "ü"}').text == '{\n  "b": [\n    1\n  ],\n  "a": "ü"\n}'
    assert texts.excerpt("[not json").text == "[not json"
    assert texts.excerpt({"a": None}).text == '{\n  "a": null\n}'


@pytest.mark.parametrize("empty", [None, "", [], {}])
def test_an_empty_value_has_no_excerpt(empty: object) -> None:
    assert Texts().excerpt(empty) is None


def test_zero_and_false_are_no_empty_values() -> None:
    assert [Texts().excerpt(value).text for value in (0, False)] == ["0", "false"]


def test_a_page_that_is_full_says_how_much_is_left_out() -> None:
    texts = Texts(max_bytes=100)
    assert texts.excerpt("<" * 20).text == "<" * 20  # 80 bytes, escaped
    full = texts.excerpt("é" * 11)
    assert (full.text, full.omitted, texts.without_room) == ("", 11, 1)
    assert texts.excerpt("é" * 10).text == "é" * 10
    assert texts.without_room == 1


def test_the_limit_counts_the_bytes_of_the_file() -> None:
    texts = Texts(max_bytes=1_000)
    shown = [texts.excerpt("<'é" * 7) for _ in range(50)]
    assert sum(len(str(escape(one.text)).encode()) for one in shown) <= 1_000
