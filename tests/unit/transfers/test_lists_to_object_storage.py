from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest
from airflow.providers.common.compat.sdk import DAG, BaseOperator

from airflow_provider_portkey import exceptions, jobs
from airflow_provider_portkey.jobs import JobSpec, ListSpec
from airflow_provider_portkey.operators.lists import PortkeyListOperator
from airflow_provider_portkey.sensors.job import PortkeyCustomJobSensor
from airflow_provider_portkey.testing import PortkeyMockServer
from airflow_provider_portkey.transfers.lists_to_object_storage import (
    PortkeyListToObjectStorageOperator,
    PortkeyResponseItemsToObjectStorageOperator,
    PortkeyThreadRunsToObjectStorageOperator,
)

BASE = "https://portkey.test/v1"
RUNS = "/threads/thread_1/runs"
COLUMNS = dict(jobs.RUNS.columns)
FORMATS = ("jsonl", "json", "csv", "parquet")
ARROW = {"integer": pyarrow.int64(), "number": pyarrow.float64(), "boolean": pyarrow.bool_()}

THINGS = ListSpec(
    kind="things",
    path="/boxes/{box_id}/things",
    columns={"name": "text", "weight": "number", "sold": "boolean", "tags": "json"},
    parameters=("page", "per_page", "colour"),
    paging="page_number",
    page_parameter="page",
    limit_parameter="per_page",
    first_page=1,
    has_ids=False,
)
THING_ROWS: list[dict[str, Any]] = [
    {"name": "pen", "weight": 0.5, "sold": True, "tags": ["a", None]},
    {"name": "", "weight": 2, "sold": False, "tags": {}},
    {"name": None, "weight": None, "sold": None, "tags": None, "colour": "red"},
]


def export_runs(path: Path, **arguments: Any) -> PortkeyThreadRunsToObjectStorageOperator:
    ids = {} if {"thread_ids", "thread_ids_path"} & arguments.keys() else {"thread_id": "thread_1"}
    return PortkeyThreadRunsToObjectStorageOperator(task_id="runs", path=str(path), **ids, **arguments)


def export_things(path: Path, **arguments: Any) -> PortkeyListToObjectStorageOperator:
    given = {"list_spec": THINGS, "ids": {"box_id": "box_1"}, **arguments}
    return PortkeyListToObjectStorageOperator(task_id="things", path=str(path), **given)


def read(path: Path, file_format: str, columns: dict[str, str]) -> list[dict[str, Any]]:
    """Return the rows of a file as they were before they became rows of a table."""
    if file_format == "jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    if file_format == "json":
        rows: list[dict[str, Any]] = json.loads(path.read_text())
        return rows
    if file_format == "parquet":
        table = pyarrow.parquet.read_table(path)
    else:
        options = pyarrow.csv.ConvertOptions(
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            column_types={
                **{name: ARROW.get(kind, pyarrow.string()) for name, kind in columns.items()},
                "other_fields": pyarrow.string(),
            },
        )
        parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
        table = pyarrow.csv.read_csv(path, parse_options=parse, convert_options=options)
    assert table.schema.names == [*columns, "other_fields"]
    rows = []
    for line in table.to_pylist():
        others = json.loads(line.pop("other_fields") or "{}")
        for name, kind in columns.items():
            if kind == "json" and line[name] is not None:
                line[name] = json.loads(line[name])
        rows.append({**line, **others})
    return rows


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("file_format", FORMATS)
def test_runs_come_out_of_every_format_value_by_value(
    portkey_connection: Any,
    serve_list: Callable[..., Any],
    seed_runs: list[dict[str, Any]],
    tmp_path: Path,
    file_format: str,
    compression: str | None,
) -> None:
    serve_list(RUNS, seed_runs)
    path = tmp_path / f"runs.{file_format}"

    manifest = export_runs(path, file_format=file_format, compression=compression).execute({})

    if compression and file_format != "parquet":
        import gzip

        path.write_bytes(gzip.decompress(path.read_bytes()))
    found = read(path, file_format, COLUMNS)
    assert found == seed_runs
    types = [{name: type(value) for name, value in run.items() if name != "top_p"} for run in seed_runs]
    assert [{name: type(value) for name, value in run.items() if name != "top_p"} for run in found] == types
    assert (manifest["rows"], manifest["first_id"], manifest["last_id"]) == (3, "run_full", "run_new")


