from __future__ import annotations

import contextlib
import csv
import gc
import gzip
import io
import itertools
import json
import math
import random
import sys
import tracemalloc
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest
import zstandard
from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException

from airflow_provider_portkey.export.formats import check_installed, encode, unlike_name
from airflow_provider_portkey.export.tables import flatten
from airflow_provider_portkey.jobs.list_spec import FixedColumns
from airflow_provider_portkey.parameters import PARAMETERS

FORMATS = ("jsonl", "json", "csv", "parquet")
COMPRESSIONS = ("gzip", "zstd")

COLUMNS = {"id": "text", "created_at": "integer", "status": "text", "step_details": "json"}
ROWS: list[dict[str, Any]] = [
    {"id": "step_1", "created_at": 1_700_000_000, "status": "completed", "step_details": {"type": "x", "n": [1, None]}},
    {"id": "step_2", "created_at": None, "status": 'quo"te, comma', "step_details": []},
    {"id": "step_3", "status": "line\nbreak\r\nand more", "step_details": "text"},
    {"id": "step_4", "created_at": 2**62, "status": "ünïcödé 线", "step_details": None, "new": {"b": 1, "a": [True]}},
    {"id": "step_5", "created_at": "2026-11-22", "status": 7, "step_details": 1.5},
    {"id": "step_6", "created_at": 2**70, "status": "", "unset": None},
    {"id": "step_7", "created_at": True, "status": {"a": "b"}},
]


def encoded(rows: Iterable[dict[str, Any]], file_format: str, compression: str | None = None) -> bytes:
    stream = io.BytesIO()
    with encode(stream, columns=COLUMNS, file_format=file_format, compression=compression) as encoder:
        for row in rows:
            encoder.write_rows([row])
    return stream.getvalue()


def decompressed(content: bytes, compression: str | None) -> bytes:
    if compression == "gzip":
        return gzip.decompress(content)
    if compression == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(content)
    return content


def table(content: bytes) -> list[dict[str, Any]]:
    return pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()


def csv_table(content: bytes, **types: pyarrow.DataType) -> list[dict[str, Any]]:
    """Read csv as the docs tell to: an empty field is null, a quoted one an empty string."""
    options = pyarrow.csv.ConvertOptions(
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        column_types={"created_at": pyarrow.int64(), "step_details": pyarrow.string(), **types},
    )
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    return pyarrow.csv.read_csv(io.BytesIO(content), parse_options=parse, convert_options=options).to_pylist()


def unflattened(line: dict[str, Any]) -> dict[str, Any]:
    """Undo what a table does to a row; fields that are null in the table are left out."""
    row = {name: value for name, value in line.items() if value is not None and name != "other_fields"}
    if "step_details" in row:
        row["step_details"] = json.loads(row["step_details"])
    return row | json.loads(line["other_fields"] or "{}")


def without_empty(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None or name not in COLUMNS}


@pytest.mark.parametrize("compression", [None, *COMPRESSIONS])
def test_json_lines_give_the_rows_back(compression: str | None) -> None:
    content = decompressed(encoded(ROWS, "jsonl", compression), compression)

    assert content.endswith(b"\n")
    assert [json.loads(line) for line in content.removesuffix(b"\n").split(b"\n")] == ROWS


@pytest.mark.parametrize("compression", [None, *COMPRESSIONS])
def test_a_json_array_gives_the_rows_back(compression: str | None) -> None:
    assert json.loads(decompressed(encoded(ROWS, "json", compression), compression)) == ROWS


@pytest.mark.parametrize("compression", [None, *COMPRESSIONS])
def test_csv_gives_the_rows_back(compression: str | None) -> None:
    content = decompressed(encoded(ROWS, "csv", compression), compression)

    assert content.startswith(b"id,created_at,status,step_details,other_fields\n")
    assert [unflattened(line) for line in csv_table(content)] == [without_empty(row) for row in ROWS]


TYPED = {"id": "text", "score": "number", "done": "boolean", "n": "integer"}
TYPED_ROWS: list[dict[str, Any]] = [
    {"id": "a", "score": 0.1, "done": True, "n": 1},
    {"id": "b", "score": 2, "done": False, "n": None},
    {"id": "c", "score": -1e300, "done": None, "n": 0},
    {"id": "d", "score": None},
]
#: Values that are not of the type of their column; the column is empty, and other_fields has them.
WRONG: list[tuple[str, Any]] = [
    ("score", "0.1"), ("score", True), ("score", 2**53 + 1), ("score", 10**400), ("score", [1.0]),
    ("done", 1), ("done", "true"), ("done", 0.0),
    ("n", 1.0), ("n", False),
]  # fmt: skip


