"""A log export without the provider's own polls, as the docs describe it: by a filter, and by a query."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_portkey.operators.job import PortkeyCreateResponseOperator
from airflow_provider_portkey.testing import PortkeyMockServer, fake_context
from airflow_provider_portkey.transfers.logs_to_object_storage import PortkeyLogsToObjectStorageOperator
from tests.docs.blocks import blocks

pytest.importorskip("pyarrow")

PAGE = Path(__file__).parents[2] / "docs" / "connection.md"
START, END = "2026-07-25T00:00:00Z", "2026-07-25T01:00:00Z"


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, str]]]:
    """The metadata of a task's requests and of another program's, which Portkey has logged."""
    with PortkeyMockServer(job_seconds=0) as server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(server.connection()))
        server.plan("responses", statuses=["queued", "in_progress", "completed"], advance="per_poll")
        create = PortkeyCreateResponseOperator(task_id="create", model="m", input="Why?", poke_interval=0.01)
        create.execute(fake_context(dag_id="reports", task_id="create"))
        sent = [json.loads(request.headers["x-portkey-metadata"]) for request in server.requests]
        sent.append({"team": "data"})
        server.add_logs(rows=[{"created_at": START, "metadata": each} for each in sent])
        yield sent


@pytest.fixture
def export(logged: list[dict[str, str]], tmp_path: Path) -> Callable[..., Path]:
    def export(**changes: Any) -> Path:
        path = tmp_path / "logs.parquet"
        arguments = {"window_start": START, "window_end": END, "file_format": "parquet", "poke_interval": 0.01}
        task = PortkeyLogsToObjectStorageOperator(task_id="logs", path=str(path), **{**arguments, **changes})
        task.execute(fake_context())
        return path

    return export


def test_the_filter_of_the_docs_exports_what_was_submitted(
    logged: list[dict[str, str]], export: Callable[..., Path]
) -> None:
    import pyarrow.parquet

    (code,) = [block.code for block in blocks("python", PAGE) if "airflow_request" in block.code]
    (filters,) = [
        ast.literal_eval(node.value)
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.keyword) and node.arg == "filters"
    ]
    assert [each.get("airflow_request") for each in logged].count("poll") >= 2

    (row,) = pyarrow.parquet.read_table(export(filters=filters)).to_pylist()

    sent = json.loads(row["metadata"])
    assert (sent["airflow_dag_id"], sent["airflow_task_id"], sent["airflow_request"]) == ("reports", "create", "submit")


def test_the_query_of_the_docs_leaves_the_polls_out(
    logged: list[dict[str, str]], export: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    duckdb = pytest.importorskip("duckdb", reason="locked for the newest Airflow only")
    (query,) = [block.code for block in blocks("sql", PAGE)]
    monkeypatch.chdir(export().parent)

    found = duckdb.sql(query)

    kept = [json.loads(value) for (value,) in found.project("metadata").fetchall()]
    assert [each.get("airflow_request") for each in kept] == ["submit", None]
    assert all(each in logged for each in kept)
