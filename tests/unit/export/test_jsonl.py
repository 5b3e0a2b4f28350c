"""The reader of JSON Lines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_portkey.exceptions import PortkeyLineInvalidError
from airflow_provider_portkey.export import jsonl
from airflow_provider_portkey.export.jsonl import iter_objects, read_object, split_lines


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1_000])
@pytest.mark.parametrize("content", [b"", b"a", b"a\n", b"a\n\n", b"\n\nab\n", b"abc\ndefg\r\nh\n\nijkl"])
def test_lines_are_the_same_wherever_the_chunks_are_cut(content: bytes, size: int) -> None:
    chunks = [content[start : start + size] for start in range(0, len(content), size)]
    assert list(split_lines(chunks)) == (content.removesuffix(b"\n").split(b"\n") if content else [])


def test_no_other_separator_ends_a_line() -> None:
    line = '{"a": "one\u2028two\x85three\x0cfour\rfive"}'.encode()
    assert list(split_lines([line])) == [line]


@pytest.mark.parametrize("size", [4, 8])
@pytest.mark.parametrize("end", [b"\n{}\n", b"\n{}", b"\n\n{}"])
def test_a_line_that_is_too_long_is_cut_off_and_the_next_line_is_read(
    monkeypatch: pytest.MonkeyPatch, size: int, end: bytes
) -> None:
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 10)
    first, *others = split_lines([b"x" * size] * 1_000 + [end])
    assert 10 < len(first) <= 10 + size
    assert [line for line in others if line] == [b"{}"]
    with pytest.raises(ValueError, match="is longer than 10 bytes"):
        read_object(first)


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_file_that_ends_with_a_line_that_is_too_long_has_one_line(
    monkeypatch: pytest.MonkeyPatch, end: bytes
) -> None:
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 10)
    assert list(split_lines([b"x" * 8, b"x" * 8, b"x" * 8 + end])) == [b"x" * 16]


def test_a_line_that_is_too_long_is_yielded_before_the_rest_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 1_000)
    read = []

    def chunks() -> Iterator[bytes]:
        for _ in range(1_000):
            read.append(1)
            yield b"x" * 100

    next(split_lines(chunks()))
    assert len(read) == 11


@pytest.mark.parametrize("line", [b'{"a": "\xc3\xa4"}', b' {"a": "\\u00e4"} ', b'{"a": "\\u00e4"}\r'])
def test_an_object_is_read_with_white_space_around(line: bytes) -> None:
    assert read_object(line) == read_object(line, strict=True) == {"a": "ä"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "is blank"),
        (b" \r", "is blank"),
        (b"[]", "is no JSON object but an array"),
        (b"null", "is no JSON object but null"),
        (b"false", "is no JSON object but true or false"),
        (b'"a"', "is no JSON object but a string"),
        (b"1.5", "is no JSON object but a number"),
        (b"{", "is no JSON: Expecting property name enclosed in double quotes at character 2"),
        (b"{} {}", "is no JSON: Extra data at character 4"),
        (b"[" * 200_000, "is nested too deeply"),
        (b'{"a": \xe4}', "is not UTF-8 (byte 7 is 0xe4)"),
        (b"\xef\xbb\xbf{}", "begins with a byte order mark (BOM): save the file as UTF-8 without one"),
        ("\ufeff{}".encode("utf-16-le"), "is UTF-16: save the file as UTF-8"),
        (b"\x1f\x8b\x08\x00\xff", "is compressed (gzip): the file must be plain text"),
    ],
)
def test_a_line_that_is_no_object_says_what_it_is_instead(line: bytes, reason: str) -> None:
    for strict in (False, True):
        with pytest.raises(ValueError) as raised:
            read_object(line, strict=strict)
        assert str(raised.value) == reason


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have_are_refused_where_strict(number: str) -> None:
    line = f'{{"a": {number}}}'.encode()
    assert str(read_object(line)["a"]) == str(float(number))
    with pytest.raises(ValueError, match=f"^is no JSON: {number} is no JSON$"):
        read_object(line, strict=True)


@pytest.mark.parametrize(
    "line", [b"secret", b'"secret"', b'["secret"]', b'{"secret": ', b'{"a": 1} secret', b"{secret\xff"]
)
def test_an_error_does_not_repeat_the_line(line: bytes) -> None:
    with pytest.raises(ValueError) as raised:
        read_object(line)
    assert "secret" not in str(raised.value)


def test_objects_of_a_file_name_the_line_that_is_none() -> None:
    objects = iter_objects([b'{"a": 1}', b"", b'{"a": NaN}', b"<html>"], "file 'x'")
    assert next(objects) == {"a": 1}
    assert str(next(objects)) == "{'a': nan}"
    with pytest.raises(PortkeyLineInvalidError, match=r"file 'x': line 4 is no JSON: Expecting value at character 1\."):
        next(objects)
