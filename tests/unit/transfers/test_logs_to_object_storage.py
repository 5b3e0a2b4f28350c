"""The transfer that exports logs: its requests, its state, what it cancels and what it refuses."""

from __future__ import annotations

import asyncio
import csv
import json
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet
import pytest
from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
    Variable,
)

from airflow_provider_portkey.client.sync import PortkeyClient
from airflow_provider_portkey.exceptions import (
    PortkeyBadRequestError,
    PortkeyDestinationExistsError,
    PortkeyInvalidArgumentError,
    PortkeyNotFoundError,
    PortkeyRemoteJobFailedError,
    PortkeyRowsMismatchError,
    PortkeySubmissionUnknownError,
    PortkeyUnexpectedResponseError,
    PortkeyWaitTimeoutError,
)
from airflow_provider_portkey.hooks.portkey import PortkeyHook
from airflow_provider_portkey.jobs.log_export import LOG_COLUMNS, LOG_EXPORT
from airflow_provider_portkey.log_export.plan import make_plan
from airflow_provider_portkey.transfers.logs_to_object_storage import PortkeyLogsToObjectStorageOperator
from airflow_provider_portkey.triggers import job as trigger_module
from airflow_provider_portkey.triggers.job import PortkeyRemoteJobsTrigger

START, END = "2026-07-25T00:00:00Z", "2026-07-25T00:01:00Z"


