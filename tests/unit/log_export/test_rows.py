"""The rows of several exports in one stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_portkey.exceptions import PortkeyUnexpectedResponseError
from airflow_provider_portkey.export import jsonl
from airflow_provider_portkey.export.window import Window
from airflow_provider_portkey.log_export.plan import Part, Plan
from airflow_provider_portkey.log_export.rows import join_parts, typed_row

T0 = datetime(2026, 7, 25, tzinfo=UTC)


def plan_of(*totals: int, whole: int | None = None) -> Plan:
    parts = [
        Part(Window(T0 + timedelta(hours=n), T0 + timedelta(hours=n + 1)), f"e{n}", total)
        for n, total in enumerate(totals)
    ]
    whole = sum(totals) if whole is None else whole
    return Plan(parts, whole, whole)


class Lines:
    """Stands for the writer of a file: keeps the lines."""

    def __init__(self) -> None:
        self.written = b""

    def write_line(self, line: bytes, row: object) -> None:
        self.written += line + b"\n"


def lines(*row_ids: str) -> bytes:
    return b"".join(json.dumps({"id": row_id}).encode() + b"\n" for row_id in row_ids)


def join(plan: Plan, *files: bytes, size: int = 7):
    writer = Lines()

    def download(export_id: str) -> Iterator[bytes]:
        content = files[int(export_id[1:])]
        return (content[at : at + size] for at in range(0, len(content), size))

    return join_parts(plan, download, writer), writer.written


@pytest.mark.parametrize("size", [1, 2, 7, 13, 1_000])
def test_lines_are_joined_as_they_were_sent_whatever_the_chunks(size):
    first = '{"id": "ä", "n": 1.10}\n{"id":"b"}'.encode()
    joined, written = join(plan_of(2, 1), first, b'\n{"id": "c"}\r\n\n', size=size)
    assert written == first + b'\n{"id": "c"}\n'
    assert (joined.rows, joined.written, joined.repeated) == ([2, 1], 3, 0)
    assert joined.differences(plan_of(2, 1)) == []


def test_a_separator_within_a_row_ends_no_line():
    row = '{"id": "a", "request": "one\u2028two\x85three\\nfour"}\n'.encode()
    joined, written = join(plan_of(1), row)
    assert (written, joined.rows) == (row, [1])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"{secret", "is no JSON: Expecting property name"),
        (b'["secret"]', "is no JSON object but an array"),
        (b'"secret"', "is no JSON object but a string"),
        (b"null", "is no JSON object but null"),
        (b'{"id": 1} {"secret": 2}', "is no JSON: Extra data"),
        (b"\xff\xfesecret", "is UTF-16"),
        (b"<html>secret", "is no JSON: Expecting value"),
    ],
)
def test_a_line_that_is_no_json_object_is_named_and_not_shown(bad, reason):
    with pytest.raises(PortkeyUnexpectedResponseError, match=rf"Log export 'e1': line 2 {reason}") as raised:
        join(plan_of(1, 2), lines("a"), lines("b") + bad + b"\n")
    assert f"({len(bad)} bytes)" in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_line_that_never_ends_is_refused_before_it_fills_the_memory(monkeypatch):
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 1_000)
    received = []

    def download(export_id: str) -> Iterator[bytes]:
        for _ in range(1_000):
            received.append(1)
            yield b"x" * 100

    with pytest.raises(PortkeyUnexpectedResponseError, match="line 1 is longer than 1000 bytes"):
        join_parts(plan_of(1), download, Lines())
    assert len(received) < 20


def test_rows_at_a_boundary_that_both_parts_have_are_written_once():
    plan = plan_of(3, 3, 2, whole=6)
    joined, written = join(plan, lines("a", "b", "s"), lines("s", "c", "t"), lines("t", "d"))
    assert written == lines("a", "b", "s", "c", "t", "d")
    assert (joined.rows, joined.repeated, joined.written) == ([3, 3, 2], 2, 6)
    assert joined.differences(plan) == []


def test_rows_are_kept_where_the_parts_do_not_overlap():
    joined, written = join(plan_of(2, 2), lines("a", "a"), lines("a", "b"))
    assert written == lines("a", "a", "a", "b")
    assert joined.repeated == 0


def test_a_row_that_comes_twice_within_a_part_is_no_repetition():
    plan = plan_of(3, 2, whole=4)
    joined, written = join(plan, lines("a", "s", "s"), lines("s", "c"))
    assert written == lines("a", "s", "s", "c")
    assert joined.differences(plan) == []


@pytest.mark.parametrize(
    ("plan", "files", "expected"),
    [
        (plan_of(2, 1), (lines("a"), lines("c")), ["export 'e0' has 1 rows instead of 2"]),
        (plan_of(1, 1), (lines("a"), lines("b", "c")), ["export 'e1' has 2 rows instead of 1"]),
        # Together as many as counted, and still not the right ones.
        (plan_of(1, 2), (lines("a", "b"), lines("c")), ["export 'e0' has 2 rows", "export 'e1' has 1 rows"]),
        # An overlap that no id explains.
        (plan_of(2, 2, whole=3), (lines("a", "b"), lines("c", "d")), ["together have 4 rows instead of 3"]),
    ],
)
def test_what_differs_from_the_count_is_named(plan, files, expected):
    joined, _ = join(plan, *files)
    found = joined.differences(plan)
    assert len(found) == len(expected)
    assert all(words in one for words, one in zip(expected, found, strict=True))


def test_memory_does_not_grow_with_the_rows(peak):
    row = json.dumps({"id": "x", "request": "y" * 2_000}).encode() + b"\n"

    class Nowhere:
        def write_line(self, line, row):
            pass

    def download(export_id: str) -> Iterator[bytes]:
        return (row * 100 for _ in range(100))

    joined = []
    assert peak(lambda: joined.append(join_parts(plan_of(10_000), download, Nowhere()))) < 2_000_000
    assert joined[0].rows == [10_000]  # 20 MB


@pytest.mark.parametrize(
    ("name", "sent", "typed"),
    [
        ("is_success", 1, True),
        ("is_success", 0, False),
        ("is_success", "True", True),
        ("is_success", True, True),
        ("is_success", 2, 2),
        ("is_success", None, None),
        ("cost", "0.25", 0.25),
        ("cost", "free", "free"),
        ("total_units", "25", 25),
        ("ai_model", "1", "1"),
        ("unknown", "1", "1"),
    ],
)
def test_a_row_of_a_table_has_the_types_of_its_columns(name, sent, typed):
    (found,) = typed_row({name: sent}).values()
    assert (found, type(found)) == (typed, type(typed))