def encoded_typed(rows: Iterable[dict[str, Any]], file_format: str) -> list[dict[str, Any]]:
    stream = io.BytesIO()
    with encode(stream, columns=TYPED, file_format=file_format) as encoder:
        for row in rows:
            encoder.write_rows([row])
    if file_format == "parquet":
        return table(stream.getvalue())
    types = {
        "score": pyarrow.float64(),
        "done": pyarrow.bool_(),
        "n": pyarrow.int64(),
        "other_fields": pyarrow.string(),
    }
    return csv_table(stream.getvalue(), **types)


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_numbers_and_booleans_have_columns_of_their_type(file_format: str) -> None:
    expected = [{**dict.fromkeys((*TYPED, "other_fields")), **row} for row in TYPED_ROWS]

    found = encoded_typed(TYPED_ROWS, file_format)

    assert found == expected
    assert [type(line["done"]) for line in found] == [bool, bool, type(None), type(None)]
    assert type(found[1]["score"]) is float


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_value_of_another_type_is_among_the_other_fields(file_format: str, name: str, value: Any) -> None:
    (line,) = encoded_typed([{"id": "a", name: value}], file_format)

    assert line[name] is None
    assert json.loads(line["other_fields"]) == {name: value}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_not_in_its_column(value: float) -> None:
    assert flatten({"score": value}, TYPED)["score"] is None


def test_null_and_the_empty_string_differ_in_csv() -> None:
    content = encoded([{"id": "", "status": None, "step_details": ""}], "csv")

    assert content.splitlines()[1] == b'"",,,"""""",'


if sys.version_info >= (3, 13):  # the first one that reads null

    def test_pythons_own_reader_tells_null_from_the_empty_string() -> None:
        content = encoded([{"id": "", "status": None}], "csv").decode()
        _, line = csv.reader(io.StringIO(content, newline=""), quoting=csv.QUOTE_NOTNULL)

        assert line == ["", None, None, None, None]


@pytest.mark.parametrize(("compression", "codec"), [(None, "SNAPPY"), ("gzip", "GZIP"), ("zstd", "ZSTD")])
def test_parquet_gives_the_rows_back(compression: str | None, codec: str) -> None:
    content = encoded(ROWS, "parquet", compression)

    assert [unflattened(line) for line in table(content)] == [without_empty(row) for row in ROWS]
    assert pyarrow.parquet.ParquetFile(io.BytesIO(content)).metadata.row_group(0).column(0).compression == codec


def test_the_columns_of_parquet_have_the_declared_types() -> None:
    schema = pyarrow.parquet.read_schema(io.BytesIO(encoded(ROWS, "parquet")))

    assert {name: str(schema.field(name).type) for name in schema.names} == {
        "id": "string",
        "created_at": "int64",
        "status": "string",
        "step_details": "string",
        "other_fields": "string",
    }


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("compression", [None, *COMPRESSIONS])
def test_the_same_rows_give_the_same_bytes(file_format: str, compression: str | None) -> None:
    backwards = [dict(reversed(row.items())) for row in ROWS]

    assert encoded(ROWS, file_format, compression) == encoded(backwards, file_format, compression)


def test_the_header_of_gzip_holds_neither_time_nor_name() -> None:
    content = encoded(ROWS, "jsonl", "gzip")

    assert content[:2] == b"\x1f\x8b"
    assert content[3] == 0
    assert content[4:8] == b"\0\0\0\0"


@pytest.mark.parametrize("compression", [None, *COMPRESSIONS])
@pytest.mark.parametrize(
    ("file_format", "content"),
    [("jsonl", b""), ("json", b"[]\n"), ("csv", b"id,created_at,status,step_details,other_fields\n")],
)
def test_no_rows_give_a_valid_file(file_format: str, content: bytes, compression: str | None) -> None:
    assert decompressed(encoded([], file_format, compression), compression) == content


@pytest.mark.parametrize("compression", [None, *COMPRESSIONS])
def test_no_rows_give_a_valid_parquet_file_with_all_columns(compression: str | None) -> None:
    read = pyarrow.parquet.read_table(io.BytesIO(encoded([], "parquet", compression)))

    assert read.num_rows == 0
    assert read.column_names == [*COLUMNS, "other_fields"]