class Portkey:
    """Has one log a second, and exports with running numbers; a test sets their statuses."""

    def __init__(self) -> None:
        self.drafts: dict[str, dict[str, Any]] = {}
        self.started: list[str] = []
        self.cancelled: list[str] = []
        self.status: dict[str, str] = {}
        self.polls: list[str] = []
        self.total: Any = None

    def create(self, hook, *, description, **what):
        return self.update(hook, f"e{len(self.drafts)}", description=description, **what)

    def update(self, hook, export_id, **what):
        self.drafts[export_id] = self.drafts.get(export_id, {}) | what
        return {"id": export_id, "total": len(self.rows(export_id)) if self.total is None else self.total}

    def start(self, hook, export_id):
        self.started.append(export_id)
        self.status.setdefault(export_id, "success")

    def poll(self, path, ids, *, max_retries):
        assert (path, max_retries) == (LOG_EXPORT.path, 0)
        return self.get(None, ids["export_id"])

    def get(self, hook, export_id):
        self.polls.append(export_id)
        status = self.status.get(export_id, "draft")
        if status == "gone":
            raise PortkeyNotFoundError("gone", status_code=404)
        return {"id": export_id, "status": status, "description": "why", "filters": "excluded_fields"}

    def cancel(self, hook, export_id):
        if self.status.get(export_id) == "success":
            raise PortkeyBadRequestError("It has finished.", status_code=400)
        self.cancelled.append(export_id)

    def rows(self, export_id):
        filters = self.drafts[export_id]["filters"]
        first, end = (datetime.fromisoformat(filters[f"time_of_generation_{edge}"]) for edge in ("min", "max"))
        return [str(first + timedelta(seconds=n)) for n in range((end - first) // timedelta(seconds=1))]

    def download(self, hook, export_id):
        return (json.dumps({"id": row}).encode() + b"\n" for row in self.rows(export_id))


@pytest.fixture
def portkey(monkeypatch: pytest.MonkeyPatch, portkey_connection: object) -> Portkey:
    fake = Portkey()
    for name, call in {
        "create_log_export": fake.create,
        "update_log_export": fake.update,
        "start_log_export": fake.start,
        "get_log_export": fake.get,
        "cancel_log_export": fake.cancel,
        "iter_log_export": fake.download,
    }.items():
        monkeypatch.setattr(PortkeyHook, name, lambda self, *args, call=call, **kwargs: call(self, *args, **kwargs))
    monkeypatch.setattr(PortkeyClient, "get", lambda self, path, ids, query, **how: fake.poll(path, ids, **how))
    monkeypatch.setitem(make_plan.__kwdefaults__, "limit", 25)  # so that a minute needs three exports
    return fake


class Store(dict):
    set = dict.__setitem__


@pytest.fixture
def context() -> dict[str, Any]:
    ti = SimpleNamespace(
        dag_id="dag",
        task_id="logs",
        run_id="run",
        map_index=-1,
        max_tries=2,
        try_number=1,
        get_first_reschedule_date=lambda context: None,
    )
    return {"ti": ti, "task_state_store": Store()}


@pytest.fixture
def operator(tmp_path):
    def make(**changes) -> PortkeyLogsToObjectStorageOperator:
        arguments = {"path": str(tmp_path / "logs.jsonl"), "window_start": START, "window_end": END} | changes
        return PortkeyLogsToObjectStorageOperator(task_id="logs", **({"poke_interval": 0, "timeout": 60} | arguments))

    return make


def test_each_part_is_requested_started_and_joined(portkey, context, operator, tmp_path):
    one = operator(filters={"ai_model": "gpt"}, workspace_id="ws", requested_data=["id"])
    manifest = one.execute(context)
    assert portkey.started == ["e0", "e1", "e2"]
    assert portkey.drafts["e0"] == {
        "description": "Airflow dag.logs run",
        "filters": {
            "ai_model": "gpt",
            "time_of_generation_min": START,
            "time_of_generation_max": "2026-07-25T00:00:20Z",
        },
        "requested_data": ["id"],
        "workspace_id": "ws",
    }
    assert manifest.keys() == {
        "uri", "path", "format", "compression", "rows", "bytes", "sha256", "non_finite_values",
        "window_start", "window_end", "parts",
        "started_at", "finished_at", "schema_version",
    }  # fmt: skip
    assert manifest["uri"] == f"file://{tmp_path}/logs.jsonl"
    assert (manifest["rows"], manifest["window_start"], manifest["window_end"]) == (60, START, END)
    assert manifest["parts"][2] == {
        "export_id": "e2",
        "window_start": "2026-07-25T00:00:40Z",
        "window_end": END,
        "total": 20,
        "rows": 20,
    }
    assert datetime.fromisoformat(manifest["started_at"]) <= datetime.fromisoformat(manifest["finished_at"])
    assert json.dumps(manifest)


def test_by_default_the_interval_and_all_fields(operator):
    one = PortkeyLogsToObjectStorageOperator(task_id="logs", path="x")
    assert (one.window_start, one.window_end) == ("{{ data_interval_start }}", "{{ data_interval_end }}")
    assert one.requested_data is None
    assert operator()._export({}).request.requested_data == list(LOG_COLUMNS)
    assert len(LOG_COLUMNS) == 20
    assert one.cancel_on_kill
    templated = (
        "path",
        "window_start",
        "window_end",
        "requested_data",
        "filters",
        "workspace_id",
        "on_mismatch",
        "partition_by",
    )
    storage = ("object_storage_conn_id", "file_format", "compression", "csv_formulas", "overwrite")
    waiting = ("portkey_conn_id", "max_poll_interval", "max_consecutive_failures", "retryable_error_codes")
    assert {*templated, *storage, *waiting} == set(one.template_fields)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"compression": "rar"}, "compression"), ({"on_mismatch": "ignore"}, "on_mismatch")],
)
def test_a_wrong_choice_is_refused_when_the_dag_is_parsed(operator, wrong, named):
    with pytest.raises(PortkeyInvalidArgumentError, match=named):
        operator(**wrong)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"window_start": "2026-07-25T00:00:00"}, "window_start"),
        ({"window_end": START}, "window_end"),
        ({"window_start": datetime(2026, 7, 25)}, "window_start"),
        ({"path": ""}, "path"),
        ({"path": "s3://bucket/"}, "path"),
        ({"filters": {"created_at": {"gte": START}}}, "filters"),
        ({"filters": {"time_of_generation_max": END}}, "filters"),
        ({"filters": {"page_size": 10}}, "filters"),
        ({"filters": ["ai_model"]}, "filters"),
        ({"requested_data": []}, "requested_data"),
        ({"requested_data": "id"}, "requested_data"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_is_sent(portkey, context, operator, wrong, named):
    with pytest.raises(PortkeyInvalidArgumentError, match=named):
        operator(**wrong).execute(context)
    assert portkey.drafts == {}


def test_timestamps_may_be_given_as_datetime(portkey, context, operator):
    start = datetime(2026, 7, 25, tzinfo=UTC)
    assert operator(window_start=start, window_end=start + timedelta(seconds=5)).execute(context)["rows"] == 5


def test_a_file_that_must_stay_is_noticed_before_anything_is_sent(portkey, context, operator, tmp_path):
    (tmp_path / "logs.jsonl").write_text("mine")
    with pytest.raises(PortkeyDestinationExistsError):
        operator(overwrite=False).execute(context)
    assert portkey.drafts == {}


@pytest.mark.parametrize(("minutes", "warned"), [(-1, True), (4, True), (6, False)])
def test_a_window_that_is_recent_is_warned_about(portkey, context, operator, caplog, capsys, minutes, warned):
    end = datetime.now(tz=UTC) - timedelta(minutes=minutes)
    operator(window_start=end - timedelta(seconds=10), window_end=end).execute(context)
    assert ("logs that arrive later will be missing" in caplog.text + capsys.readouterr().out) == warned


@pytest.mark.parametrize("total", [None, "7", True, -1, 1.5])
def test_a_draft_without_a_total_is_named(portkey, context, operator, monkeypatch, total):
    monkeypatch.setattr(PortkeyHook, "create_log_export", lambda self, **what: {"id": "e0", "total": total})
    with pytest.raises(PortkeyUnexpectedResponseError, match="total"):
        operator().execute(context)
    assert portkey.started == []


def test_without_a_state_store_the_plan_is_in_a_variable_until_the_end(portkey, context, operator, monkeypatch):
    variables: dict[str, Any] = {}
    monkeypatch.setattr(Variable, "get", lambda key, default=None, **how: variables.get(key, default))
    monkeypatch.setattr(
        Variable, "set", lambda key, value, **how: variables.update({key: json.loads(json.dumps(value))})
    )
    monkeypatch.setattr(Variable, "delete", lambda key: variables.pop(key, None))
    del context["task_state_store"]
    portkey.status = {"e2": "failed"}
    with pytest.raises(PortkeyRemoteJobFailedError, match="finished as failed"):
        operator().execute(context)
    assert len(variables) == 1
    context["ti"].max_tries += 1
    assert operator().execute(context)["rows"] == 60
    assert portkey.started == ["e0", "e1", "e2", "e3"]
    assert variables == {}


def test_an_export_that_is_gone_is_created_again(portkey, context, operator):
    portkey.status = {"e1": "failed"}
    with pytest.raises(PortkeyRemoteJobFailedError):
        operator().execute(context)
    portkey.status["e1"] = "gone"
    context["ti"].try_number += 1
    assert [part["export_id"] for part in operator().execute(context)["parts"]] == ["e0", "e3", "e2"]


def test_another_window_is_planned_again(portkey, context, operator):
    portkey.status = {"e0": "failed"}
    with pytest.raises(PortkeyRemoteJobFailedError):
        operator(window_end="2026-07-25T00:00:10Z").execute(context)
    context["ti"].try_number += 1
    assert operator(window_end="2026-07-25T00:00:11Z").execute(context)["rows"] == 11


def test_a_try_that_is_carried_out_twice_checks_before_it_starts(portkey, context, operator, monkeypatch):
    def crash(self, export_id):
        portkey.start(self, export_id)
        if export_id == "e1":
            raise MemoryError

    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(PortkeyHook, "start_log_export", crash)
        operator().execute(context)
    assert operator().execute(context)["rows"] == 60
    assert portkey.started == ["e0", "e1", "e2"]


def test_the_trigger_gets_every_part_that_has_not_finished(portkey, context, operator):
    portkey.status = {"e0": "success", "e1": "in_progress", "e2": "in_progress"}
    with pytest.raises(TaskDeferred) as raised:
        operator(deferrable=True).execute(context)
    assert portkey.polls == ["e0", "e1"]
    trigger = raised.value.trigger
    assert isinstance(trigger, PortkeyRemoteJobsTrigger)
    assert trigger.pending == [{"export_id": "e1"}, {"export_id": "e2"}]
    assert trigger.job.to_dict() == LOG_EXPORT.to_dict()
    manifest = operator(deferrable=True).execute_complete(context, event_of("e2"))
    assert (manifest["rows"], portkey.polls) == (60, ["e0", "e1"])


@pytest.mark.usefixtures("without_reschedules")
def test_a_rescheduled_poll_requests_no_finished_part_again(portkey, context, operator):
    portkey.status = {"e0": "success", "e1": "in_progress", "e2": "in_progress"}
    first = datetime.now(tz=UTC)
    for polls in (["e0", "e1"], ["e1"]):
        portkey.polls.clear()
        with pytest.raises(AirflowRescheduleException):
            operator(mode="reschedule").execute(context)
        assert portkey.polls == polls
        context["ti"].get_first_reschedule_date = lambda context: first
    portkey.status = dict.fromkeys(("e1", "e2"), "success")
    assert operator(mode="reschedule").execute(context)["rows"] == 60


@pytest.mark.parametrize("file_format", ["json", "csv", "parquet"])
def test_rows_in_every_format(portkey, context, operator, tmp_path, file_format):
    path = tmp_path / "logs"
    manifest = operator(path=str(path), file_format=file_format, requested_data=["id", "cost"]).execute(context)
    assert (manifest["rows"], manifest["format"]) == (60, file_format)
    if file_format == "json":
        ids = [row["id"] for row in json.loads(path.read_bytes())]
    elif file_format == "csv":
        header, *rows = csv.reader(path.open(newline=""))
        assert header == ["id", "cost", "other_fields"]
        ids = [row[0] for row in rows]
    else:
        ids = pyarrow.parquet.read_table(path)["id"].to_pylist()
    assert ids == [f"2026-07-25 00:00:{second:02}+00:00" for second in range(60)]


@pytest.mark.parametrize("deferrable", [False, True])
def test_hundreds_of_parts_are_no_deeper_than_one(portkey, context, operator, monkeypatch, deferrable):
    monkeypatch.setitem(make_plan.__kwdefaults__, "limit", 2)
    manifest = operator(window_end="2026-07-25T00:08:20Z", deferrable=deferrable).execute(context)
    assert (manifest["rows"], len(manifest["parts"])) == (500, 500)


def event_of(export_id: str, reason: str = "succeeded", status: str = "success") -> dict[str, Any]:
    job = {"id": export_id, "status": status}
    return {"kind": "log export", "reason": reason, "message": "m", "status": status, "job": job, "error": None}


@pytest.mark.parametrize("event", [None, {}, {"kind": "run", "reason": "succeeded"}])
def test_an_event_that_is_none_is_refused(portkey, context, operator, event):
    portkey.status = dict.fromkeys(("e0", "e1", "e2"), "in_progress")
    with pytest.raises(TaskDeferred):
        operator(deferrable=True).execute(context)
    with pytest.raises(Exception, match="trigger"):
        operator(deferrable=True).execute_complete(context, event)


def test_a_plan_that_is_lost_while_the_task_was_deferred_starts_nothing(portkey, context, operator):
    portkey.status = dict.fromkeys(("e0", "e1", "e2"), "in_progress")
    with pytest.raises(TaskDeferred):
        operator(deferrable=True).execute(context)
    context["task_state_store"].clear()
    with pytest.raises(PortkeySubmissionUnknownError, match="list of exports"):
        operator(deferrable=True).execute_complete(context, event_of("e0"))
    assert len(portkey.started) == 3


def test_the_timeout_is_for_all_parts_together(portkey, context, operator, monkeypatch):
    clock = SimpleNamespace(now=1_800_000_000.0)

    def sleep(seconds: float) -> None:
        clock.now += seconds
        if clock.now >= 1_800_000_040:
            portkey.status["e0"] = "success"

    fake = SimpleNamespace(time=lambda: clock.now, monotonic=lambda: clock.now, sleep=sleep)
    base = next(cls for cls in PortkeyLogsToObjectStorageOperator.__mro__ if cls.__name__ == "BaseSensorOperator")
    for module in (
        base.__module__,
        "airflow_provider_portkey.tasks.wait",
        "airflow_provider_portkey.log_export.session",
    ):
        monkeypatch.setattr(f"{module}.time", fake)
    portkey.status = dict.fromkeys(("e0", "e1", "e2"), "in_progress")
    with pytest.raises(PortkeyWaitTimeoutError, match=r"'e1'.*timeout of 1 min") as raised:
        operator(poke_interval=10).execute(context)
    assert isinstance(raised.value, AirflowSensorTimeout)
    assert 60 <= clock.now - 1_800_000_000 <= 70
    assert portkey.cancelled == []


@pytest.mark.parametrize("choice", ["soft_fail", "never_fail"])
@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("what", ["failed", "counted wrong", "refused"])
def test_soft_fail_skips_whatever_went_wrong(portkey, context, operator, monkeypatch, choice, deferrable, what):
    if what == "failed":
        portkey.status = {"e1": "stopped"}
    elif what == "counted wrong":
        portkey.total = 3
    else:
        monkeypatch.setattr(PortkeyHook, "start_log_export", lambda *args: portkey.cancel(*args) or refuse())
    with pytest.raises(AirflowSkipException):
        operator(deferrable=deferrable, **{choice: True}).execute(context)


def refuse():
    raise PortkeyBadRequestError("no", status_code=400)


def test_a_failure_is_not_retried_and_a_wrong_count_is(portkey, context, operator):
    portkey.total = 3
    with pytest.raises(PortkeyRowsMismatchError) as raised:
        operator().execute(context)
    assert not isinstance(raised.value, AirflowFailException)
    portkey.total = None
    portkey.status = {f"e{n}": "failed" for n in range(9)}
    with pytest.raises(PortkeyRemoteJobFailedError, match=r"finished as failed after .* and gave no reason"):
        operator().execute(context)


def test_a_kill_cancels_every_export_that_still_runs(portkey, context, operator):
    portkey.status = {"e0": "success", "e1": "in_progress", "e2": "in_progress"}
    one = operator(deferrable=True)
    with pytest.raises(TaskDeferred):
        one.execute(context)
    one.on_kill()
    assert portkey.cancelled == ["e1", "e2"]


def test_an_export_that_cannot_be_cancelled_keeps_none_of_the_others(portkey, context, operator):
    portkey.status = dict.fromkeys(("e0", "e1", "e2"), "in_progress")
    one = operator(deferrable=True)
    with pytest.raises(TaskDeferred):
        one.execute(context)
    portkey.status["e1"] = "success"
    one.on_kill()
    assert portkey.cancelled == ["e0", "e2"]


def test_a_kill_cancels_nothing_where_it_was_not_requested_or_nothing_was_started(portkey, context, operator):
    operator().on_kill()
    portkey.status = dict.fromkeys(("e0", "e1", "e2"), "in_progress")
    one = operator(deferrable=True, cancel_on_kill=False)
    with pytest.raises(TaskDeferred):
        one.execute(context)
    one.on_kill()
    assert portkey.cancelled == []


@pytest.mark.parametrize("cancel_on_kill", [True, False])
def test_a_kill_on_the_triggerer_cancels_all_of_them(monkeypatch, cancel_on_kill):
    requested = []

    class Client:
        async def post(self, path, ids, body=None):
            requested.append(ids["export_id"])
            if ids["export_id"] == "e0":
                raise PortkeyBadRequestError("It has finished.", status_code=400)

    async def open_portkey(portkey_conn_id, trace_id, task_metadata):
        return nullcontext(Client())

    monkeypatch.setattr(trigger_module, "open_portkey", open_portkey)
    trigger = PortkeyRemoteJobsTrigger(
        job_spec=LOG_EXPORT.to_dict(),
        pending=[{"export_id": f"e{number}"} for number in range(3)],
        wait_state={"started_at": 0.0, "deadline": 1.0},
        cancel_on_kill=cancel_on_kill,
    )
    classpath, arguments = trigger.serialize()
    assert classpath == "airflow_provider_portkey.triggers.job.PortkeyRemoteJobsTrigger"
    again = PortkeyRemoteJobsTrigger(**json.loads(json.dumps(arguments)))
    if cancel_on_kill:
        with pytest.raises(PortkeyBadRequestError):
            asyncio.run(again.on_kill())
    else:
        asyncio.run(again.on_kill())
    assert sorted(requested) == (["e0", "e1", "e2"] if cancel_on_kill else [])
