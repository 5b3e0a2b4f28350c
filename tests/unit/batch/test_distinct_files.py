"""No task writes a file over one that it reads, or over another one that it writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.operators.batch_input import PortkeyBatchInputOperator, PortkeyBatchRetryInputOperator
from airflow_provider_portkey.operators.report import PortkeyBatchReportOperator
from airflow_provider_portkey.testing import PortkeyMockServer
from airflow_provider_portkey.transfers.batch_output_to_object_storage import (
    PortkeyBatchMergeOperator,
    PortkeyBatchOutputToObjectStorageOperator,
)


@pytest.fixture(autouse=True)
def mock_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with PortkeyMockServer() as server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(server.connection()))
        server.add_batch(batch_id="batch_1", count=2, statuses="completed")
        yield


REQUESTS, TABLE = "in-00001.jsonl", "table.jsonl"
ROUNDS = {"inputs": [REQUESTS], "outcomes": [TABLE], "max_failure_ratio": None}
OUTPUT = {"batch_id": "batch_1", "max_failure_ratio": None}


@pytest.mark.parametrize(
    ("operator", "arguments", "named"),
    [
        (PortkeyBatchMergeOperator, {**ROUNDS, "path": TABLE, "file_format": "jsonl"}, r"path=.*that of outcomes"),
        (PortkeyBatchMergeOperator, {**ROUNDS, "path": REQUESTS, "file_format": "jsonl"}, r"path=.*that of inputs"),
        (PortkeyBatchMergeOperator, {**ROUNDS, "path": "out.csv", "invalid_path": TABLE}, r"invalid_path=.*outcomes"),
        (PortkeyBatchMergeOperator, {**ROUNDS, "path": "out.csv", "invalid_path": "out.csv"}, r"invalid_path=.*path"),
        (PortkeyBatchMergeOperator, {**ROUNDS, "path": None}, r"path=None"),
        (
            PortkeyBatchRetryInputOperator,
            {"inputs": [REQUESTS], "outcomes": [TABLE], "path": "in.jsonl"},
            r"path='.*in.jsonl' .*the task reads .*in-00001.jsonl",
        ),
        (
            PortkeyBatchInputOperator,
            {"rows_path": REQUESTS, "path": "in.jsonl", "messages": "Why?"},
            r"path='.*in.jsonl' .*the task reads .*in-00001.jsonl",
        ),
        (PortkeyBatchOutputToObjectStorageOperator, {**OUTPUT, "path": REQUESTS, "input_path": REQUESTS}, r"path="),
        (PortkeyBatchOutputToObjectStorageOperator, {**OUTPUT, "path": "x", "error_path": "x"}, r"error_path=.*path"),
        (
            PortkeyBatchOutputToObjectStorageOperator,
            {**OUTPUT, "path": "x.csv", "invalid_path": "x.csv", "layout": "table", "json_schema": {}},
            r"invalid_path=.*that of path",
        ),
        (PortkeyBatchReportOperator, {"batch_id": "batch_1", "output_path": TABLE, "path": TABLE}, r"path=.*are read"),
    ],
)
def test_no_file_is_written_over_another(
    tmp_path: Path, operator: Callable[..., Any], arguments: dict[str, Any], named: str
) -> None:
    (tmp_path / REQUESTS).write_text('{"custom_id": "request-000001"}\n')
    (tmp_path / TABLE).write_text('{"custom_id": "request-000001", "status": "failed"}\n')
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def located(name: str, value: Any) -> Any:
        if isinstance(value, list):
            return [str(tmp_path / each) for each in value]
        return str(tmp_path / value) if name.endswith("path") and value else value

    with pytest.raises(PortkeyInvalidArgumentError, match=f"^{named}"):
        operator(task_id="task", **{name: located(name, value) for name, value in arguments.items()}).execute({})

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