SURROGATE = [{"id": "step_\ud83d", "step_details": {"text": "half \udc00"}, "new": "\ud800", "status": "ü"}]


@pytest.mark.parametrize("file_format", ["jsonl", "json"])
def test_half_a_surrogate_pair_survives_as_json(file_format: str) -> None:
    content = json.loads(encoded(SURROGATE, file_format))

    assert content == (SURROGATE if file_format == "json" else SURROGATE[0])


def test_half_a_surrogate_pair_does_not_break_tables() -> None:
    (parquet,) = table(encoded(SURROGATE, "parquet"))
    _, line = csv.reader(io.StringIO(encoded(SURROGATE, "csv").decode()))

    for flat in (parquet, dict(zip(parquet, line, strict=True))):
        assert flat["id"] == "step_\\ud83d"
        assert flat["status"] == "ü"
        assert json.loads(flat["step_details"]) == {"text": "half \udc00"}
        assert json.loads(flat["other_fields"]) == {"new": "\ud800"}


@pytest.mark.parametrize(
    "text",
    [
        "a\nb",
        "a\r\nb",
        "\n",
        "a\tb",
        "a\x00b",
        "a\u2028b",
        '"',
        ",",
        " leading",
        "a\rb",
    ],
)
def test_any_text_of_a_csv_field_stays_in_its_field(text: str) -> None:
    content = encoded([{"id": "step_1", "status": text}, {"id": "step_2"}], "csv").decode()

    _, first, second = csv.reader(io.StringIO(content, newline=""))
    assert (first[0], first[2]) == ("step_1", text)
    assert second[0] == "step_2"


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63) + 1, 0, -1])
def test_integers_that_fit_are_numbers_in_tables(number: int) -> None:
    assert table(encoded([{"id": "a", "created_at": number}], "parquet"))[0]["created_at"] == number


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**100])
@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_integers_that_do_not_fit_are_kept_among_the_other_fields(number: int, file_format: str) -> None:
    flat = flatten({"id": "a", "created_at": number}, COLUMNS)

    assert flat["created_at"] is None
    assert json.loads(str(flat["other_fields"])) == {"created_at": number}
    assert encoded([{"id": "a", "created_at": number}], file_format)


@pytest.mark.parametrize(
    ("row", "flat"),
    [
        ({}, {}),
        ({"id": "a", "created_at": 1, "status": "x"}, {"id": "a", "created_at": 1, "status": "x"}),
        ({"id": None, "created_at": None, "status": None, "step_details": None}, {}),
        ({"step_details": {"b": 1, "a": "ü"}}, {"step_details": '{"a":"ü","b":1}'}),
        ({"step_details": False}, {"step_details": "false"}),
        ({"created_at": 1.5}, {"other_fields": '{"created_at":1.5}'}),
        ({"created_at": True}, {"other_fields": '{"created_at":true}'}),
        ({"id": 5, "status": ["x"]}, {"other_fields": '{"id":5,"status":["x"]}'}),
        ({"new": None, "newer": {"z": 1, "a": 2}}, {"other_fields": '{"new":null,"newer":{"a":2,"z":1}}'}),
        ({"other_fields": "taken"}, {"other_fields": '{"other_fields":"taken"}'}),
    ],
)
def test_a_row_becomes_a_line_and_loses_nothing(row: dict[str, Any], flat: dict[str, Any]) -> None:
    line = flatten(row, COLUMNS)

    assert list(line) == [*COLUMNS, "other_fields"]
    assert {name: value for name, value in line.items() if value is not None} == flat


def test_the_stream_is_left_open() -> None:
    for file_format in FORMATS:
        for compression in (None, *COMPRESSIONS):
            stream = io.BytesIO()
            with encode(stream, columns=COLUMNS, file_format=file_format, compression=compression) as encoder:
                encoder.write_rows([ROWS[0]])
            assert not stream.closed, (file_format, compression)


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("compression", [None, *COMPRESSIONS])
def test_an_error_in_the_block_is_the_only_one(file_format: str, compression: str | None) -> None:
    stream = io.BytesIO()
    with (
        pytest.raises(RuntimeError, match="in the block"),
        contextlib.closing(stream),
        encode(stream, columns=COLUMNS, file_format=file_format, compression=compression) as encoder,
    ):
        encoder.write_rows([ROWS[0]])
        raise RuntimeError("in the block")
    del encoder
    gc.collect()


