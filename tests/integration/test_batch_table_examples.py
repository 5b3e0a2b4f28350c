"""The example DAGs of tables through batches, on a real Airflow metadata database, against the mock server."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from airflow_provider_portkey.testing import PortkeyMockServer

EXAMPLES = Path(__file__).parents[2] / "example_dags"
GOOD = '{"label": "praise"}'
TICKETS = [f"T-{number}" for number in range(10)]


@pytest.fixture
def mock_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[PortkeyMockServer]:
    with PortkeyMockServer(run_seconds=0) as mock_server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(mock_server.connection()))
        yield mock_server


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "tickets.parquet"
    notes = [f"Note {one}" for one in TICKETS]
    pyarrow.parquet.write_table(pyarrow.table({"ticket": TICKETS, "note": notes}), path)
    return path


def run(dag: Any, table: Path, *, max_requests: int) -> tuple[Any, Counter[tuple[str, str]]]:
    dag.get_task("make_input").max_requests = max_requests
    dag_run = dag.test(run_conf={"rows_path": str(table), "folder": str(table.parent)})
    return dag_run, Counter((task.task_id, str(task.state)) for task in dag_run.get_task_instances())


def final(table: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(table.parent / "labels.parquet").to_pylist()
    return rows


@pytest.mark.slow
def test_from_a_table_to_a_table(parse_dags: Any, mock_server: PortkeyMockServer, table: Path) -> None:
    mock_server.plan("batches", times=None, texts=dict.fromkeys(TICKETS, GOOD))
    _, states = run(parse_dags(EXAMPLES)["portkey_batch_table"], table, max_requests=4)
    assert states == {
        ("make_input", "success"): 1,
        ("process_part.create", "success"): 3,
        ("process_part.export", "success"): 3,
        ("merge", "success"): 1,
    }
    assert [(row["ticket"], row["status"], row["parsed"]) for row in final(table)] == [
        (one, "succeeded", '{"label":"praise"}') for one in TICKETS
    ]
    first = json.loads((table.parent / "requests-00001.jsonl").read_text().splitlines()[0])
    system, user = first["body"]["messages"]
    assert system["content"].startswith("Label the message of a customer. Today is 20")
    assert user["content"] == "Note T-0"


@pytest.mark.slow
def test_rounds_have_what_failed_and_only_that(parse_dags: Any, mock_server: PortkeyMockServer, table: Path) -> None:
    texts = dict.fromkeys(TICKETS, GOOD) | {"T-3": "no JSON"}
    mock_server.plan("batches", times=2, texts=texts, failing={"T-1": 429, "T-9": 429}, missing=["T-2"])
    mock_server.plan("batches", texts=dict.fromkeys(TICKETS, GOOD), failing={"T-1": 500})
    mock_server.plan("batches", texts=dict.fromkeys(TICKETS, GOOD))
    _, states = run(parse_dags(EXAMPLES)["portkey_batch_rounds"], table, max_requests=5)
    assert {state for _, state in states} == {"success"}
    assert states["round_1.create", "success"] == 2
    assert states["round_3.create", "success"] == 1
    sizes = [
        [json.loads(line)["custom_id"] for line in path.read_text().splitlines()]
        for path in sorted(table.parent.glob("requests-[23]-00001.jsonl"))
    ]
    assert sizes == [["T-1", "T-2", "T-3", "T-9"], ["T-1"]]
    assert [(row["ticket"], row["status"]) for row in final(table)] == [(one, "succeeded") for one in TICKETS]


@pytest.mark.slow
def test_rounds_without_requests_are_skipped(parse_dags: Any, mock_server: PortkeyMockServer, table: Path) -> None:
    mock_server.plan("batches", times=None, texts=dict.fromkeys(TICKETS, GOOD))
    _, states = run(parse_dags(EXAMPLES)["portkey_batch_rounds"], table, max_requests=50)
    assert states["make_input_3", "success"] == states["merge", "success"] == 1
    assert {task for task, state in states if state == "skipped"} == {
        f"round_{number}.{task}" for number in (2, 3) for task in ("create", "export")
    }
    assert len(final(table)) == 10
    assert len(submitted(mock_server)) == 1


@pytest.mark.slow
def test_a_part_that_fails_leaves_the_others_and_is_not_submitted_twice(
    parse_dags: Any, mock_server: PortkeyMockServer, table: Path
) -> None:
    """The provider refuses one batch for good: its rows are missing, and no later round submits them."""
    mock_server.plan("batches", times=None, texts=dict.fromkeys(TICKETS, GOOD))
    mock_server.fault(method="POST", path="/v1/batches", status=400, times=1)
    dag = parse_dags(EXAMPLES)["portkey_batch_rounds"]
    dag.get_task("round_1.create").retries = 0
    dag_run, states = run(dag, table, max_requests=5)
    assert states["round_1.create", "failed"] == states["round_1.export", "upstream_failed"] == 1
    assert states["round_1.export", "success"] == 1
    assert states["round_2.create", "skipped"] == states["merge", "failed"] == 1  # above max_failure_ratio
    assert len(submitted(mock_server)) == 2
    statuses = {row["ticket"]: row["status"] for row in final(table)}
    assert Counter(statuses.values()) == {"succeeded": 5, "missing": 5}
    assert list(statuses) == TICKETS
    manifest = next(each for each in dag_run.get_task_instances() if each.task_id == "merge").xcom_pull(
        task_ids="merge"
    )
    (part,) = table.parent.glob("outcomes-1-?.parquet")
    assert [(each["uri"], each["rows"]) for each in manifest["tables"]] == [(part.as_uri(), 5)]
    assert (manifest["succeeded"], manifest["missing"], manifest["unknown"]) == (5, 5, 5)


@pytest.mark.slow
def test_a_part_with_too_many_failures_has_its_table_in_the_final_one(
    parse_dags: Any, mock_server: PortkeyMockServer, table: Path
) -> None:
    mock_server.plan("batches", times=None, texts=dict.fromkeys(TICKETS, GOOD), failing={"T-1": 400})
    dag = parse_dags(EXAMPLES)["portkey_batch_table"]
    dag.get_task("process_part.export").max_failure_ratio = 0
    _, states = run(dag, table, max_requests=5)
    assert states["process_part.export", "failed"] == states["process_part.export", "success"] == 1
    statuses = {row["ticket"]: row["status"] for row in final(table)}
    assert statuses == dict.fromkeys(TICKETS, "succeeded") | {"T-1": "failed"}


def submitted(mock_server: PortkeyMockServer) -> list[Any]:
    return [one for one in mock_server.requests if one.method == "POST" and one.path.endswith("/batches")]