def test_csv_keeps_null_and_the_empty_string_apart(
    portkey_connection: Any, serve_list: Callable[..., Any], seed_runs: list[dict[str, Any]], tmp_path: Path
) -> None:
    serve_list(RUNS, [{**seed_runs[1], "id": "a"}, {**seed_runs[1], "id": "b", "instructions": "", "model": ""}])
    path = tmp_path / "runs.csv"

    export_runs(path, file_format="csv").execute({})

    _, nulls, empty = path.read_text().splitlines()
    assert nulls == "a" + "," * len(COLUMNS)
    assert empty.count('""') == 2
    assert next(iter(csv.reader([nulls])))[1:] == [""] * len(COLUMNS)


def test_the_manifest_counts_statuses_and_sums_usage(
    portkey_connection: Any, serve_list: Callable[..., Any], seed_runs: list[dict[str, Any]], tmp_path: Path
) -> None:
    details = {"prompt_tokens": 8, "cost": 0.5, "prompt_tokens_details": {"cached_tokens": 2}}
    serve_list(RUNS, [*seed_runs, {"id": "run_4", "status": "completed", "usage": details}])

    manifest = export_runs(tmp_path / "runs.jsonl").execute({})

    assert manifest["status_counts"] == {"requires_action": 2, "None": 1, "completed": 1}
    assert manifest["usage"] == {
        "completion_tokens": 246,
        "prompt_tokens": 98,
        "total_tokens": 336,
        "cost": 0.5,
        "prompt_tokens_details": {"cached_tokens": 2},
    }
    assert (manifest["thread_id"], manifest["threads"], manifest["pages"]) == ("thread_1", 1, 1)
    assert (manifest["window_start"], manifest["window_end"], manifest["window_by"]) == (None, None, None)
    json.dumps(manifest)


def run(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"run_{number}", "created_at": number, "status": "completed", "completed_at": number + 30, **more}


def window(start: int, end: int) -> dict[str, str]:
    times = {"window_start": start, "window_end": end}
    return {name: f"1970-01-01T00:{second // 60:02}:{second % 60:02}Z" for name, second in times.items()}


@pytest.mark.parametrize(
    ("arguments", "first", "last", "pages"),
    [
        ({"order": "asc"}, 300, 399, 5),
        ({"order": "desc"}, 399, 300, 8),
        ({"order": "asc", "window_by": "ended"}, 270, 369, 5),
        ({"order": "desc", "window_by": "ended", "max_run_seconds": 60}, 369, 270, 8),
    ],
)
def test_the_runs_of_a_window_are_read_no_further_than_needed(
    portkey_connection: Any,
    serve_list: Callable[..., Any],
    tmp_path: Path,
    arguments: dict[str, Any],
    first: int,
    last: int,
    pages: int,
) -> None:
    serve_list(RUNS, [run(number) for number in range(1_000)])
    path = tmp_path / "runs.jsonl"

    manifest = export_runs(path, **window(300, 400), **arguments).execute({})

    ids = [int(one["id"].removeprefix("run_")) for one in read(path, "jsonl", COLUMNS)]
    assert ids == list(range(first, last + (1 if last > first else -1), 1 if last > first else -1))
    assert manifest["pages"] == pages
    assert manifest["window_start"] == "1970-01-01T00:05:00Z"
    assert manifest["window_by"] == arguments.get("window_by", "created")
    before = path.read_bytes()
    export_runs(path, **window(300, 400), **arguments).execute({})
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        ({"statuses": ["failed"]}, ["run_2"]),
        ({"statuses": "failed, queued"}, ["run_2", "run_3"]),
        ({"assistant_id": "asst_1"}, ["run_1", "run_2"]),
        ({"assistant_id": "asst_1", "statuses": '["completed"]'}, ["run_1"]),
        ({"statuses": ["expired"]}, []),
    ],
)
def test_runs_are_filtered(
    portkey_connection: Any, serve_list: Callable[..., Any], tmp_path: Path, arguments: dict[str, Any], ids: list[str]
) -> None:
    runs = [run(1, assistant_id="asst_1"), run(2, assistant_id="asst_1", status="failed"), run(3, status="queued")]
    serve_list(RUNS, runs)

    manifest = export_runs(tmp_path / "runs.jsonl", **arguments).execute({})

    assert [one["id"] for one in read(tmp_path / "runs.jsonl", "jsonl", COLUMNS)] == ids
    assert sum(manifest["status_counts"].values()) == manifest["rows"] == len(ids)


