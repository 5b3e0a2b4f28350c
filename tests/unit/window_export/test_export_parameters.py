"""The parameters of an export, and where its records are."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_portkey import exceptions
from airflow_provider_portkey.client import requests_session
from airflow_provider_portkey.parameters import PARAMETERS
from airflow_provider_portkey.testing import AssetStateStore, AssetStateStores, PortkeyMockServer
from airflow_provider_portkey.transfers.steps_to_object_storage import PortkeyThreadStepsToObjectStorageOperator

NIGHT = datetime(2025, 11, 21, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("window_by", "started"),
        ("on_unfinished", "wait"),
        ("max_run_seconds", -1),
        ("max_run_seconds", "1h"),
        ("max_concurrent_requests", 0),
        ("max_concurrent_requests", 33),
        ("max_concurrent_requests", True),
        ("file_format", "xml"),
        ("compression", "bz2"),
        ("thread_ids", None),
    ],
)
def test_a_wrong_choice_is_refused_when_the_task_is_constructed(field: str, wrong: Any, nights: Any) -> None:
    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match=rf"^{field}="):
        nights.operator("/tmp/steps", **{field: wrong})


def test_thread_ids_come_from_one_place(nights: Any) -> None:
    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match="not both"):
        nights.operator("/tmp/steps", thread_ids=["thread_1"], thread_ids_path="/tmp/ids")


TOMORROW = datetime.now(tz=UTC) + DAY


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("window_start", {"window_start": datetime(2025, 1, 1)}),
        ("window_start", {"window_start": "yesterday"}),
        ("window_start", {"window_start": "None"}),
        ("window_end", {"window_start": NIGHT + DAY}),
        ("window_end", {"window_start": NIGHT + 2 * DAY}),
        ("window_end", {"window_end": TOMORROW}),
        ("path", {"path": " "}),
        ("path", {"path": "s3://"}),
        ("include", {"include": "one"}),
        ("thread_ids", {"thread_ids": "None"}),
        (r"thread_ids\[1\]", {"thread_ids": ["a", ".."]}),
        ("thread_ids_path", {"thread_ids_path": "/tmp/"}),
    ],
)
def test_a_wrong_value_is_refused_before_anything_is_sent_or_written(
    mock_server: PortkeyMockServer, tmp_path: Path, field: str, arguments: dict[str, Any], nights: Any
) -> None:
    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match=rf"^{field}="):
        nights.operator(**{"path": tmp_path / "steps", **arguments}).execute({})

    assert mock_server.requests == []
    assert list(tmp_path.iterdir()) == []


def test_an_empty_window_says_how_to_get_an_interval(
    mock_server: PortkeyMockServer, tmp_path: Path, nights: Any
) -> None:
    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match="CronTriggerTimetable"):
        nights.operator(tmp_path, window_start=nights.start, window_end=nights.start).execute({})


def test_a_window_that_is_there_is_not_written_again_where_that_is_forbidden(
    mock_server: PortkeyMockServer, tmp_path: Path, nights: Any, add: Any
) -> None:
    add("run_1")
    nights.export(tmp_path, overwrite=False)
    count = len(mock_server.requests)

    with pytest.raises(exceptions.PortkeyDestinationExistsError):
        nights.export(tmp_path, overwrite=False)

    assert len(mock_server.requests) == count


@pytest.mark.parametrize(
    "arguments",
    [{"window_end": NIGHT + 2 * DAY}, {"window_start": NIGHT - DAY}, {"window_by": "ended"}],
)
def test_another_window_at_the_place_of_one_is_refused(
    tmp_path: Path, arguments: dict[str, Any], nights: Any, add: Any
) -> None:
    add("run_1")
    nights.export(tmp_path)
    before = nights.files(tmp_path)

    with pytest.raises(exceptions.PortkeyExportConflictError):
        nights.operator(tmp_path, **arguments).execute({})

    assert nights.files(tmp_path) == before


def test_each_task_has_a_path_of_its_own(tmp_path: Path, nights: Any, add: Any) -> None:
    add("run_1")
    ti = SimpleNamespace(dag_id="dag", task_id="export", run_id="night", map_index=-1, try_number=1)
    nights.export(tmp_path, context={"ti": ti})
    nights.export(tmp_path, context={"ti": SimpleNamespace(**{**vars(ti), "run_id": "backfill", "try_number": 3})})

    with pytest.raises(exceptions.PortkeyExportConflictError, match=r"by dag\.export\. Give dag\.export\[1\] a path"):
        nights.export(tmp_path, context={"ti": SimpleNamespace(**{**vars(ti), "map_index": 1})})


def test_a_record_that_is_not_valid_is_named(mock_server: PortkeyMockServer, tmp_path: Path, nights: Any) -> None:
    nights.export(tmp_path, thread_ids=[])
    (record,) = (tmp_path / "_unfinished").iterdir()
    for wrong in ("[1]", "{", "{}"):
        record.write_text(wrong)
        with pytest.raises(exceptions.PortkeyExportConflictError, match="record of an earlier export"):
            nights.export(tmp_path, thread_ids=[])


def test_with_several_assets_the_record_is_a_file(mock_server: PortkeyMockServer, tmp_path: Path, nights: Any) -> None:
    nights.export(
        tmp_path,
        thread_ids=[],
        context={"asset_state_store": AssetStateStores(a=AssetStateStore(), b=AssetStateStore())},
    )

    assert [record.name for record in (tmp_path / "_unfinished").iterdir()] == ["window_end=20251122T000000Z.json"]


def test_both_places_hold_the_same_and_earlier_files_are_read(
    clock: Any, tmp_path: Path, nights: Any, add: Any
) -> None:
    add("late", statuses=[("in_progress", 0), ("completed", 60)])
    store = AssetStateStore()
    nights.export(tmp_path / "store", context={"asset_state_store": store})
    nights.export(tmp_path / "file")
    (record,) = (tmp_path / "file" / "_unfinished").iterdir()
    (kept,) = store.values.values()
    assert json.loads(record.read_text()) == kept
    assert not (tmp_path / "store" / "_unfinished").exists()
    clock.now += 86_400

    assert nights.export(tmp_path / "file", night=1, context={"asset_state_store": store})["runs"]["carried_over"] == 1


def test_every_parameter_is_templated() -> None:
    assert {*PortkeyThreadStepsToObjectStorageOperator.template_fields} == {
        "thread_ids", "thread_ids_path", "window_start", "window_end", "window_by", "on_unfinished", "max_run_seconds",
        "max_concurrent_requests", "include", "include_messages", "include_runs", "path", "file_format", "compression",
        "csv_formulas", "overwrite", "portkey_conn_id", "object_storage_conn_id",
    }  # fmt: skip


def test_rendered_choices_are_checked_and_used(tmp_path: Path, nights: Any, add: Any) -> None:
    add("late", statuses="in_progress")
    task = nights.operator(tmp_path, on_unfinished="{{ policy }}", max_concurrent_requests="{{ n }}")
    task.render_template_fields({"policy": "include", "n": 2})

    assert task.execute({})["runs"]["exported"] == 1
    wrong = nights.operator(tmp_path, on_unfinished="{{ policy }}")
    wrong.render_template_fields({"policy": "wait"})
    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match=r"^on_unfinished="):
        wrong.execute({})


@pytest.mark.parametrize("native", ["{{ ids | tojson }}", "{{ ids }}", "{{ ids | join(', ') }}"])
def test_a_template_may_make_the_ids(tmp_path: Path, native: str, nights: Any, add: Any) -> None:
    for number in (1, 2):
        add(f"run_{number}", thread_id=f"thread_{number}")
    task = nights.operator(f"{tmp_path}/{{{{ what }}}}", thread_ids=native, window_start="{{ start }}")

    task.render_template_fields({"ids": ["thread_1", "thread_2"], "what": "steps", "start": nights.start})

    assert task.execute({})["runs"]["exported"] == 2
    assert nights.folder(tmp_path / "steps").is_dir()


def test_the_messages_of_steps_are_joined(tmp_path: Path, nights: Any, add: Any) -> None:
    add("run_1", steps=3)
    add("run_2", steps=3, hour=13)

    nights.export(tmp_path, include_messages=True)

    rows = [json.loads(line) for line in (nights.folder(tmp_path) / "thread_1.jsonl").read_text().splitlines()]
    texts = [row["message_text"] for row in rows if row["type"] == "message_creation"]
    assert texts == [f"Message of step {number} of run_{run}." for run in (1, 2) for number in (0, 2)]


def test_additional_fields_are_requested(mock_server: PortkeyMockServer, tmp_path: Path, nights: Any, add: Any) -> None:
    add("run_1")
    nights.export(tmp_path, include=["step_details"])

    (steps,) = [request for request in mock_server.requests if request.path.endswith("/steps")]
    assert "include%5B%5D=step_details" in steps.query


def test_as_many_requests_are_allowed_as_a_session_keeps_connections() -> None:
    limit = PARAMETERS["max_concurrent_requests"]

    assert limit("max_concurrent_requests", requests_session.MAX_CONNECTIONS) == requests_session.MAX_CONNECTIONS
    with pytest.raises(exceptions.PortkeyInvalidArgumentError):
        limit("max_concurrent_requests", requests_session.MAX_CONNECTIONS + 1)


def test_an_object_store_gets_the_window(memory_store: str, clock: Any, nights: Any, add: Any) -> None:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    add("done")
    add("late", hour=23, statuses=[("in_progress", 0), ("completed", 60)])
    nights.export(f"{memory_store}/steps")
    clock.now += 86_400
    first = nights.export(f"{memory_store}/steps")
    second = nights.export(f"{memory_store}/steps", night=1)

    assert (first["runs"]["skipped"], second["runs"]["carried_over"]) == (1, 1)
    content = (ObjectStoragePath(second["uri"]) / "thread_1.jsonl").read_bytes()
    assert {json.loads(line)["run_id"] for line in content.splitlines()} == {"late"}