@pytest.mark.parametrize(
    ("name", "file_format", "compression", "warning"),
    [
        ("a/steps.parquet", "jsonl", None, "the name ends in .parquet, and file_format is 'jsonl'"),
        ("steps.CSV.gz", "parquet", "gzip", "the name ends in .csv, and file_format is 'parquet'"),
        ("steps.jsonl.gz", "jsonl", None, "the name ends in .gz, and compression is None"),
        ("steps.zst", "csv", "gzip", "the name ends in .zst, and compression is 'gzip'"),
        ("steps.jsonl", "jsonl", None, None),
        ("steps.json", "jsonl", "gzip", None),
        ("a.csv/steps", "jsonl", None, None),
    ],
)
def test_a_name_that_says_something_else_is_noticed(
    name: str, file_format: str, compression: str | None, warning: str | None
) -> None:
    assert unlike_name(name, file_format, compression) == warning


def test_every_choice_that_is_offered_can_be_written() -> None:
    for file_format in FORMATS:
        assert PARAMETERS["file_format"]("file_format", file_format) == file_format
        for compression in (None, *COMPRESSIONS):
            assert PARAMETERS["compression"]("compression", compression) == compression
            check_installed(file_format, compression)


@pytest.mark.parametrize(
    ("file_format", "compression", "module", "extra"),
    [
        ("parquet", None, "pyarrow.parquet", "parquet"),
        ("parquet", "zstd", "pyarrow.parquet", "parquet"),
        ("csv", "zstd", "zstandard", "zstd"),
    ],
)
def test_what_is_not_installed_is_named_as_the_extra_to_install(
    monkeypatch: pytest.MonkeyPatch, file_format: str, compression: str | None, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(AirflowOptionalProviderFeatureException, match=rf"airflow-provider-portkey\[{extra}\]"):
        check_installed(file_format, compression)


@pytest.mark.parametrize(("file_format", "compression"), [("jsonl", None), ("csv", "gzip"), ("parquet", "gzip")])
def test_formats_need_no_library_that_they_do_not_use(
    monkeypatch: pytest.MonkeyPatch, file_format: str, compression: str | None
) -> None:
    unused = ["zstandard"] if file_format == "parquet" else ["zstandard", "pyarrow", "pyarrow.parquet"]
    for module in unused:
        monkeypatch.setitem(sys.modules, module, None)

    check_installed(file_format, compression)

    assert encoded(ROWS, file_format, compression)


class Sink(io.RawIOBase):
    """Counts the bytes that come and keeps none."""

    size = 0

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self.size += size
        return size

    def tell(self) -> int:
        return self.size

    def writable(self) -> bool:
        return True


def many_rows(count: int, measured: int) -> Iterable[dict[str, Any]]:
    """Yield rows; memory is traced, which is slow, for no more than the last ones: what grows still grows then."""
    for number in range(count):
        if number == count - measured:
            tracemalloc.start()
        yield {"id": f"step_{number}", "created_at": number, "status": "completed", "step_details": {"text": "x" * 50}}


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_many_rows_are_written_in_bounded_memory(file_format: str) -> None:
    sink = Sink()
    arrow_before = pyarrow.total_allocated_bytes()
    try:
        with encode(sink, columns=COLUMNS, file_format=file_format) as encoder:
            for row in many_rows(200_000, measured=20_000):
                encoder.write_rows([row])
            _, peak = tracemalloc.get_traced_memory()
            arrow = pyarrow.total_allocated_bytes() - arrow_before
    finally:
        tracemalloc.stop()

    assert sink.size > 1_000_000
    assert peak < 4_000_000
    assert arrow < 10_000_000


def test_large_rows_are_written_before_a_thousand_of_them_are_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_portkey.export.formats._ROW_GROUP_CHARACTERS", 10_000)
    rows = [{"id": f"step_{number}", "status": "x" * 4_000} for number in range(10)]
    content = encoded(rows, "parquet")

    assert table(content) == [dict.fromkeys([*COLUMNS, "other_fields"]) | row for row in rows]
    assert pyarrow.parquet.ParquetFile(io.BytesIO(content)).metadata.num_row_groups == 4


def test_row_groups_are_large_enough_that_the_footer_stays_small() -> None:
    content = encoded(({"id": f"step_{number}"} for number in range(12_000)), "parquet")
    read = pyarrow.parquet.ParquetFile(io.BytesIO(content))

    assert [read.metadata.row_group(at).num_rows for at in range(read.num_row_groups)] == [5_000, 5_000, 2_000]
    assert read.read()["id"].to_pylist() == [f"step_{number}" for number in range(12_000)]


NON_FINITE = [
    {"id": "step_1", "step_details": {"scores": [float("nan"), float("-inf"), 0.5]}},
    {"id": float("inf"), "created_at": float("nan"), "new": {"text": "NaN, -Infinity"}},
]


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


@pytest.mark.parametrize("file_format", ["jsonl", "json"])
def test_json_is_strict_and_counts_what_it_replaced(file_format: str) -> None:
    stream = io.BytesIO()
    with encode(stream, columns=COLUMNS, file_format=file_format) as encoder:
        for row in NON_FINITE:
            encoder.write_rows([row])
    lines = stream.getvalue().decode().splitlines()
    text = "\n".join(lines) if file_format == "json" else f"[{','.join(lines)}]"

    assert json.loads(text, parse_constant=refuse_constant) == [
        {"id": "step_1", "step_details": {"scores": [None, None, 0.5]}},
        {"id": None, "created_at": None, "new": {"text": "NaN, -Infinity"}},
    ]
    assert encoder.non_finite_values == 4


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_json_in_tables_is_strict_too(file_format: str) -> None:
    stream = io.BytesIO()
    with encode(stream, columns=COLUMNS, file_format=file_format) as encoder:
        for row in NON_FINITE:
            encoder.write_rows([row])
    if file_format == "csv":
        lines = list(csv.DictReader(io.StringIO(stream.getvalue().decode(), newline="")))
    else:
        lines = table(stream.getvalue())

    assert json.loads(lines[0]["step_details"]) == {"scores": [None, None, 0.5]}
    assert json.loads(lines[1]["other_fields"])["new"] == {"text": "NaN, -Infinity"}
    assert encoder.non_finite_values == 4


def written_lines(*lines: bytes) -> tuple[list[bytes], int]:
    stream = io.BytesIO()
    with encode(stream, columns=COLUMNS, file_format="jsonl") as encoder:
        for line in lines:
            encoder.write_line(line, json.loads(line))
    return stream.getvalue().split(b"\n")[:-1], encoder.non_finite_values


def test_a_line_that_was_received_stays_as_it_is_unless_it_is_no_json() -> None:
    fine = [b'{ "b": "NaN" }', b'{"a":1e999}', b'{"a": "\\u2028"}']

    assert written_lines(*fine) == (fine, 0)
    assert written_lines(b'{"b": NaN,  "a": [-Infinity, "Infinity"]}') == ([b'{"a":[null,"Infinity"],"b":null}'], 2)
    assert written_lines('{"a": "x\u2028y\u2029"}'.encode()) == ([b'{"a": "x\\u2028y\\u2029"}'], 0)


@pytest.mark.parametrize("file_format", ["jsonl", "json"])
def test_unicode_line_ends_are_escaped(file_format: str) -> None:
    content = encoded([{"id": "a\u2028b\u2029c\x85"}], file_format).decode()

    assert "\u2028" not in content
    assert "\u2029" not in content
    assert "a\\u2028b\\u2029c" in content


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "x=1", "", " =1", "'=1", '=cmd|"/c calc"!A1']


