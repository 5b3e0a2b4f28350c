from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow.parquet
import pytest
import requests
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_portkey import exceptions
from airflow_provider_portkey.jobs import RUN_STEPS
from airflow_provider_portkey.transfers.steps_to_object_storage import PortkeyRunStepsToObjectStorageOperator

BASE = "https://portkey.test/v1"
RUN = "/threads/thread_1/runs/run_1"
MANIFEST_KEYS = [
    "uri", "path", "format", "compression", "rows", "bytes", "sha256", "non_finite_values",
    "thread_id", "run_id", "run_status", "first_id",
    "last_id", "pages", "usage", "cost", "started_at", "finished_at", "schema_version",
]  # fmt: skip
USAGE = {"prompt_tokens": 123, "completion_tokens": 456, "total_tokens": 579}


def operator(path: object, **arguments: Any) -> PortkeyRunStepsToObjectStorageOperator:
    given = {"task_id": "export", "thread_id": "thread_1", "run_id": "run_1", "path": str(path), **arguments}
    return PortkeyRunStepsToObjectStorageOperator(**given)


def step(number: int, **more: Any) -> dict[str, Any]:
    details = {"type": "message_creation", "message_creation": {"message_id": f"msg_{number}"}}
    return {
        "id": f"step_{number}",
        "object": "thread.run.step",
        "created_at": 1_700_000_000 + number,
        "type": "message_creation",
        "status": "completed",
        "step_details": details,
        "unknown": {"ü": [None]},
        **more,
    }


def message(number: int) -> dict[str, Any]:
    return {"id": f"msg_{number}", "content": [{"type": "text", "text": {"value": f"text {number}"}}]}


@pytest.fixture
def serve_run(portkey_connection: Any, requests_mock: Any, serve_list: Callable[..., Any]) -> Callable[..., Any]:
    """Serve run ``run_1`` and its steps."""

    def serve(count: int, **run: Any) -> Any:
        served = {
            "id": "run_1",
            "thread_id": "thread_1",
            "status": "completed",
            "usage": USAGE,
            "instructions": "be brief",
            **run,
        }
        requests_mock.get(f"{BASE}{RUN}", json=served)
        return serve_list(f"{RUN}/steps", [step(number) for number in range(1, count + 1)])

    return serve


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_manifest_has_exactly_the_documented_keys(serve_run: Callable[..., Any], tmp_path: Path) -> None:
    served = serve_run(250)
    path = tmp_path / "new" / "steps.jsonl"

    manifest = operator(path).execute({})

    content = path.read_bytes()
    assert sorted(manifest) == sorted(MANIFEST_KEYS)
    started, finished = (datetime.fromisoformat(manifest.pop(name)) for name in ("started_at", "finished_at"))
    assert started <= finished
    assert started.utcoffset() == finished.utcoffset() is not None
    assert manifest == {
        "uri": f"file://{path}",
        "path": str(path),
        "format": "jsonl",
        "compression": None,
        "rows": 250,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "non_finite_values": 0,
        "thread_id": "thread_1",
        "run_id": "run_1",
        "run_status": "completed",
        "first_id": "step_1",
        "last_id": "step_250",
        "pages": 3,
        "usage": USAGE,
        "cost": None,
        "schema_version": 1,
    }
    assert served.call_count == 3
    assert lines(path) == [step(number) for number in range(1, 251)]
    json.dumps(manifest)


def test_a_run_without_steps_gives_an_empty_file_and_its_manifest(
    serve_run: Callable[..., Any], tmp_path: Path
) -> None:
    serve_run(0, usage=None)

    manifest = operator(tmp_path / "steps.jsonl").execute({})

    assert (tmp_path / "steps.jsonl").read_bytes() == b""
    assert {name: manifest[name] for name in ("rows", "bytes", "pages", "first_id", "last_id", "usage")} == {
        "rows": 0,
        "bytes": 0,
        "pages": 1,
        "first_id": None,
        "last_id": None,
        "usage": None,
    }
    assert manifest["sha256"] == hashlib.sha256(b"").hexdigest()


def test_the_newest_step_comes_first_in_descending_order(serve_run: Callable[..., Any], tmp_path: Path) -> None:
    serve_run(120)

    manifest = operator(tmp_path / "steps.jsonl", order="desc").execute({})

    assert (manifest["first_id"], manifest["last_id"]) == ("step_120", "step_1")
    assert [row["id"] for row in lines(tmp_path / "steps.jsonl")] == [f"step_{n}" for n in range(120, 0, -1)]


