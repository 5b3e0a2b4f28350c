"""Batch input from the rows of a table: what is written, and what is refused before a file is written."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_portkey.exceptions import (
    PortkeyBatchInputInvalidError,
    PortkeyDestinationExistsError,
    PortkeyInvalidArgumentError,
    PortkeyLineInvalidError,
    PortkeyPathError,
)
from airflow_provider_portkey.operators.batch_input import PortkeyBatchInputOperator

ROWS = [{"id": number, "note": f"nöte {number}"} for number in range(1, 6)]
SCHEMA_FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}, "strict": True}}


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


WRITERS = {"jsonl": write_jsonl, "csv": write_csv, "parquet": write_parquet}


def operator(tmp_path: Path, **changes: Any) -> PortkeyBatchInputOperator:
    given: dict[str, Any] = {
        "task_id": "make",
        "path": str(tmp_path / "out" / "requests.jsonl"),
        "key_columns": ["id"],
        "model": "gpt-4.1-mini",
        "messages": "Classify: {{ note }}",
        **({} if {"rows_path", "rows"} & changes.keys() else {"rows": ROWS}),
    }
    given |= changes
    return PortkeyBatchInputOperator(**{name: value for name, value in given.items() if value is not ...})


def make(tmp_path: Path, **changes: Any) -> list[str]:
    return operator(tmp_path, **changes).execute({})


def requests(paths: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for path in paths for line in Path(path).read_text().splitlines()]


def keys(paths: list[str]) -> list[dict[str, Any]]:
    return requests([path.replace(".jsonl", ".keys.jsonl") for path in paths])


def files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "out").rglob("*")) if (tmp_path / "out").exists() else []


def refused(tmp_path: Path, kind: type[Exception] = PortkeyBatchInputInvalidError, **changes: Any) -> str:
    """What the task fails with, having written nothing."""
    task = operator(tmp_path, **changes)
    with pytest.raises(kind) as raised:
        task.execute({})
    assert isinstance(raised.value, AirflowFailException)
    assert files(tmp_path) == []
    return str(raised.value)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_row_becomes_a_request_and_a_line_of_keys(tmp_path: Path, kind: str, ending: str) -> None:
    path = tmp_path / f"rows.{kind}{ending if kind != 'parquet' else ''}"
    plain = tmp_path / f"plain.{kind}"
    WRITERS[kind](plain, ROWS)
    path.write_bytes(gzip.compress(plain.read_bytes()) if path.name.endswith(".gz") else plain.read_bytes())

    paths = make(tmp_path, rows_path=str(path))

    assert paths == [f"{tmp_path}/out/requests-00001.jsonl"]
    assert requests(paths) == [
        {
            "custom_id": str(row["id"]),
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": "gpt-4.1-mini",
                "messages": [{"role": "user", "content": f"Classify: {row['note']}"}],
            },
        }
        for row in ROWS
    ]
    expected = [str(row["id"]) if kind == "csv" else row["id"] for row in ROWS]
    assert keys(paths) == [{"custom_id": str(one), "keys": {"id": one}} for one in expected]


def test_the_manifest_names_each_part_and_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    pushed: dict[str, Any] = {}
    ti = SimpleNamespace(xcom_push=lambda key, value: pushed.update({key: value}))
    paths = operator(tmp_path, max_requests=2).execute({"ti": ti})  # type: ignore[typeddict-item]
    assert [Path(path).name for path in paths] == [f"requests-0000{number}.jsonl" for number in (1, 2, 3)]
    assert [len(requests([path])) for path in paths] == [2, 2, 1]
    manifest = pushed["manifest"]
    contents = [Path(path).read_bytes() for path in paths]
    assert [part["sha256"] for part in manifest["parts"]] == [hashlib.sha256(one).hexdigest() for one in contents]
    assert [part["input_path"] for part in manifest["parts"]] == paths
    assert (manifest["requests"], manifest["bytes"]) == (5, sum(map(len, contents)))
    assert make(tmp_path, max_requests=2) == paths
    assert [Path(path).read_bytes() for path in paths] == contents


def test_parts_keep_the_limit_of_bytes(tmp_path: Path) -> None:
    longest = max(len(json.dumps(one, ensure_ascii=False).encode()) for one in requests(make(tmp_path)))
    for limit in (longest + 1, 2 * longest, 3 * longest + 1):
        paths = make(tmp_path, max_file_bytes=limit)
        assert all(Path(path).stat().st_size <= limit for path in paths)
        assert [one["custom_id"] for one in requests(paths)] == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("rows", [[], iter(())])
def test_no_row_gives_no_part(tmp_path: Path, rows: Any) -> None:
    assert make(tmp_path, rows=rows) == []
    assert files(tmp_path) == []


def test_airflow_does_not_render_the_template_of_a_row(tmp_path: Path) -> None:
    row_templates = {"model", "messages", "input", "response_format", "extra_body"}
    assert not row_templates & set(PortkeyBatchInputOperator.template_fields)
    task = operator(tmp_path, messages="On {{ day }}: {{ note }}", variables={"day": "{{ ds }}"})
    task.render_template_fields({"ds": "2026-11-26"}, jinja_env=None)
    assert (task.messages, task.variables) == ("On {{ day }}: {{ note }}", {"day": "2026-11-26"})
    body = requests(task.execute({}))[0]["body"]
    assert body["messages"][0]["content"] == "On 2026-11-26: nöte 1"


def test_templates_may_be_in_any_string_and_all_else_stays(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "Brief."},
        {"role": "user", "content": "{{ note|upper }} {{ row['id'] }}"},
    ]
    extra = {"temperature": 0, "metadata": {"row": "{{ id }}"}, "stop": ["{{ note }}", "x"]}
    body = requests(make(tmp_path, model="m-{{ id }}", messages=messages, extra_body=extra))[1]["body"]
    assert body["model"] == "m-2"
    assert body["messages"] == [messages[0], {"role": "user", "content": "NÖTE 2 2"}]
    assert (body["temperature"], body["metadata"], body["stop"]) == (0, {"row": "2"}, ["nöte 2", "x"])


def test_a_response_format_is_spelt_as_the_endpoint_has_it(tmp_path: Path) -> None:
    chat = requests(make(tmp_path, response_format=SCHEMA_FORMAT))[0]["body"]
    assert chat["response_format"] == SCHEMA_FORMAT
    given = {"messages": None, "input": "{{ note }}", "endpoint": "/v1/responses", "response_format": SCHEMA_FORMAT}
    body = requests(make(tmp_path, **given))[0]["body"]
    assert body["text"] == {"format": {"type": "json_schema", **SCHEMA_FORMAT["json_schema"]}}  # type: ignore[dict-item]
    assert body["input"] == "nöte 1"


def test_inline_requests_have_params(tmp_path: Path) -> None:
    assert requests(make(tmp_path, input_mode="inline", extra_body={"max_tokens": 9}))[0] == {
        "custom_id": "1",
        "params": {
            "model": "gpt-4.1-mini",
            "max_tokens": 9,
            "messages": [{"role": "user", "content": "Classify: nöte 1"}],
        },
    }
    rows = [{"id": "a b", "note": "x"}, {"id": "y" * 65, "note": "x"}]
    message = refused(tmp_path / "other", rows=rows, input_mode="inline")
    assert "Row 1 has the custom_id 'a b', which must be 1 to 64 letters" in message
    assert "2 of 2 rows" in message


def test_a_hash_is_the_same_in_each_run_and_the_keys_come_along(tmp_path: Path) -> None:
    paths = make(tmp_path, key_columns=["id", "note"])
    first = [one["custom_id"] for one in requests(paths)]
    assert all(len(one) == 32 for one in first)
    assert [one["custom_id"] for one in requests(make(tmp_path, key_columns="id, note"))] == first
    assert keys(paths) == [{"custom_id": one, "keys": row} for one, row in zip(first, ROWS, strict=True)]
    assert keys(make(tmp_path, key_columns=None))[0]["keys"] == ROWS[0]
    assert requests(make(tmp_path, custom_id="hash"))[0]["custom_id"] not in (*first, "1")


def test_values_that_json_does_not_have(tmp_path: Path) -> None:
    row = {"id": date(2026, 11, 26), "price": Decimal("1.50"), "raw": b"\xff", "bad": float("nan"), "note": "x"}
    write_parquet(tmp_path / "rows.parquet", [row])
    paths = make(tmp_path, rows_path=str(tmp_path / "rows.parquet"), key_columns=None, messages="{{ price }}")
    expected = {"id": "2026-11-26", "price": "1.50", "raw": "/w==", "bad": None, "note": "x"}
    assert keys(paths)[0]["keys"] == expected


# What is refused: nothing is written then.


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("place", ["model", "messages", "extra_body"])
def test_a_template_that_names_a_missing_column(tmp_path: Path, kind: str, place: str) -> None:
    path = tmp_path / f"rows.{kind}"
    WRITERS[kind](path, ROWS)
    value: Any = {"user": ["{{ nothing }}"]} if place == "extra_body" else "{{ nothing }}"
    known = kind != "jsonl"  # where columns are known, before a row is read
    message = refused(
        tmp_path,
        PortkeyInvalidArgumentError if known else PortkeyBatchInputInvalidError,
        rows_path=str(path),
        **{place: value},
    )
    where = {"model": "model", "messages": "messages[0].content", "extra_body": "user[0]"}[place]
    if known:
        assert message.startswith(f"{where}='{{{{ nothing }}}}'")
        assert "there is no column 'nothing'" in message
        assert "id, note" in message
    else:
        assert "Row 1 ('1') has no value for the template: 'nothing' is undefined" in message


@pytest.mark.parametrize(
    "template",
    ["{{ note.__class__ }}", "{{ ''.__class__.__mro__ }}", "{{ row.update(id=2) }}", "{{ note.absent }}", "{{ 1/0 }}"],
)
def test_a_template_cannot_leave_its_sandbox(tmp_path: Path, template: str) -> None:
    assert "5 of 5 rows" in refused(tmp_path, messages=template)


@pytest.mark.parametrize("kind", WRITERS)
def test_duplicate_keys_are_named(tmp_path: Path, kind: str) -> None:
    rows = [{"id": f"k{one}", "note": "x"} for one in (1, 2, 1, 3, 2, 1)]
    WRITERS[kind](tmp_path / f"rows.{kind}", rows)
    message = refused(tmp_path, rows_path=str(tmp_path / f"rows.{kind}"))
    assert "3 of 6 rows cannot become requests. Nothing was written and nothing was sent." in message
    for expected in (
        "Row 3 has the custom_id 'k1' of row 1 again.",
        "Row 5 has the custom_id 'k2' of row 2 again.",
        "Row 6 has the custom_id 'k1' of row 1 again.",
    ):
        assert expected in message


def test_equal_rows_are_named_where_the_id_is_a_hash(tmp_path: Path) -> None:
    message = refused(tmp_path, rows=[*ROWS, ROWS[1]], key_columns=None)
    assert "Row 6 has the values in all columns of row 2 again." in message


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_a_key_that_is_no_number_is_named(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rows.{ending}"
    if ending == "jsonl":
        path.write_text('{"id": 1.5, "note": "x"}\n{"id": NaN, "note": "x"}\n')
    else:
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table({"id": [1.5, float("nan")], "note": ["x", "x"]}), path)
    assert "Row 2 has no value in the key column 'id'." in refused(tmp_path, rows=None, rows_path=str(path))


def test_a_row_without_a_model_is_named(tmp_path: Path) -> None:
    rows = [{"id": "1", "note": "x", "model": "m"}, {"id": "2", "note": "x", "model": ""}]
    assert "Row 2 ('2') has no model." in refused(tmp_path, rows=rows, model="{{ model }}")


@pytest.mark.parametrize("value", [None, "", "  ", float("nan"), float("inf")])
def test_a_key_without_a_value_is_named(tmp_path: Path, value: Any) -> None:
    message = refused(tmp_path, rows=[*ROWS, {"id": value, "note": "x"}])
    assert "1 of 6 rows" in message
    assert "Row 6 has no value in the key column 'id'." in message


def test_a_row_over_the_size_limit_is_named(tmp_path: Path) -> None:
    rows = [*ROWS, {"id": "big", "note": "x" * 1000}]
    message = refused(tmp_path, rows=rows, max_file_bytes=1000)
    assert "Row 6 ('big') makes a request of 1" in message
    assert "more than 1000" in message


def test_only_the_first_twenty_rows_are_named(tmp_path: Path) -> None:
    rows = [{"id": None, "note": "x"}] * 30
    message = refused(tmp_path, rows=rows)
    assert "30 of 30 rows" in message
    assert "Row 20 " in message
    assert "Row 21 " not in message
    assert message.endswith("And 10 more.")


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"messages": "{{ note"}, "messages[0].content="),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "objekt"}}}},
            "response_format=",
        ),
        ({"response_format": {"type": "json_schema"}}, "response_format="),
        ({"messages": None}, "messages=None"),
        ({"input": "x"}, "messages="),
        ({"rows": None}, "rows_path=None"),
        ({"rows": ROWS, "rows_path": "x.csv"}, "rows_path="),
        ({"input_mode": "auto"}, "input_mode='auto'"),
        ({"custom_id": "uuid"}, "custom_id="),
        ({"max_requests": 0}, "max_requests=0"),
        ({"max_file_bytes": 0}, "max_file_bytes=0"),
        ({"rows_format": "xml"}, "rows_format='xml'"),
        *(({"messages": wrong}, "messages=") for wrong in ("", "  ", [], 7, {"role": "user"})),
        *(({"messages": [wrong]}, "messages[0]=") for wrong in ({"content": "x"}, "x", None, {"role": 1})),
        ({"messages": None, "input": []}, "input=[]"),
        *(({"model": wrong}, "model=") for wrong in ("", " ", True, ["m"])),
        *(({"response_format": wrong}, "response_format=") for wrong in (7, "json", {}, {"type": None}, [])),
        *(({"extra_body": wrong}, "extra_body=") for wrong in ([1], "x", 7)),
        ({"key_columns": []}, "key_columns=[]"),
        ({"endpoint": "v1/responses"}, "endpoint='v1/responses'"),
        ({"endpoint": ""}, "endpoint=''"),
    ],
)
def test_what_is_refused_when_the_dag_is_parsed(tmp_path: Path, wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(PortkeyInvalidArgumentError) as raised:
        operator(tmp_path, **wrong)
    assert str(raised.value).startswith(named)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"key_columns": ["nope"]}, "key_columns=['nope']"),
        ({"key_columns": ["id", "note"], "custom_id": "key"}, "custom_id='key'"),
        ({"key_columns": ["status"], "rows": [{"status": 1, "note": ""}]}, "key_columns=['status']"),
        ({"variables": {"note": 1}}, "variables={'note': 1}"),
        ({"variables": "[]"}, "variables='[]'"),
        ({"rows": [1]}, "rows[0]=1"),
        ({"rows": "abc"}, "rows='abc'"),
        ({"rows_path": "rows.xml"}, "rows_path='rows.xml'"),
        ({"path": "/tmp/folder/"}, "path='/tmp/folder/'"),
        ({"path": None}, "path=None"),
    ],
)
def test_what_is_refused_when_the_task_runs(tmp_path: Path, wrong: dict[str, Any], named: str) -> None:
    assert refused(tmp_path, PortkeyInvalidArgumentError, **wrong).startswith(named)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("rows.jsonl", b'{"id": 1, "note": "x"}\n[]\n', "line 2 is no JSON object but an array"),
        ("rows.csv", b"id,note\n1,x\n2\n", "line 3 has 1 fields, the header has 2"),
        ("rows.csv", b"id,note,id\n1,x,2\n", "the header names 'id' more than once"),
        ("rows.csv", b"id,note\n1,\xff\n", "cannot be read as csv in UTF-8"),
        ("rows.csv", b'id,note\n1,"x\n', "cannot be read as csv in UTF-8"),
        ("rows.parquet", b"PAR1 and no more", "is no parquet file"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert expected in refused(tmp_path, PortkeyLineInvalidError, rows_path=str(tmp_path / name))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PortkeyPathError, match=r"nowhere\.csv cannot be read"):
        make(tmp_path, rows_path=str(tmp_path / "nowhere.csv"))


def test_existing_files_stay_where_the_user_says_so(tmp_path: Path) -> None:
    (path,) = make(tmp_path)
    before = Path(path).read_bytes()
    with pytest.raises(PortkeyDestinationExistsError, match=r"requests-00001\.jsonl exists"):
        make(tmp_path, overwrite=False, messages="Other: {{ note }}")
    assert Path(path).read_bytes() == before


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path: Path, peak: Callable[[Callable[[], Any]], int]) -> None:
    def rows(count: int) -> Iterator[dict[str, Any]]:
        return ({"id": f"row-{number * 7919 % 1_000_003}", "note": "x" * 600} for number in range(count))

    def written(count: int) -> str:
        path = tmp_path / f"{count}.csv"
        with path.open("w") as file:
            file.write("id,note\n")
            file.writelines(f"{row['id']},{row['note']}\n" for row in rows(count))
        return str(path)

    few, many = written(2_000), written(12_000)
    make(tmp_path, rows_path=few)
    small = peak(lambda: make(tmp_path, rows_path=few))
    assert peak(lambda: make(tmp_path, rows_path=many)) < small + 1_500_000