@pytest.mark.parametrize(("csv_formulas", "prefix"), [("keep", ""), ("escape", "'")])
def test_csv_can_neutralise_formulas(csv_formulas: str, prefix: str) -> None:
    stream = io.BytesIO()
    columns = {"id": "text", "=name": "text", "created_at": "integer", "step_details": "json"}
    with encode(stream, columns=columns, file_format="csv", csv_formulas=csv_formulas) as encoder:
        for text in FORMULAS:
            encoder.write_rows([{"id": text, "=name": None, "created_at": -5, "step_details": -1.5}])
    header, *lines = csv.reader(io.StringIO(stream.getvalue().decode(), newline=""))

    assert header[:2] == ["id", f"{prefix}=name"]
    for text, line in zip(FORMULAS, lines, strict=True):
        is_formula = text.startswith(("=", "+", "-", "@", "\t", "\r"))
        assert line == [(prefix if is_formula else "") + text, "", "-5", "-1.5", ""]


def in_format(rows: list[dict[str, Any]], file_format: str, columns: dict[str, str]) -> bytes:
    stream = io.BytesIO()
    with encode(stream, columns=columns, file_format=file_format) as encoder:
        for row in rows:
            encoder.write_rows([row])
    return stream.getvalue()


def test_a_column_of_timestamps_has_them_in_utc() -> None:
    rows = [{"at": "2026-11-22T11:00:00.5+01:00"}, {"at": 1795341600}, {"at": None}, {"at": "yesterday"}]

    content = in_format(rows, "csv", {"at": "timestamp"})
    read = pyarrow.parquet.read_table(io.BytesIO(in_format(rows, "parquet", {"at": "timestamp"})))

    assert content.decode().splitlines() == [
        "at,other_fields",
        "2026-11-22T10:00:00.500000Z,",
        "2026-11-22T10:00:00Z,",
        ",",
        ',"{""at"":""yesterday""}"',
    ]
    assert read.schema.field("at").type == pyarrow.timestamp("us", tz="UTC")
    assert [value and value.isoformat() for value in read["at"].to_pylist()] == [
        "2026-11-22T10:00:00.500000+00:00",
        "2026-11-22T10:00:00+00:00",
        None,
        None,
    ]


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_a_table_with_fixed_columns_has_no_column_of_other_fields(file_format: str) -> None:
    columns = FixedColumns(id="text")
    content = in_format([{"id": "a"}, {}], file_format, columns)
    found = table(content) if file_format == "parquet" else csv_table(content)
    assert found[0] == {"id": "a"}
    with pytest.raises(ValueError, match=r"no place for \['other'\]"):
        in_format([{"other": 1}], file_format, columns)