@pytest.mark.parametrize("form", ["list", "string", "file"])
def test_several_threads_are_one_file(
    portkey_connection: Any, serve_list: Callable[..., Any], tmp_path: Path, form: str
) -> None:
    for thread in ("b", "a"):
        serve_list(f"/threads/{thread}/runs", [{**run(number), "id": f"{thread}{number}"} for number in (1, 2)])
    (tmp_path / "ids").write_text("b\n\na\nb\n")
    given: dict[str, dict[str, Any]] = {
        "list": {"thread_ids": ["b", "a", "b"]},
        "string": {"thread_ids": "b, a"},
        "file": {"thread_ids_path": str(tmp_path / "ids")},
    }

    manifest = export_runs(tmp_path / "runs.jsonl", **given[form]).execute({})

    assert [one["id"] for one in read(tmp_path / "runs.jsonl", "jsonl", COLUMNS)] == ["b1", "b2", "a1", "a2"]
    assert (manifest["threads"], manifest["thread_id"], manifest["pages"]) == (2, None, 2)
    assert manifest["status_counts"] == {"completed": 4}


def test_runs_that_have_not_ended_are_named_in_the_log(
    portkey_connection: Any, serve_list: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    serve_list(RUNS, [run(1), run(2, status="queued"), run(3, status="unheard_of")])

    export_runs(tmp_path / "runs.jsonl").execute({})

    assert "2 of the runs have not ended" in caplog.text


@pytest.mark.parametrize(
    ("named", "arguments"),
    [
        ("thread_id", {"thread_ids": ["a"], "thread_ids_path": "ids"}),
        ("window_end", {"window_start": "2026-11-22T00:00:00Z"}),
        ("window_by", {"window_by": "started"}),
        ("order", {"order": "up"}),
        ("page_size", {"page_size": 0}),
        ("max_run_seconds", {"max_run_seconds": -1}),
        ("file_format", {"file_format": "xml"}),
    ],
)
def test_wrong_arguments_are_refused_when_the_task_is_constructed(
    tmp_path: Path, named: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match=f"^{named}="):
        export_runs(tmp_path / "runs", **arguments)


@pytest.mark.parametrize(
    ("named", "arguments"),
    [
        ("window_end", window(300, 299)),
        ("window_end", window(300, 300)),
        ("window_start", {"window_start": "yesterday", "window_end": "2026-11-22T00:00:00Z"}),
        ("order", {**window(300, 400), "order": None}),
        ("statuses", {"statuses": ["done"]}),
        ("statuses", {"statuses": []}),
        ("assistant_id", {"assistant_id": ""}),
        (r"thread_ids\[1\]", {"thread_ids": ["a", ""]}),
        ("thread_ids_path", {"thread_ids_path": "folder/"}),
    ],
)
def test_wrong_arguments_are_refused_and_nothing_is_sent(
    portkey_connection: Any, requests_mock: Any, tmp_path: Path, named: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match=f"^{named}="):
        export_runs(tmp_path / "runs", **arguments).execute({})

    assert requests_mock.call_count == 0
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def serve_things(portkey_connection: Any, requests_mock: Any) -> Any:
    pages = [{"json": {"object": "list", "data": data}} for data in (THING_ROWS[:2], THING_ROWS[2:], [])]
    return requests_mock.get(f"{BASE}/boxes/box_1/things", pages)


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_list_of_the_dag_author_is_exported(serve_things: Any, tmp_path: Path, file_format: str) -> None:
    path = tmp_path / "things"

    manifest = export_things(path, page_size=2, parameters={"colour": "any"}, file_format=file_format).execute({})

    assert read(path, file_format, dict(THINGS.columns)) == THING_ROWS
    queries = [parse_qsl(urlsplit(request.url).query) for request in serve_things.request_history]
    assert queries == [[("per_page", "2"), ("page", str(page)), ("colour", "any")] for page in (1, 2, 3)]
    assert (manifest["list"], manifest["ids"], manifest["rows"], manifest["pages"]) == (
        "things",
        {"box_id": "box_1"},
        3,
        3,
    )
    assert (manifest["first_id"], manifest["last_id"]) == (None, None)


def test_the_declaration_in_the_docs_is_short() -> None:
    page = (Path(__file__).parents[3] / "docs" / "exporting-lists.md").read_text()
    declaration = page.partition("= ListSpec(")[2].partition("\n)\n")[0]

    assert 3 < len(declaration.splitlines()) < 20


@pytest.mark.parametrize(
    ("pages", "error"),
    [
        ([{"object": "list"}], exceptions.PortkeyUnexpectedResponseError),
        ([{"data": ["run_1"], "has_more": False}], exceptions.PortkeyUnexpectedResponseError),
        (
            [{"data": [run(1)], "has_more": True}, {"data": [{"status": "queued"}], "has_more": True}],
            exceptions.PortkeyUnexpectedResponseError,
        ),
        ([{"data": [run(1)], "has_more": True}, {"data": [run(1)]}], exceptions.PortkeyPaginationError),
    ],
)
@pytest.mark.parametrize("file_format", FORMATS)
def test_a_wrong_page_is_a_typed_error_and_leaves_no_file(
    portkey_connection: Any,
    requests_mock: Any,
    tmp_path: Path,
    pages: list[dict[str, Any]],
    error: type[Exception],
    file_format: str,
) -> None:
    requests_mock.get(f"{BASE}{RUNS}", [{"json": page} for page in pages])

    with pytest.raises(error):
        export_runs(tmp_path / "runs", file_format=file_format).execute({})

    assert list(tmp_path.iterdir()) == []


def test_a_repeated_numbered_page_leaves_no_file(portkey_connection: Any, requests_mock: Any, tmp_path: Path) -> None:
    requests_mock.get(f"{BASE}/boxes/box_1/things", json={"data": THING_ROWS})

    with pytest.raises(exceptions.PortkeyPaginationError, match="same page"):
        export_things(tmp_path / "things").execute({})

    assert list(tmp_path.iterdir()) == []


#: The output of a response as a provider behind the gateway sent it: no id, null, and an empty string.
OUTPUT: list[dict[str, Any]] = [
    {"id": "rs_1", "type": "reasoning", "summary": []},
    {"type": "function_call", "call_id": "call_1", "name": "find", "arguments": "{}"},
    {"id": None, "type": "function_call", "call_id": "call_2", "name": "find", "arguments": "{}"},
    {"id": "", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "done"}]},
]