@pytest.mark.parametrize(
    ("file_format", "compression"),
    [("jsonl", "gzip"), ("json", "gzip"), ("csv", "gzip"), ("parquet", None), ("parquet", "zstd"), ("csv", None)],
)
def test_each_format_holds_every_step_and_the_same_bytes_each_time(
    serve_run: Callable[..., Any], tmp_path: Path, file_format: str, compression: str | None
) -> None:
    serve_run(3)
    path = tmp_path / "steps"
    export = operator(path, file_format=file_format, compression=compression)

    first = export.execute({})
    second = export.execute({})

    assert (first["format"], first["compression"]) == (file_format, compression)
    assert first["sha256"] == second["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    if file_format == "parquet":
        rows = pyarrow.parquet.read_table(path).to_pylist()
        assert list(rows[0]) == [*RUN_STEPS.columns, "other_fields"]
    else:
        text = (gzip.decompress(path.read_bytes()) if compression else path.read_bytes()).decode()
        if file_format == "csv":
            rows = list(csv.DictReader(io.StringIO(text, newline="")))
        else:
            rows = json.loads(text) if file_format == "json" else [json.loads(line) for line in text.splitlines()]
    assert [row["id"] for row in rows] == ["step_1", "step_2", "step_3"]
    if file_format in ("csv", "parquet"):
        assert json.loads(rows[0]["step_details"]) == step(1)["step_details"]
        assert json.loads(rows[0]["other_fields"]) == {"unknown": {"ü": [None]}}


@pytest.mark.parametrize("status", ["queued", "in_progress", "cancelling", "requires_action", "unheard_of"])
def test_an_active_run_is_exported_with_a_warning(
    serve_run: Callable[..., Any], tmp_path: Path, warnings_of: Callable[[], list[str]], status: str
) -> None:
    serve_run(1, status=status)

    manifest = operator(tmp_path / "steps.jsonl").execute({})

    assert manifest["run_status"] == status
    (warning,) = warnings_of()
    assert status in warning


def test_a_name_that_says_another_format_is_a_warning(
    serve_run: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    serve_run(1)

    operator(tmp_path / "steps.parquet").execute({})

    assert "steps.parquet: the name ends in .parquet, and file_format is 'jsonl'." in caplog.text


def test_a_run_without_a_status_is_exported_with_a_warning(
    serve_run: Callable[..., Any], requests_mock: Any, tmp_path: Path, warnings_of: Callable[[], list[str]]
) -> None:
    serve_run(1)
    requests_mock.get(f"{BASE}{RUN}", json={"id": "run_1", "thread_id": "thread_1"})

    manifest = operator(tmp_path / "steps.jsonl").execute({})

    assert (manifest["run_status"], manifest["usage"], manifest["rows"]) == (None, None, 1)
    assert len(warnings_of()) == 1


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "expired", "incomplete"])
def test_a_run_that_has_ended_is_exported_without_a_warning(
    serve_run: Callable[..., Any], tmp_path: Path, warnings_of: Callable[[], list[str]], status: str
) -> None:
    serve_run(1, status=status)

    assert operator(tmp_path / "steps.jsonl").execute({})["run_status"] == status
    assert warnings_of() == []


@pytest.fixture
def warnings_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """The operator's warnings about its run; the logger is Airflow's own and differs between versions."""
    log = logging.getLogger("tests.portkey.operator")
    records: list[logging.LogRecord] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = Collect(logging.WARNING)
    monkeypatch.setattr(log, "handlers", [handler])
    monkeypatch.setattr(PortkeyRunStepsToObjectStorageOperator, "log", log)
    return lambda: [record.getMessage() for record in records if "'run_1'" in record.getMessage()]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_the_text_of_each_message_is_joined(
    serve_run: Callable[..., Any], serve_list: Callable[..., Any], tmp_path: Path, order: str
) -> None:
    serve_run(120)
    messages = serve_list("/threads/thread_1/messages", [message(number) for number in range(1, 121)])

    manifest = operator(tmp_path / "steps.jsonl", order=order, include_messages=True).execute({})

    rows = lines(tmp_path / "steps.jsonl")
    assert [row["message_text"] for row in rows] == [f"text {row['id'].removeprefix('step_')}" for row in rows]
    assert [row["id"] for row in rows][:: 1 if order == "asc" else -1] == [f"step_{n}" for n in range(1, 121)]
    assert messages.call_count == 2
    assert {parse_qs(urlsplit(request.url).query)["order"][0] for request in messages.request_history} == {order}
    assert (manifest["rows"], manifest["pages"]) == (120, 2)


def test_a_message_that_is_gone_leaves_its_text_empty(
    serve_run: Callable[..., Any], serve_list: Callable[..., Any], requests_mock: Any, tmp_path: Path
) -> None:
    serve_run(3)
    serve_list("/threads/thread_1/messages", [message(1), message(3)])
    gone = requests_mock.get(f"{BASE}/threads/thread_1/messages/msg_2", status_code=404, json={})

    operator(tmp_path / "steps.csv", file_format="csv", include_messages=True).execute({})

    rows = list(csv.DictReader((tmp_path / "steps.csv").open(newline="")))
    assert [row["message_text"] for row in rows] == ["text 1", "", "text 3"]
    assert list(rows[0]) == [*RUN_STEPS.columns, "message_text", "other_fields"]
    assert gone.call_count == 1


def test_without_messages_none_is_requested(serve_run: Callable[..., Any], requests_mock: Any, tmp_path: Path) -> None:
    serve_run(1)

    operator(tmp_path / "steps.jsonl").execute({})

    assert not [request for request in requests_mock.request_history if "/messages" in request.path]


