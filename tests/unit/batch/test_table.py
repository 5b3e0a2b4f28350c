"""The table of a batch: one row for each request, whatever the provider sends."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from airflow_provider_portkey.batch.outcome_columns import OUTCOME_COLUMNS
from airflow_provider_portkey.exceptions import (
    PortkeyBatchRequestsFailedError,
    PortkeyInvalidArgumentError,
    PortkeyLineInvalidError,
)
from airflow_provider_portkey.operators.batch_input import PortkeyBatchInputOperator
from airflow_provider_portkey.transfers.batch_output_to_object_storage import PortkeyBatchOutputToObjectStorageOperator

BASE = "https://portkey.test/v1"
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
ROWS = [{"id": number, "name": f"ü{number}", "score": number / 2, "tags": [number]} for number in range(5)]
EXPIRED = {"response": None, "error": {"code": "batch_expired", "message": "late"}}


def outcome(custom_id: str, text: str | None = '{"n": 1}', **changes: Any) -> dict[str, Any]:
    body = {
        "model": "m",
        "choices": [{"message": {"content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 2, "completion_tokens": 1, "cost": 0.5},
    }
    response = {"status_code": 200, "body": body}
    return {"id": f"r_{custom_id}", "custom_id": custom_id, "response": response, "error": None, **changes}


def lines_of(*lines: dict[str, Any]) -> bytes:
    return "".join(json.dumps(one) + "\n" for one in lines).encode()


@pytest.fixture
def input_path(tmp_path: Path) -> str:
    columns = ["id", "name", "score", "tags"]
    given = {"path": str(tmp_path / "in.jsonl"), "rows": ROWS, "model": "m", "messages": "{{ name }}"}
    (path,) = PortkeyBatchInputOperator(task_id="make", key_columns=columns, **given).execute({})
    return path


@pytest.fixture
def ids(input_path: str) -> list[str]:
    return [json.loads(line)["custom_id"] for line in Path(input_path).read_text().splitlines()]


@pytest.fixture
def serve(portkey_connection: object, requests_mock: Any) -> Callable[..., None]:
    def serve(*output: dict[str, Any], error_file: list[dict[str, Any]] | None = None, **batch: Any) -> None:
        served = {"id": "b", "status": "completed", "input_file_id": "file_in", "output_file_id": "file_out"}
        requests_mock.get(f"{BASE}/files/file_out/content", content=lines_of(*output))
        if error_file is not None:
            served["error_file_id"] = "file_err"
            requests_mock.get(f"{BASE}/files/file_err/content", content=lines_of(*error_file))
        requests_mock.get(f"{BASE}/batches/b", json={**served, **batch})

    return serve


def operator(tmp_path: Path, **changes: Any) -> PortkeyBatchOutputToObjectStorageOperator:
    given = {"path": str(tmp_path / "table.jsonl"), "layout": "table", "max_failure_ratio": None, **changes}
    return PortkeyBatchOutputToObjectStorageOperator(task_id="export", batch_id="b", **given)


def rows(uri: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(uri.removeprefix("file://")).read_text().splitlines()]


def test_each_request_is_one_row_in_the_order_of_the_input(
    serve: Any, tmp_path: Path, input_path: str, ids: list[str]
) -> None:
    serve(
        outcome(ids[3], "no JSON"),
        outcome(ids[1]),
        outcome("of nobody"),
        outcome(ids[0]),
        outcome(ids[1], '{"n": 2}'),
        error_file=[{"custom_id": ids[2], **EXPIRED}],
    )
    manifest = operator(tmp_path, input_path=input_path, json_schema=SCHEMA).execute({})
    found = rows(manifest["uri"])
    assert [row["id"] for row in found] == [0, 1, 2, 3, 4]
    assert [row["status"] for row in found] == ["succeeded", "succeeded", "expired", "invalid", "missing"]
    assert [row["parsed"] for row in found] == ['{"n":1}', '{"n":1}', None, None, None]
    assert [row["error_code"] for row in found] == [None, None, "batch_expired", "schema_mismatch", None]
    assert [(row["name"], row["score"], row["tags"]) for row in found] == [
        (row["name"], row["score"], row["tags"]) for row in ROWS
    ]
    assert all(row.keys() == {*ROWS[0], *OUTCOME_COLUMNS} for row in found)
    (invalid,) = rows(manifest["invalid_uri"])
    assert (manifest["invalid_uri"], invalid) == (f"file://{tmp_path}/table.invalid.jsonl", found[3])
    assert invalid["error_message"].startswith("the text is no JSON")
    counts = {"requests": 5, "succeeded": 2, "expired": 1, "invalid": 1, "missing": 1, "failed": 0, "cancelled": 0}
    assert counts.items() <= manifest.items()
    assert (manifest["duplicate"], manifest["unexpected"], manifest["rows"]) == (1, 1, 5)
    assert manifest["usage"] == {"prompt_tokens": 6, "completion_tokens": 3, "cost": 1.5}


@pytest.mark.parametrize(("of_batch", "counted"), [(None, [2.5]), ({"total_tokens": 15}, [2.5]), ({"cost": 2.5}, [])])
def test_the_cost_of_the_lines_is_counted_unless_the_batch_names_its_own(
    serve: Any, tmp_path: Path, input_path: str, ids: list[str], monkeypatch: Any, of_batch: Any, counted: list[float]
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr("airflow_provider_portkey.batch.export.count_cost", lambda *call: calls.append(call))
    serve(*(outcome(one) for one in ids), usage=of_batch)
    manifest = operator(tmp_path, input_path=input_path).execute({})
    assert manifest["cost"] == 2.5
    assert [call for call in calls if call[2] is not None] == [("batch", "completed", cost) for cost in counted]


def test_parquet_has_the_types_of_the_keys(serve: Any, tmp_path: Path, input_path: str, ids: list[str]) -> None:
    serve(*(outcome(one) for one in ids))
    path = tmp_path / "table.parquet"
    operator(tmp_path, input_path=input_path, path=str(path), file_format="parquet").execute({})
    table = pyarrow.parquet.read_table(path)
    types = {field.name: str(field.type) for field in table.schema}
    assert [types[name] for name in ("id", "name", "score", "tags", "input_tokens", "cost")] == [
        "int64", "string", "double", "string", "int64", "double",
    ]  # fmt: skip
    assert table.column("tags").to_pylist() == [f"[{number}]" for number in range(5)]
    assert list(table.column_names)[:5] == ["id", "name", "score", "tags", "custom_id"]


def test_csv(serve: Any, tmp_path: Path, input_path: str, ids: list[str]) -> None:
    serve(*(outcome(one, 'a "quoted",\ntext') for one in ids))
    path = tmp_path / "table.csv"
    operator(tmp_path, input_path=input_path, path=str(path), file_format="csv").execute({})
    with path.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["id"] for row in found] == ["0", "1", "2", "3", "4"]
    assert {row["text"] for row in found} == {'a "quoted",\ntext'}


@pytest.mark.parametrize(
    ("status", "expected"),
    [("expired", "expired"), ("cancelled", "cancelled"), ("failed", "failed"), ("completed", "missing")],
)
def test_a_request_without_an_outcome(
    serve: Any, tmp_path: Path, input_path: str, ids: list[str], status: str, expected: str
) -> None:
    reasons = {"output_file_id": None, "errors": {"data": [{"code": "c", "message": "no"}]}}
    served = reasons if status == "failed" else {}
    serve(outcome(ids[0]), status=status, **served)
    manifest = operator(tmp_path, input_path=input_path).execute({})
    counts = Counter(row["status"] for row in rows(manifest["uri"]))
    assert counts == ({"failed": 5} if status == "failed" else {"succeeded": 1, expected: 4})
    if status == "failed":
        assert "no" in rows(manifest["uri"])[0]["error_message"]


def test_lines_of_anthropic(serve: Any, tmp_path: Path, input_path: str, ids: list[str]) -> None:
    message = {"content": [{"type": "text", "text": "Hi"}], "usage": {"input_tokens": 1, "output_tokens": 2}}
    kinds = [
        {"type": "succeeded", "message": message},
        {"type": "errored", "error": {"type": "x"}},
        {"type": "expired"},
    ]
    serve(*({"custom_id": one, "result": kind} for one, kind in zip(ids, kinds, strict=False)))
    found = rows(operator(tmp_path, input_path=input_path).execute({})["uri"])
    assert [row["status"] for row in found] == ["succeeded", "failed", "expired", "missing", "missing"]
    assert (found[0]["text"], found[0]["total_tokens"]) == ("Hi", 3)


def test_the_batchs_own_input_has_no_keys(
    serve: Any, tmp_path: Path, input_path: str, ids: list[str], requests_mock: Any
) -> None:
    serve(*(outcome(one) for one in reversed(ids)))
    requests_mock.get(f"{BASE}/files/file_in/content", content=Path(input_path).read_bytes())
    found = rows(operator(tmp_path).execute({})["uri"])
    assert [row["custom_id"] for row in found] == ids
    assert found[0].keys() == OUTCOME_COLUMNS.keys()


def test_lines_without_an_id_and_with_strange_text(serve: Any, tmp_path: Path, input_path: str, ids: list[str]) -> None:
    text = "half \ud83d, nul \0, separator \u2028"
    serve(*(outcome(one, text) for one in ids), {"response": None, "error": "x"}, {"custom_id": 7})
    manifest = operator(tmp_path, input_path=input_path).execute({})
    assert manifest["unexpected"] == 2
    assert rows(manifest["uri"])[0]["text"] == text


def test_the_same_batch_gives_the_same_bytes_in_any_order(
    serve: Any, tmp_path: Path, input_path: str, ids: list[str]
) -> None:
    hashes = set()
    for order in (ids, ids[::-1]):
        serve(*(outcome(one) for one in order))
        hashes.add(operator(tmp_path, input_path=input_path).execute({})["sha256"])
    assert len(hashes) == 1


def test_rows_that_do_not_fit_are_failures_of_the_ratio(
    serve: Any, tmp_path: Path, input_path: str, ids: list[str]
) -> None:
    serve(*(outcome(one, "[]" if one == ids[0] else '{"n": 1}') for one in ids))
    with pytest.raises(
        PortkeyBatchRequestsFailedError, match=r"of 5 requests 4 succeeded.* 1 invalid.*invalid rows in"
    ) as raised:
        operator(tmp_path, input_path=input_path, json_schema=SCHEMA, max_failure_ratio=0.1).execute({})
    assert len(rows(raised.value.manifest["uri"])) == 5


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"error_path": "/tmp/e.jsonl"}, "error_path="),
        ({"reconcile": False}, "reconcile="),
        ({"invalid_path": "/tmp/i.jsonl"}, "invalid_path="),
        ({"file_format": "json"}, "file_format="),
        ({"layout": "lines", "json_schema": SCHEMA}, "json_schema="),
        ({"layout": "lines", "invalid_path": "/tmp/i.jsonl"}, "invalid_path="),
    ],
)
def test_arguments_of_the_other_layout_are_refused(
    serve: Any, tmp_path: Path, wrong: dict[str, Any], named: str
) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=f"^{named}"):
        operator(tmp_path, **wrong).execute({})
    assert list(tmp_path.glob("table*")) == []


@pytest.mark.parametrize("schema", [{"type": "objekt"}, [], "x"])
def test_a_schema_that_is_none_is_refused_when_the_dag_is_parsed(tmp_path: Path, schema: Any) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=r"^json_schema="):
        operator(tmp_path, json_schema=schema)


def test_a_batch_without_input_has_no_table(serve: Any, tmp_path: Path) -> None:
    serve(outcome("a"), input_file_id=None)
    with pytest.raises(PortkeyInvalidArgumentError, match=r"^input_path="):
        operator(tmp_path).execute({})


def test_a_line_that_is_none_leaves_no_table(serve: Any, tmp_path: Path, input_path: str, requests_mock: Any) -> None:
    serve()
    requests_mock.get(f"{BASE}/files/file_out/content", content=b"{}\n[]\n")
    with pytest.raises(PortkeyLineInvalidError, match="line 2 is no JSON object"):
        operator(tmp_path, input_path=input_path).execute({})
    assert list(tmp_path.glob("table*")) == []


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(
    serve: Any, tmp_path: Path, requests_mock: Any, peak: Callable[[Callable[[], Any]], int]
) -> None:
    def make(count: int) -> Callable[[], Any]:
        rows = ({"id": number} for number in range(count))
        path = str(tmp_path / f"{count}.jsonl")
        task = PortkeyBatchInputOperator(task_id="m", path=path, rows=rows, key_columns="id", model="m", messages="x")
        (input_path,) = task.execute({})
        content = lines_of(*(outcome(str(number), "x" * 500) for number in range(count)))

        def export() -> None:
            serve()
            requests_mock.get(f"{BASE}/files/file_out/content", content=content)
            manifest = operator(tmp_path, input_path=input_path).execute({})
            assert manifest["succeeded"] == count

        return export

    few, many = make(2_000), make(8_000)
    few()
    assert peak(many) < peak(few) + 1_000_000  # the outcomes have 6 MB