PAGED_COLUMNS = {**COLUMNS, "score": "number", "done": "boolean"}


def paged_rows(count: int) -> list[dict[str, Any]]:
    """Return rows of many kinds: with floats, quotes, missing fields and, now and then, values of another type."""
    numbers = random.Random(3)
    rows = []
    for at in range(count):
        row = {
            "id": f"step_{at}",
            "created_at": numbers.choice([None, at, 2**62, "soon"] if at % 97 == 0 else [at, None]),
            "status": numbers.choice(["completed", 'say "a,b"\n', "", "é\u2028"]),
            "step_details": {"calls": [{"arguments": "x" * numbers.randrange(2_000), "n": at}], "type": "calls"},
            "score": numbers.choice([0.1, 1, None, 1e-7, math.nan] if at % 89 == 0 else [0.25, None]),
            "done": numbers.choice([True, False, None]),
        }
        rows.append(row | ({"new": numbers.random()} if at % 5 == 0 else {}))
    return rows


def pages_of(rows: list[dict[str, Any]], *sizes: int) -> Iterator[list[dict[str, Any]]]:
    rest = iter(rows)
    for size in itertools.cycle(sizes):
        if not (page := list(itertools.islice(rest, size))):
            return
        yield page


def encoded_in_pages(
    rows: list[dict[str, Any]], file_format: str, compression: str | None, *sizes: int
) -> tuple[bytes, int]:
    stream = io.BytesIO()
    with encode(stream, columns=PAGED_COLUMNS, file_format=file_format, compression=compression) as encoder:
        for page in pages_of(rows, *sizes):
            encoder.write_rows(page)
    return stream.getvalue(), encoder.non_finite_values


@pytest.mark.parametrize("compression", [None, *COMPRESSIONS])
@pytest.mark.parametrize("file_format", FORMATS)
def test_pages_do_not_show_in_the_bytes(file_format: str, compression: str | None) -> None:
    rows = paged_rows(2_500)

    one_by_one = encoded_in_pages(rows, file_format, compression, 1)

    for sizes in ((100,), (20,), (999, 1, 3), (2_500,), (7, 400, 64)):
        assert encoded_in_pages(rows, file_format, compression, *sizes) == one_by_one


def test_row_groups_end_at_the_same_row_whatever_the_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_portkey.export.formats._ROW_GROUP_CHARACTERS", 20_000)
    rows = paged_rows(300)

    found = {encoded_in_pages(rows, "parquet", None, size) for size in (1, 9, 100, 300)}

    assert len(found) == 1
    ((content, _),) = found
    assert pyarrow.parquet.ParquetFile(io.BytesIO(content)).num_row_groups > 10


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_bytes_are_the_same_without_orjson(file_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = paged_rows(500)
    fast = encoded_in_pages(rows, file_format, None, 100)

    monkeypatch.setattr("airflow_provider_portkey.json_values._orjson_dumps", lambda: None)

    assert encoded_in_pages(rows, file_format, None, 100) == fast