@pytest.mark.parametrize("include_input", [False, True])
def test_items_of_a_response_without_ids_are_exported_in_order(
    portkey_connection: Any, requests_mock: Any, tmp_path: Path, include_input: bool
) -> None:
    response = {"id": "resp_1", "status": "completed", "output": OUTPUT}
    requests_mock.get(f"{BASE}/responses/resp_1", json=response)
    inputs = {"object": "list", "data": OUTPUT, "has_more": False}
    requests_mock.get(f"{BASE}/responses/resp_1/input_items", json=inputs)
    path = tmp_path / "items.jsonl"

    manifest = PortkeyResponseItemsToObjectStorageOperator(
        task_id="items", response_id="resp_1", path=str(path), include_input=include_input
    ).execute({})

    rows = read(path, "jsonl", {})
    if include_input:
        assert [row.pop("direction") for row in rows] == ["input"] * 4 + ["output"] * 4
    assert rows == OUTPUT * (2 if include_input else 1)
    assert (manifest["rows"], manifest["first_id"], manifest["last_id"]) == (len(rows), "rs_1", "rs_1")


@pytest.mark.parametrize(
    ("spec", "ids", "rows"),
    [
        (jobs.RUN_STEPS, {"thread_id": "thread_1", "run_id": "run_1"}, 7),
        (jobs.RESPONSE_INPUT_ITEMS, {"response_id": "resp_1"}, 3),
        (jobs.RESPONSE_OUTPUT_ITEMS, {"response_id": "resp_1"}, 2),
        (jobs.FINE_TUNING_EVENTS, {"fine_tuning_job_id": "ft_1"}, 230),
        (jobs.FINE_TUNING_CHECKPOINTS, {"fine_tuning_job_id": "ft_1"}, 4),
        (jobs.BATCHES, None, 1),
        (jobs.MODELS, None, 1),
    ],
)
@pytest.mark.parametrize("file_format", ["jsonl", "csv", "parquet"])
def test_declared_lists_are_exported_from_the_mock_server(
    mock_server: PortkeyMockServer, tmp_path: Path, spec: ListSpec, ids: Any, rows: int, file_format: str
) -> None:
    mock_server.add_run(thread_id="thread_1", run_id="run_1", statuses="completed", steps=7)
    mock_server.add_response(response_id="resp_1", input=3, output=2, statuses="completed")
    mock_server.add_batch(batch_id="batch_1", count=3, statuses="completed")
    mock_server.add_fine_tuning_job(job_id="ft_1", events=230, checkpoints=4, statuses="succeeded")
    path = tmp_path / "rows"

    manifest = PortkeyListToObjectStorageOperator(
        task_id="list", list_spec=spec, ids=ids, path=str(path), file_format=file_format
    ).execute({})

    items = PortkeyListOperator(task_id="list", list_spec=spec, ids=ids, max_bytes=1_000_000).execute({})
    assert manifest["rows"] == len(items) == rows
    found = [{k: v for k, v in row.items() if v is not None} for row in read(path, file_format, dict(spec.columns))]
    assert found == [{k: v for k, v in item.items() if v is not None} for item in items]


