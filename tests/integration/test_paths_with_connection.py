"""Files in a store that only a connection opens: a later task finds the connection in what an earlier one names."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from airflow_provider_portkey.operators.batch import PortkeyBatchCheckOperator, PortkeyCreateBatchOperator
from airflow_provider_portkey.operators.batch_input import PortkeyBatchInputOperator, PortkeyBatchRetryInputOperator
from airflow_provider_portkey.operators.report import PortkeyBatchReportOperator
from airflow_provider_portkey.testing import PortkeyMockServer, fake_context
from airflow_provider_portkey.transfers.batch_output_to_object_storage import (
    PortkeyBatchMergeOperator,
    PortkeyBatchOutputToObjectStorageOperator,
)
from tests.services import keys

EXAMPLES = Path(__file__).parents[2] / "example_dags"
STORE = "s3://aws_default@exports"
GOOD = '{"label": "praise"}'
TICKETS = [f"T-{number}" for number in range(7)]


@pytest.fixture(autouse=True)
def table(s3: Any) -> None:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"ticket": TICKETS, "note": TICKETS}), file)
    s3.put_object(Bucket="exports", Key="tickets.parquet", Body=file.getvalue())


@pytest.fixture
def mock_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[PortkeyMockServer]:
    with PortkeyMockServer(run_seconds=0) as mock_server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(mock_server.connection()))
        yield mock_server


def final(s3: Any, key: str) -> dict[str, str]:
    body = s3.get_object(Bucket="exports", Key=key)["Body"].read()
    return {row["ticket"]: row["status"] for row in pyarrow.parquet.read_table(io.BytesIO(body)).to_pylist()}


@pytest.mark.parametrize(
    ("folder", "given"),
    [(STORE, {}), ("s3://exports", {"object_storage_conn_id": "aws_default"})],
    ids=["in_the_path", "beside_the_path"],
)
def test_what_a_task_returns_opens_with_its_connection(
    mock_server: PortkeyMockServer, s3: Any, folder: str, given: dict[str, str]
) -> None:
    """``given`` only where a task has a path of its own: what comes from another task needs none."""
    make_input = PortkeyBatchInputOperator(
        task_id="make",
        rows_path=f"{folder}/tickets.parquet",
        path=f"{folder}/requests.jsonl",
        key_columns=["ticket"],
        model="m",
        messages="{{ note }}",
        max_requests=4,
        **given,
    )
    context = fake_context()
    inputs = make_input.execute(context)
    assert inputs == [f"{STORE}/requests-00001.jsonl", f"{STORE}/requests-00002.jsonl"]
    parts = context["ti"].xcoms["manifest"]["parts"]
    assert [part["uri"] for part in parts] == [path.replace("aws_default@", "") for path in inputs]
    mock_server.plan("batches", texts=dict.fromkeys(TICKETS, GOOD), failing=["T-1"])
    mock_server.plan("batches", times=None, texts=dict.fromkeys(TICKETS, GOOD))
    tables: list[Any] = []
    paths = inputs
    for number in (1, 2):
        for part, path in enumerate(paths):
            create = PortkeyCreateBatchOperator(task_id="create", input_path=path, wait_for_completion=False)
            export = PortkeyBatchOutputToObjectStorageOperator(
                task_id="export",
                batch_id=create.execute(fake_context())["id"],
                input_path=path,
                path=f"{folder}/outcomes-{number}-{part}.parquet",
                layout="table",
                file_format="parquet",
                json_schema={"type": "object"},
                max_failure_ratio=None,
                **given,
            )
            tables.append(export.execute(fake_context()))
        retry = PortkeyBatchRetryInputOperator(
            task_id="retry", inputs=inputs, outcomes=tables, path=f"{folder}/retry-{number}.jsonl", **given
        )
        paths = retry.execute(fake_context())
    assert paths == []
    assert {name: tables[0][name] for name in ("path", "uri", "invalid_path", "invalid_uri")} == {
        "path": f"{STORE}/outcomes-1-0.parquet",
        "uri": "s3://exports/outcomes-1-0.parquet",
        "invalid_path": f"{STORE}/outcomes-1-0.invalid.parquet",
        "invalid_uri": "s3://exports/outcomes-1-0.invalid.parquet",
    }
    merge = PortkeyBatchMergeOperator(
        task_id="merge", inputs=inputs, outcomes=tables, path=f"{folder}/labels.parquet", **given
    )
    merged = merge.execute(fake_context())
    assert final(s3, "labels.parquet") == dict.fromkeys(TICKETS, "succeeded")
    check = PortkeyBatchCheckOperator(
        task_id="check", manifest=[merged], min_valid_ratio=1, json_schema={"type": "object"}
    )
    assert check.execute(fake_context())["rows"] == 7
    report = PortkeyBatchReportOperator(
        task_id="report",
        batch_id=tables[0]["batch_id"],
        output_path=merged["path"],
        path=f"{folder}/batch.html",
        **given,
    )
    assert report.execute(fake_context())["rows"] == 7


def test_lines_and_errors_of_a_batch_are_read_by_their_manifest(mock_server: PortkeyMockServer, s3: Any) -> None:
    make_input = PortkeyBatchInputOperator(
        task_id="make",
        rows_path=f"{STORE}/tickets.parquet",
        path=f"{STORE}/requests.jsonl",
        model="m",
        messages="{{ note }}",
    )
    (path,) = make_input.execute(fake_context())
    mock_server.plan("batches", failing={"0": 400})
    create = PortkeyCreateBatchOperator(task_id="create", input_path=path, wait_for_completion=False)
    export = PortkeyBatchOutputToObjectStorageOperator(
        task_id="export",
        batch_id=create.execute(fake_context())["id"],
        input_path=path,
        path=f"{STORE}/output.jsonl",
        error_path=f"{STORE}/errors.jsonl",
        max_failure_ratio=None,
    )
    manifest = export.execute(fake_context())
    report = PortkeyBatchReportOperator(
        task_id="report",
        batch_id=manifest["batch_id"],
        output_path=manifest["path"],
        error_path=manifest["error_path"],
        path=f"{STORE}/batch.html",
    )
    assert report.execute(fake_context())["rows"] == 7


@pytest.mark.slow
@pytest.mark.parametrize("dag_id", ["portkey_batch_table", "portkey_batch_rounds"])
def test_the_examples_need_the_connection_in_their_params_only(
    parse_dags: Any, mock_server: PortkeyMockServer, s3: Any, dag_id: str
) -> None:
    mock_server.plan("batches", times=2, texts=dict.fromkeys(TICKETS, GOOD), failing=["T-1", "T-6"])
    mock_server.plan("batches", times=None, texts=dict.fromkeys(TICKETS, GOOD))
    dag = parse_dags(EXAMPLES)[dag_id]
    dag.get_task("make_input").max_requests = 4
    dag.get_task("merge").max_failure_ratio = None
    dag_run = dag.test(run_conf={"rows_path": f"{STORE}/tickets.parquet", "folder": f"{STORE}/labels"})
    states = Counter(str(task.state) for task in dag_run.get_task_instances())
    rounds = dag_id == "portkey_batch_rounds"
    # A third round has nothing to do.
    assert states == ({"success": 10, "skipped": 2} if rounds else {"success": 6})
    assert final(s3, "labels/labels.parquet") == dict.fromkeys(TICKETS, "succeeded") | (
        {} if rounds else dict.fromkeys(["T-1", "T-6"], "failed")
    )
    assert ("labels/requests-2-00001.jsonl" in keys(s3)) is rounds