def test_a_file_that_must_stay_is_refused_before_anything_is_sent(
    serve_run: Callable[..., Any], requests_mock: Any, tmp_path: Path
) -> None:
    serve_run(1)
    path = tmp_path / "steps.jsonl"
    path.write_text("earlier")

    with pytest.raises(exceptions.PortkeyDestinationExistsError):
        operator(path, overwrite=False).execute({})

    assert requests_mock.call_count == 0
    assert path.read_text() == "earlier"


def test_a_file_is_replaced_by_default(serve_run: Callable[..., Any], tmp_path: Path) -> None:
    serve_run(1)
    path = tmp_path / "steps.jsonl"
    path.write_text("earlier\n" * 1_000)

    operator(path).execute({})

    assert lines(path) == [step(1)]


@pytest.mark.parametrize("file_format", ["jsonl", "json", "csv"])
def test_an_error_on_a_later_page_leaves_nothing_behind(
    portkey_connection: Any, requests_mock: Any, waits: list[float], tmp_path: Path, file_format: str
) -> None:
    requests_mock.get(f"{BASE}{RUN}", json={"id": "run_1", "thread_id": "thread_1", "status": "completed"})
    first = {"json": {"data": [step(1)], "has_more": True}}
    requests_mock.get(f"{BASE}{RUN}/steps", [first, {"exc": requests.ConnectionError("reset")}])

    with pytest.raises(exceptions.PortkeyUnreachableError):
        operator(tmp_path / "steps", file_format=file_format).execute({})

    assert list(tmp_path.iterdir()) == []
    assert len(waits) == 4


def test_an_object_store_gets_the_file(
    serve_run: Callable[..., Any], memory_store: str, portkey_connection: Any
) -> None:
    serve_run(2)

    manifest = operator(f"{memory_store}/2026-11-22/steps.jsonl").execute({})

    content = ObjectStoragePath(manifest["uri"]).read_bytes()
    assert [json.loads(line)["id"] for line in content.splitlines()] == ["step_1", "step_2"]
    assert (manifest["bytes"], manifest["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("path", ["", " ", "/tmp/folder/", "s3://bucket/"])
def test_a_wrong_path_is_refused(portkey_connection: Any, requests_mock: Any, path: str) -> None:
    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match=r"^path="):
        operator(path).execute({})

    assert requests_mock.call_count == 0


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("file_format", "xml"),
        ("file_format", "JSONL"),
        ("file_format", ""),
        ("compression", "bz2"),
        ("compression", "snappy"),
        ("order", "newest"),
        ("overwrite", "maybe"),
        ("include_messages", 1),
    ],
)
def test_a_wrong_choice_is_refused_when_the_task_is_constructed(field: str, wrong: Any) -> None:
    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match=f"^{field}="):
        operator("/tmp/steps", **{field: wrong})


@pytest.mark.parametrize(("field", "wrong"), [("thread_id", ""), ("run_id", ".."), ("include", "one")])
def test_wrong_arguments_leave_no_file(serve_run: Callable[..., Any], tmp_path: Path, field: str, wrong: Any) -> None:
    serve_run(1)

    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match=f"^{field}="):
        operator(tmp_path / "steps.jsonl", **{field: wrong}).execute({})

    assert list(tmp_path.iterdir()) == []


def test_every_parameter_is_templated() -> None:
    assert set(PortkeyRunStepsToObjectStorageOperator.template_fields) == {
        "thread_id", "run_id", "order", "after", "max_items", "page_size", "include", "include_messages", "path",
        "file_format", "compression", "csv_formulas", "overwrite", "portkey_conn_id", "object_storage_conn_id",
    }  # fmt: skip


def test_rendered_choices_are_checked_and_used(serve_run: Callable[..., Any], tmp_path: Path) -> None:
    serve_run(2)
    templated = operator(
        tmp_path / "steps", file_format="{{ f }}", compression="{{ c }}", order="{{ o }}", overwrite="{{ w }}"
    )
    templated.render_template_fields({"f": "json", "c": None, "o": "desc", "w": False})

    manifest = templated.execute({})

    assert (manifest["format"], manifest["compression"], manifest["first_id"]) == ("json", None, "step_2")
    with pytest.raises(exceptions.PortkeyDestinationExistsError):
        templated.execute({})
    wrong = operator(tmp_path / "steps", file_format="{{ f }}")
    wrong.render_template_fields({"f": "xml"})
    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match=r"^file_format="):
        wrong.execute({})


def test_templates_are_rendered_into_path_and_request(serve_run: Callable[..., Any], tmp_path: Path) -> None:
    serve_run(1)
    templated = operator(f"{tmp_path}/{{{{ ds }}}}/steps.jsonl", run_id="{{ run }}")

    templated.render_template_fields({"ds": "2026-11-22", "run": "run_1"})
    manifest = templated.execute({})

    assert manifest["uri"] == f"file://{tmp_path}/2026-11-22/steps.jsonl"
    assert manifest["run_id"] == "run_1"