def serialized(*make: Callable[[], Any]) -> str:
    try:
        from airflow.serialization.serialized_objects import DagSerialization as Serialization
    except ImportError:  # before Airflow 3.2
        from airflow.serialization.serialized_objects import SerializedDAG as Serialization
    with DAG(dag_id="lists", schedule=None) as dag:
        for one in make:
            one()
    found = Serialization.to_dict(dag)
    Serialization.from_dict(json.loads(json.dumps(found)))
    return json.dumps(found)


def test_dags_with_declarations_are_serialized_the_same_every_time(tmp_path: Path) -> None:
    job = JobSpec(
        kind="job", path="/jobs/{job_id}", active_statuses=["a"], success_statuses=["b"], failure_statuses=["c"]
    )

    def mapped(cls: type[BaseOperator], **arguments: Any) -> Callable[[], Any]:
        return lambda: cls.partial(task_id=cls.__name__, **arguments).expand(ids=[{"box_id": "a"}, {"box_id": "b"}])

    text = serialized(
        lambda: export_things(tmp_path),
        mapped(PortkeyListToObjectStorageOperator, list_spec=THINGS, path="rows/{{ ti.map_index }}"),
        mapped(PortkeyListOperator, list_spec=THINGS),
        mapped(PortkeyCustomJobSensor, job_spec=job),
    )

    assert " object at 0x" not in text
