"""A batch is uploaded once and created once, wherever an earlier try of its task broke off."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException, TaskDeferred
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_portkey.exceptions import (
    PortkeyBadRequestError,
    PortkeyBatchInputInvalidError,
    PortkeyError,
    PortkeyInvalidArgumentError,
    PortkeyNotFoundError,
    PortkeyPaginationError,
    PortkeyPathError,
    PortkeyRateLimitedError,
    PortkeyRemoteJobFailedError,
    PortkeyRemoteJobFailedTransientlyError,
    PortkeyRemoteJobNotFinishedError,
    PortkeyServerError,
    PortkeySubmissionUnknownError,
    PortkeyUnexpectedResponseError,
    PortkeyUnreachableError,
    PortkeyWaitTimeoutError,
)
from airflow_provider_portkey.hooks.portkey import PortkeyHook
from airflow_provider_portkey.jobs.batch import BATCH
from airflow_provider_portkey.operators.batch import PortkeyCreateBatchOperator
from airflow_provider_portkey.polling.events import make_event
from airflow_provider_portkey.tasks.idempotency import BEFORE_SUBMISSION
from airflow_provider_portkey.testing.context import Clock

try:
    from airflow.sdk.exceptions import AirflowRescheduleException
except ImportError:  # before Airflow 3.2
    from airflow.exceptions import AirflowRescheduleException

NOW = 1_800_000_000.0
ENDPOINT = "/v1/chat/completions"


class Killed(BaseException):
    """The worker is gone at once; no ``except Exception`` sees it."""


class Portkey:
    """Files and batches; a call raises the error that a test sets, before it takes effect or after."""

    def __init__(self) -> None:
        self.files: list[dict[str, Any]] = []
        self.contents: list[bytes] = []
        self.batches: list[dict[str, Any]] = []
        self.bodies: list[dict[str, Any]] = []
        self.status = "completed"
        self.before: dict[str, BaseException] = {}
        self.after: dict[str, BaseException] = {}
        self.listed = 0

    def do(self, name: str, work: Any) -> Any:
        if name in self.before:
            raise self.before.pop(name)
        done = work()
        if name in self.after:
            raise self.after.pop(name)
        return done

    def upload(self, file: Any, filename: str) -> dict[str, Any]:
        file.seek(0)
        content = file.read()
        number = len(self.files) + 1
        self.contents.append(content)
        self.files.append({"id": f"file_{number}", "filename": filename, "bytes": len(content)})
        return self.files[-1]

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        self.bodies.append(dict(body))
        batch = {"id": f"batch_{len(self.batches) + 1}", "status": "validating", "created_at": int(NOW), **body}
        self.batches.append(batch)
        return batch

    def list(self) -> Any:
        self.listed += 1
        if "list" in self.before:
            raise self.before.pop("list")
        yield from reversed(self.batches)

    def get(self, ids: dict[str, str]) -> dict[str, Any]:
        return {**next(batch for batch in self.batches if batch["id"] == ids["batch_id"]), "status": self.status}


@pytest.fixture
def portkey(monkeypatch: pytest.MonkeyPatch, portkey_connection: object) -> Portkey:
    fake = Portkey()

    def set_to(name: str, method: Any) -> None:
        monkeypatch.setattr(PortkeyHook, name, method)

    set_to("upload_batch_file", lambda self, file, filename: fake.do("upload", lambda: fake.upload(file, filename)))
    set_to("create_batch", lambda self, body: fake.do("create", lambda: fake.create(body)))
    client = SimpleNamespace(get=lambda path, ids, *_, **__: fake.do("get", lambda: fake.get(ids)))
    set_to("get_conn", lambda self: client)
    set_to("get_job", lambda self, job, ids: client.get(job.path, ids))
    set_to("iter_batches", lambda self: fake.list())
    set_to("iter_batch_files", lambda self, max_items: fake.do("files", lambda: iter(fake.files[::-1])))
    monkeypatch.setattr("airflow_provider_portkey.tasks.wait.time.sleep", lambda seconds: None)
    monkeypatch.setattr("airflow_provider_portkey.batch.staging.time", SimpleNamespace(time=lambda: NOW))
    return fake


class Store(dict):
    """Airflow's task state store, as far as it is used: what it holds has been JSON."""

    def set(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))


@pytest.fixture
def context() -> dict[str, Any]:
    return {"ti": SimpleNamespace(max_tries=2, try_number=1), "task_state_store": Store()}


def line(custom_id: str, **changes: Any) -> str:
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": ENDPOINT, "body": {}, **changes})


@pytest.fixture
def input_path(tmp_path: Path) -> Path:
    path = tmp_path / "my requests.jsonl"
    path.write_text(f"{line('a')}\n{line('b')}\n")
    return path


def operator(path: object, **changes: Any) -> PortkeyCreateBatchOperator:
    return PortkeyCreateBatchOperator(task_id="batch", **{"input_path": str(path), "deferrable": False} | changes)


def test_a_file_becomes_a_batch(portkey, context, input_path):
    extra = {"model": "m", "provider_options": {"job_name": "j"}}
    made = operator(input_path, metadata={"team": "data"}, extra_body=extra).execute(context)

    assert (made["id"], made["status"]) == ("batch_1", "completed")
    (body,) = portkey.bodies
    idempotency_key = body["metadata"].pop("airflow_idempotency_key")
    assert body == {
        "model": "m",
        "provider_options": {"job_name": "j"},
        "input_file_id": "file_1",
        "endpoint": ENDPOINT,
        "completion_window": "24h",
        "metadata": {"team": "data"},
    }
    assert portkey.contents == [input_path.read_bytes()]
    name = portkey.files[0]["filename"]
    assert name.startswith("my_requests-") and name.endswith(f"-{idempotency_key}.jsonl") and len(idempotency_key) == 32


def test_metadata_and_further_fields_may_be_json(portkey, context, input_path):
    task = operator(input_path, metadata="{{ params.metadata | tojson }}", extra_body="{{ params.extra | tojson }}")
    task.render_template_fields({"params": {"metadata": {"team": "data"}, "extra": {"model": "m"}}})
    task.execute(context)
    (body,) = portkey.bodies
    assert (body["metadata"]["team"], body["model"]) == ("data", "m")


def test_a_remote_file_is_fetched_once_and_that_very_file_is_sent(portkey, context, memory_store):
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    path = ObjectStoragePath(f"{memory_store}/day/in.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(line("a").encode())
    operator(path).execute(context)
    assert portkey.contents == [line("a").encode()]


def test_bad_lines_are_named_and_nothing_is_sent(portkey, context, tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join([line("a"), line("a"), line("b", url="/v1/embeddings"), line("c")]))
    with pytest.raises(PortkeyBatchInputInvalidError, match=r"2 of 4 lines.*Line 2 has the custom_id.*Line 3 has url="):
        operator(path).execute(context)
    assert portkey.files == portkey.batches == []


def test_the_limit_of_requests_is_kept(portkey, context, input_path):
    with pytest.raises(PortkeyBatchInputInvalidError, match="more than max_requests=1"):
        operator(input_path, max_requests=1).execute(context)
    operator(input_path, max_requests=2).execute(context)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"metadata": {"airflow_idempotency_key": "x"}}, "metadata"),
        ({"metadata": "team=data"}, "metadata"),
        ({"extra_body": ["model"]}, "extra_body"),
        ({"extra_body": {"endpoint": "/v1/x"}}, "extra_body"),
        ({"extra_body": {"input_file_id": "file_9"}}, "extra_body"),
    ],
)
def test_what_templates_made_wrong_is_named_before_anything_is_sent(portkey, context, input_path, wrong, field):
    with pytest.raises(PortkeyInvalidArgumentError, match=f"^{field}="):
        operator(input_path, **wrong).execute(context)
    assert portkey.files == portkey.batches == []


@pytest.mark.parametrize("wrong", [0, -1, True, "five", 1.5])
def test_a_limit_that_is_none_is_refused_when_the_dag_is_parsed(wrong):
    with pytest.raises(PortkeyInvalidArgumentError, match="max_requests"):
        operator("in.jsonl", max_requests=wrong)


def test_what_may_differ_between_runs_is_templated():
    own = {"input_path", "object_storage_conn_id", "endpoint", "metadata", "extra_body", "completion_window"}
    fields = PortkeyCreateBatchOperator.template_fields
    assert set(fields) >= own | {"max_requests", "portkey_conn_id"}
    assert len(fields) == len(set(fields))
    assert PortkeyCreateBatchOperator.template_fields_renderers == {"metadata": "json", "extra_body": "json"}


def test_a_rendered_limit_is_validated_before_anything_is_sent(portkey, context, input_path):
    task = operator(input_path, max_requests="{{ params.limit }}")
    task.render_template_fields({"params": {"limit": 1}})
    with pytest.raises(PortkeyBatchInputInvalidError, match="more than max_requests=1"):
        task.execute(context)
    task.max_requests = "many"
    with pytest.raises(PortkeyInvalidArgumentError, match=r"^max_requests='many'"):
        task.execute(context)
    task.max_requests = "None"
    assert task.execute(context)["id"] == "batch_1"


LOST = PortkeyUnreachableError("cut")
BREAKS = {
    "killed before the upload": ("before", "upload", Killed()),
    "killed after the upload": ("after", "upload", Killed()),
    "the response to the upload was lost": ("after", "upload", LOST),
    "the upload failed with a 500": ("before", "upload", PortkeyServerError("broken", status_code=500)),
    "the upload was refused for now": ("before", "upload", PortkeyRateLimitedError("slow down", status_code=429)),
    "killed before the submission": ("before", "create", Killed()),
    "killed after the submission": ("after", "create", Killed()),
    "the response to the submission was lost": ("after", "create", LOST),
    "the submission failed with a 500": ("before", "create", PortkeyServerError("broken", status_code=500)),
    "the submission was refused for now": ("before", "create", PortkeyRateLimitedError("slow down", status_code=429)),
    "killed during the wait": ("before", "get", Killed()),
    "killed at the end of the wait": ("after", "get", Killed()),
}


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("broken", BREAKS)
def test_the_next_try_continues_where_a_try_broke_off(portkey, context, input_path, broken, wait):
    when, call, error = BREAKS[broken]
    getattr(portkey, when)[call] = error
    if wait or call != "get":
        with pytest.raises(type(error)):
            operator(input_path, wait_for_completion=wait).execute(context)
    assert operator(input_path, wait_for_completion=wait).execute(context)["id"] == "batch_1"
    assert (len(portkey.files), len(portkey.batches)) == (1, 1)


@pytest.mark.parametrize(("requests", "files"), [(2, 1), (3, 2)])
def test_a_list_of_files_that_lags_is_requested_again(portkey, context, input_path, monkeypatch, requests, files):
    portkey.after["upload"] = Killed()
    with pytest.raises(Killed):
        operator(input_path).execute(context)
    empty = iter(range(requests))
    listed = lambda self, max_items: iter(() if next(empty, None) is not None else portkey.files)  # noqa: E731
    monkeypatch.setattr(PortkeyHook, "iter_batch_files", listed)
    operator(input_path).execute(context)
    assert (len(portkey.files), len(portkey.batches)) == (files, 1)


@pytest.mark.parametrize(("requests", "batches"), [(2, 1), (3, 2)])
def test_a_list_of_batches_that_lags_is_requested_again(portkey, context, input_path, requests, batches):
    break_off_at_the_submission(portkey, context, input_path, "after")
    empty = iter(range(requests))
    portkey.list = lambda: iter(() if next(empty, None) is not None else portkey.batches)
    operator(input_path).execute(context)
    assert len(portkey.batches) == batches


def test_a_kill_during_the_upload_prevents_the_batch(portkey, context, input_path, monkeypatch):
    one = operator(input_path)
    upload = portkey.upload

    def killed(*arguments):
        one.on_kill()
        return upload(*arguments)

    monkeypatch.setattr(portkey, "upload", killed)
    with pytest.raises(PortkeyError, match="killed before it submitted its batch"):
        one.execute(context)
    assert portkey.batches == []
    monkeypatch.setattr(portkey, "upload", upload)
    assert operator(input_path).execute(context)["id"] == "batch_1"
    assert len(portkey.files) == 1


def test_each_try_may_break_off_at_the_next_stage(portkey, context, input_path):
    for when, call, error in [BREAKS[name] for name in BREAKS if name.startswith("killed")]:
        getattr(portkey, when)[call] = error
        with pytest.raises(Killed):
            operator(input_path).execute(context)
    operator(input_path).execute(context)
    assert (len(portkey.files), len(portkey.batches)) == (1, 1)


def test_a_batch_is_found_by_its_file_where_its_metadata_is_dropped(portkey, context, input_path):
    portkey.after["create"] = Killed()
    with pytest.raises(Killed):
        operator(input_path).execute(context)
    portkey.batches[0]["metadata"] = None
    assert operator(input_path).execute(context)["id"] == "batch_1"
    assert len(portkey.batches) == 1


def others(count: int, *, age: float) -> list[dict[str, Any]]:
    return [{"id": f"other_{number}", "created_at": int(NOW - age), "metadata": {}} for number in range(count)]


def break_off_at_the_submission(portkey, context, input_path, when):
    getattr(portkey, when)["create"] = Killed()
    with pytest.raises(Killed):
        operator(input_path).execute(context)


def test_the_list_is_read_only_as_far_back_as_the_batch_can_be(portkey, context, input_path):
    break_off_at_the_submission(portkey, context, input_path, "before")
    lists = []

    def newest_first():
        lists.append(read := [])
        for batch in [*others(300, age=60), *others(500, age=7200)]:
            read.append(batch)
            yield batch

    portkey.list = newest_first
    operator(input_path).execute(context)
    assert len(portkey.batches) == 1
    assert [300 < len(read) <= 400 for read in lists] == [True] * 3


def test_a_list_with_the_oldest_first_is_read_to_its_end(portkey, context, input_path):
    break_off_at_the_submission(portkey, context, input_path, "after")
    (mine,) = portkey.batches
    ages = [{**other, "created_at": int(NOW - 90_000 + n)} for n, other in enumerate(others(500, age=0))]
    portkey.list = lambda: iter([*ages, mine])
    operator(input_path).execute(context)
    assert len(portkey.batches) == 1


@pytest.mark.parametrize("error", [PortkeyNotFoundError("no list", status_code=404), PortkeyPaginationError("round")])
def test_where_batches_cannot_be_listed_nobody_guesses(portkey, context, input_path, error):
    break_off_at_the_submission(portkey, context, input_path, "after")
    portkey.before["list"] = error
    with pytest.raises(PortkeySubmissionUnknownError, match="resubmit_unknown=True"):
        operator(input_path).execute(context)
    assert len(portkey.batches) == 1
    portkey.before["list"] = error
    assert operator(input_path, resubmit_unknown=True).execute(context)["id"] == "batch_2"
    assert len(portkey.files) == 1


def test_a_list_that_fails_for_a_transient_reason_is_left_to_the_next_try(portkey, context, input_path):
    break_off_at_the_submission(portkey, context, input_path, "after")
    portkey.before["list"] = PortkeyServerError("broken", status_code=503)
    with pytest.raises(PortkeyServerError):
        operator(input_path, resubmit_unknown=True).execute(context)
    assert operator(input_path).execute(context)["id"] == "batch_1"


def test_nothing_is_listed_where_nothing_can_have_been_submitted(portkey, context, input_path):
    portkey.before["create"] = PortkeyRateLimitedError("slow down", status_code=429)
    with pytest.raises(PortkeyRateLimitedError):
        operator(input_path).execute(context)
    operator(input_path).execute(context)
    assert portkey.listed == 0


def test_an_upload_outlives_a_try_that_came_to_nothing(portkey, context, input_path):
    portkey.before["create"] = PortkeyRateLimitedError("slow down", status_code=429)
    with pytest.raises(PortkeyRateLimitedError):
        operator(input_path).execute(context)
    content = input_path.read_bytes()
    input_path.unlink()
    with pytest.raises(PortkeyPathError, match="cannot be read: No such file"):
        operator(input_path).execute(context)
    input_path.write_bytes(content)
    operator(input_path).execute(context)
    assert (len(portkey.files), len(portkey.batches)) == (1, 1)


def test_the_search_for_a_batch_goes_back_to_the_try_that_sent_it_and_no_further(
    portkey, context, input_path, monkeypatch
):
    portkey.before["create"] = PortkeyRateLimitedError("slow down", status_code=429)
    with pytest.raises(PortkeyRateLimitedError):
        operator(input_path).execute(context)
    two_days_later = SimpleNamespace(time=lambda: NOW + 2 * 86_400)
    monkeypatch.setattr("airflow_provider_portkey.batch.staging.time", two_days_later)
    break_off_at_the_submission(portkey, context, input_path, "before")
    listed = iter(others(500, age=-3600))
    portkey.list = lambda: listed
    operator(input_path).execute(context)
    assert len(list(listed)) >= 400


def test_an_upload_that_cannot_be_searched_for_is_repeated(portkey, context, input_path):
    portkey.after["upload"] = Killed()
    with pytest.raises(Killed):
        operator(input_path).execute(context)
    portkey.before["files"] = PortkeyNotFoundError("no list", status_code=404)
    operator(input_path).execute(context)
    assert (len(portkey.files), len(portkey.batches)) == (2, 1)


@pytest.mark.parametrize("stage", [("before", "create"), ("after", "upload")])
def test_a_file_that_has_changed_meanwhile_is_uploaded_again(portkey, context, input_path, stage):
    when, call = stage
    getattr(portkey, when)[call] = Killed()
    with pytest.raises(Killed):
        operator(input_path).execute(context)
    changed = input_path.read_text().replace('"b"', '"c"')
    input_path.write_text(changed)
    operator(input_path).execute(context)
    assert len(portkey.files) == 2
    assert portkey.bodies[-1]["input_file_id"] == "file_2"
    assert portkey.contents[1] == changed.encode()


def test_an_upload_of_another_length_under_the_same_name_is_not_taken(portkey, context, input_path):
    portkey.after["upload"] = Killed()
    with pytest.raises(Killed):
        operator(input_path).execute(context)
    portkey.files[0]["bytes"] -= 1
    operator(input_path).execute(context)
    assert portkey.bodies[-1]["input_file_id"] == "file_2"


@pytest.mark.parametrize(
    "refusal", [PortkeyNotFoundError("gone", status_code=404), PortkeyBadRequestError("gone", status_code=400)]
)
def test_an_earlier_upload_that_is_gone_is_repeated(portkey, context, input_path, refusal):
    portkey.before["create"] = PortkeyRateLimitedError("slow down", status_code=429)
    with pytest.raises(PortkeyRateLimitedError):
        operator(input_path).execute(context)
    portkey.before["create"] = refusal
    operator(input_path).execute(context)
    assert [body["input_file_id"] for body in portkey.bodies] == ["file_2"]


def test_a_refused_batch_is_not_uploaded_twice_within_a_try(portkey, context, input_path):
    portkey.before["create"] = PortkeyBadRequestError("no such model", status_code=400)
    with pytest.raises(PortkeyBadRequestError):
        operator(input_path).execute(context)
    assert len(portkey.files) == 1


def test_a_batch_that_failed_fails_the_task_and_is_created_again_by_the_next_try(portkey, context, input_path):
    portkey.status = "failed"
    with pytest.raises(PortkeyRemoteJobFailedError, match="finished as failed"):
        operator(input_path).execute(context)
    portkey.batches[0]["status"] = "failed"
    context["ti"].try_number += 1
    with pytest.raises(PortkeyRemoteJobFailedError):
        operator(input_path).execute(context)
    assert (len(portkey.files), len(portkey.batches)) == (2, 2)
    first, second = (body["metadata"]["airflow_idempotency_key"] for body in portkey.bodies)
    assert first != second


def test_a_cleared_task_creates_another_batch(portkey, context, input_path):
    operator(input_path).execute(context)
    context["ti"].max_tries = 3
    operator(input_path).execute(context)
    assert (len(portkey.files), len(portkey.batches)) == (2, 2)


def test_a_response_without_an_id_is_no_upload(portkey, context, input_path, monkeypatch):
    monkeypatch.setattr(PortkeyHook, "upload_batch_file", lambda self, file, filename: {"object": "file"})
    with pytest.raises(PortkeyUnexpectedResponseError, match=r"upload has no id, only \['object'\]"):
        operator(input_path).execute(context)
    assert portkey.batches == []


def inline(custom_id: str, **changes: Any) -> str:
    return json.dumps({"custom_id": custom_id, "params": {"model": "claude", "max_tokens": 5}, **changes})


@pytest.fixture
def inline_path(tmp_path: Path) -> Path:
    path = tmp_path / "inline.jsonl"
    path.write_text(f"{inline('a')}\n{inline('b')}\n")
    return path


@pytest.mark.parametrize("mode", ["auto", "inline"])
def test_inline_requests_are_sent_in_the_body_and_without_an_upload(portkey, context, inline_path, mode):
    assert operator(inline_path, input_mode=mode).execute(context)["id"] == "batch_1"
    assert portkey.bodies == [{"requests": [json.loads(inline("a")), json.loads(inline("b"))]}]
    assert portkey.files == []


def test_metadata_and_further_fields_of_inline_requests_are_sent_where_they_are_given(portkey, context, inline_path):
    operator(inline_path, metadata={"team": "data"}, extra_body={"provider_options": {}}).execute(context)
    (body,) = portkey.bodies
    assert body.keys() == {"requests", "metadata", "provider_options"}
    assert body["metadata"].keys() == {"team", "airflow_idempotency_key"}


def test_bad_inline_lines_are_named_and_nothing_is_sent(portkey, context, tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join([inline("a"), line("b"), inline("a")]))
    with pytest.raises(
        PortkeyBatchInputInvalidError, match=r"2 of 3 lines are no inline request.*Line 2 has no params"
    ):
        operator(path).execute(context)
    assert portkey.bodies == []


def test_more_inline_requests_than_a_body_holds_are_refused(portkey, context, inline_path, monkeypatch):
    monkeypatch.setattr("airflow_provider_portkey.batch.staging._MAX_INLINE_BYTES", 20)
    with pytest.raises(PortkeyBatchInputInvalidError, match="more than the 20 bytes of inline requests"):
        operator(inline_path).execute(context)


@pytest.mark.parametrize("metadata", [None, {"team": "data"}])
def test_inline_requests_whose_outcome_is_unknown_are_searched_and_never_guessed(
    portkey, context, inline_path, metadata
):
    portkey.after["create"] = Killed()
    with pytest.raises(Killed):
        operator(inline_path, metadata=metadata).execute(context)
    if metadata:
        assert operator(inline_path, metadata=metadata).execute(context)["id"] == "batch_1"
        return
    with pytest.raises(PortkeySubmissionUnknownError, match="resubmit_unknown=True"):
        operator(inline_path).execute(context)
    assert len(portkey.batches) == 1
    assert operator(inline_path, resubmit_unknown=True).execute(context)["id"] == "batch_2"


def test_the_lines_may_be_for_another_spelling_of_the_endpoint(portkey, context, tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text(line("a", url="/chat/completions"))
    with pytest.raises(PortkeyBatchInputInvalidError, match="url='/chat/completions'"):
        operator(path).execute(context)
    operator(path, line_endpoint="/chat/completions").execute(context)
    assert portkey.bodies[0]["endpoint"] == ENDPOINT


def test_the_check_may_be_turned_off_for_lines_in_a_providers_own_format(portkey, context, tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text('{"recordId": "1", "modelInput": {}}\n{"recordId": "2", "modelInput": {}}')
    task = operator(path, check_input="{{ params.check }}", max_requests=1)
    task.render_template_fields({"params": {"check": False}})
    with pytest.raises(PortkeyBatchInputInvalidError, match="more than max_requests=1"):
        task.execute(context)
    operator(path, check_input=False).execute(context)
    assert portkey.contents == [path.read_bytes()]


def pending(portkey: Portkey, *polls: dict[str, Any]) -> None:
    """Have the provider process uploads: pending at first, then as the polls say."""
    upload, statuses, get = portkey.upload, list(polls), portkey.get

    def uploaded(file: Any, filename: str) -> dict[str, Any]:
        return {**upload(file, filename), "status": "pending"}

    def polled(ids: dict[str, str]) -> dict[str, Any]:
        if "file_id" not in ids:
            return get(ids)
        return {"id": ids["file_id"], **(statuses.pop(0) if statuses else {"status": "pending"})}

    portkey.upload, portkey.get = uploaded, polled


@pytest.fixture
def file_clock(monkeypatch):
    clock = SimpleNamespace(now=NOW)
    fake = SimpleNamespace(time=lambda: clock.now, sleep=lambda seconds: setattr(clock, "now", clock.now + seconds))
    monkeypatch.setattr("airflow_provider_portkey.batch.processing.time", fake)
    return clock


def test_a_pending_file_is_waited_for_before_the_batch_is_created(portkey, context, input_path, file_clock):
    pending(portkey, {"status": "pending"}, {"status": "running"}, {"status": "processed"})
    assert operator(input_path).execute(context)["id"] == "batch_1"
    assert file_clock.now == NOW + 15


def test_a_file_that_is_pending_for_too_long_is_waited_for_again_by_the_next_try(
    portkey, context, input_path, file_clock
):
    pending(portkey)
    with pytest.raises(PortkeyRemoteJobNotFinishedError, match="File 'file_1' had not finished within"):
        operator(input_path).execute(context)
    assert portkey.batches == []
    pending(portkey, {"status": "processed"})
    assert operator(input_path).execute(context)["input_file_id"] == "file_1"
    assert len(portkey.files) == 1


def test_a_file_that_could_not_be_processed_says_why_and_is_uploaded_again(portkey, context, input_path, file_clock):
    pending(portkey, {"status": "error", "status_details": "Line 2: no such deployment."}, {"status": "processed"})
    with pytest.raises(PortkeyRemoteJobFailedError, match=r"finished as error.*no such deployment"):
        operator(input_path).execute(context)
    assert operator(input_path).execute(context)["input_file_id"] == "file_2"
    assert len(portkey.batches) == 1


def test_a_batch_is_found_by_its_encoded_file_and_by_times_in_milliseconds(portkey, context, input_path):
    file_id = "s3%3A%2F%2Fbucket%2Fin.jsonl"
    upload = portkey.upload
    portkey.upload = lambda file, filename: {**upload(file, filename), "id": file_id}
    break_off_at_the_submission(portkey, context, input_path, "after")
    (mine,) = portkey.batches
    mine |= {"input_file_id": "s3://bucket/in.jsonl", "metadata": None, "status": "PartiallyCompleted"}
    newer = [{**other, "created_at": int((NOW + 60) * 1000)} for other in others(30, age=0)]
    portkey.list = lambda: iter([*newer, {**mine, "created_at": int(NOW * 1000)}, *others(5, age=9000)])
    assert operator(input_path).execute(context)["id"] == "batch_1"
    assert len(portkey.batches) == 1


def test_old_batches_with_times_in_milliseconds_end_the_search(portkey, context, input_path):
    break_off_at_the_submission(portkey, context, input_path, "before")
    read = []

    def newest_first():
        for batch in others(500, age=7200):
            read.append(batch)
            yield {**batch, "created_at": batch["created_at"] * 1000}

    portkey.list = newest_first
    operator(input_path).execute(context)
    assert len(read) == 20 * BEFORE_SUBMISSION.attempts


def test_a_failure_that_passes_is_retried_and_the_next_try_submits_anew(portkey, context, input_path):
    errors = {"object": "list", "data": [{"code": "token_limit_exceeded", "message": "The queue is full."}]}
    get = portkey.get
    portkey.get = lambda ids: {**get(ids), "errors": errors}
    portkey.status = "failed"
    with pytest.raises(PortkeyRemoteJobFailedTransientlyError, match="The queue is full") as raised:
        operator(input_path).execute(context)
    assert not isinstance(raised.value, AirflowFailException)
    portkey.status = "completed"
    context["ti"].try_number = 2
    portkey.get = lambda ids: {**get(ids), "status": "failed" if ids["batch_id"] == "batch_1" else "completed"}
    assert operator(input_path).execute(context)["id"] == "batch_2"


@pytest.mark.parametrize("codes", [[], "['other']", ["other"]])
def test_the_codes_of_failures_that_pass_can_be_replaced(portkey, context, input_path, codes):
    get = portkey.get
    portkey.get = lambda ids: {**get(ids), "errors": {"data": [{"code": "token_limit_exceeded"}]}}
    portkey.status = "failed"
    with pytest.raises(PortkeyRemoteJobFailedError):
        operator(input_path, retryable_error_codes=codes).execute(context)


FULL = {"object": "list", "data": [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached."}]}


@pytest.fixture
def full_queue(portkey, monkeypatch):
    """The queue is full for the first two batches; the time that passes meanwhile."""
    get, clock = portkey.get, Clock(NOW)

    def get_batch(ids):
        is_full = ids["batch_id"] in portkey.refused
        return {**get(ids), **({"status": "failed", "errors": FULL} if is_full else {})}

    create = portkey.create

    def create_batch(body):
        batch = create(body)
        batch["status"] = portkey.status
        return get_batch({"batch_id": batch["id"]})

    portkey.get, portkey.create, portkey.refused = get_batch, create_batch, ["batch_1", "batch_2"]
    for module in ("operators.batch", "batch.capacity", "tasks.wait"):
        monkeypatch.setattr(f"airflow_provider_portkey.{module}.time", clock)
    return clock


def test_a_full_queue_is_waited_for_and_the_file_is_uploaded_once(portkey, context, input_path, full_queue):
    made = operator(input_path, wait_for_capacity=True, capacity_interval=60).execute(context)

    assert (made["id"], made["status"]) == ("batch_3", "completed")
    assert [seconds for seconds in full_queue.sleeps if seconds == 60] == [60, 60]
    assert len(portkey.files) == 1
    keys = [body["metadata"]["airflow_idempotency_key"] for body in portkey.bodies]
    assert len(set(keys)) == 3


def test_the_wait_for_a_full_queue_ends(portkey, context, input_path, full_queue):
    portkey.refused = [f"batch_{number}" for number in range(1, 100)]
    task = operator(input_path, wait_for_capacity=True, capacity_interval=60, timeout=600)
    with pytest.raises(PortkeyWaitTimeoutError, match=r"no room within the timeout of 10 min 0 s.*token limit"):
        task.execute(context)
    assert full_queue.now < NOW + 600
    assert len(portkey.batches) == 10


def test_a_refused_batch_is_not_taken_for_the_one_whose_submission_broke_off(portkey, context, input_path, full_queue):
    portkey.refused, create = ["batch_1"], portkey.create

    def killed_after_the_second(body):
        made = create(body)
        if len(portkey.batches) == 2:
            raise Killed
        return made

    portkey.create = killed_after_the_second
    with pytest.raises(Killed):
        operator(input_path, wait_for_capacity=True).execute(context)
    lagging = iter(range(2))
    portkey.list = lambda: reversed(portkey.batches[: 1 if next(lagging, None) is not None else 2])
    assert operator(input_path, wait_for_capacity=True).execute(context)["id"] == "batch_2"
    assert (len(portkey.files), len(portkey.batches)) == (1, 2)


@pytest.mark.parametrize("policy", ["soft_fail", "never_fail"])
def test_a_queue_that_stays_full_skips_where_that_was_requested(portkey, context, input_path, full_queue, policy):
    portkey.refused = [f"batch_{number}" for number in range(1, 100)]
    task = operator(input_path, wait_for_capacity=True, capacity_interval=60, timeout=600, **{policy: True})
    with pytest.raises(AirflowSkipException, match="no room within"):
        task.execute(context)


def test_a_deferred_task_waits_for_the_queue_without_a_worker(portkey, context, input_path, full_queue):
    def new() -> PortkeyCreateBatchOperator:
        return operator(input_path, wait_for_capacity=True, capacity_interval=60, deferrable=True)

    step, deferrals = new().execute, []
    while True:
        try:
            found = step(context)
            break
        except TaskDeferred as deferral:
            deferrals.append((deferral.method_name, type(deferral.trigger).__name__))
            assert deferral.timeout.total_seconds() > 60
            full_queue.now += 60
            step = getattr(new(), deferral.method_name)
    assert deferrals == [("submit_again", "TimeDeltaTrigger")] * 2
    assert found["id"] == "batch_3"
    assert len(portkey.files) == 1


def test_a_queue_that_is_full_while_the_task_is_deferred_is_waited_for(portkey, context, input_path, full_queue):
    portkey.refused, portkey.status = [], "in_progress"
    task = operator(input_path, wait_for_capacity=True, deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context)
    failed = {"id": "batch_1", "status": "failed", "errors": FULL}
    event = make_event(BATCH, "failed", "The queue is full.", "failed", failed, None)
    with pytest.raises(TaskDeferred) as again:
        getattr(operator(input_path, wait_for_capacity=True, deferrable=True), deferred.value.method_name)(
            context, event
        )
    assert again.value.method_name == "submit_again"
    portkey.status = "completed"
    assert operator(input_path, wait_for_capacity=True, deferrable=True).submit_again(context)["id"] == "batch_2"
    assert len(portkey.files) == 1


@pytest.mark.skipif(not AIRFLOW_V_3_0_PLUS, reason="Airflow 2 reads reschedules from its database")
def test_a_rescheduled_task_waits_for_the_queue_without_a_process(portkey, context, input_path, full_queue):
    context["ti"].get_first_reschedule_date = lambda _: None
    context["task_reschedule_count"] = 0
    task = {"wait_for_capacity": True, "capacity_interval": 60, "mode": "reschedule"}
    for _ in range(2):
        with pytest.raises(AirflowRescheduleException):
            operator(input_path, **task).execute(context)
        full_queue.now += 60
    found = operator(input_path, **task).execute(context)
    assert getattr(found, "xcom_value", found)["id"] == "batch_3"
    assert len(portkey.files) == 1


def test_another_failure_is_not_waited_out(portkey, context, input_path, full_queue):
    portkey.refused, portkey.status = [], "failed"
    with pytest.raises(PortkeyRemoteJobFailedError):
        operator(input_path, wait_for_capacity=True).execute(context)
    assert len(portkey.batches) == 1


@pytest.mark.parametrize("metadata", [{"team": {"name": "data"}}, {"team": ["data"]}])
def test_metadata_that_is_no_string_is_refused(input_path, metadata):
    with pytest.raises(PortkeyInvalidArgumentError, match=r"^metadata=.*unlike 'team'"):
        operator(input_path, metadata=metadata)


def test_more_metadata_than_a_batch_has_is_refused_before_the_upload(portkey, context, input_path):
    with pytest.raises(PortkeyInvalidArgumentError, match=r"^metadata=.*at most 15 pairs"):
        operator(input_path, metadata={str(number): "x" for number in range(16)}).execute(context)
    assert portkey.files == portkey.batches == []


def test_a_task_that_does_not_wait_cannot_wait_for_capacity(input_path):
    with pytest.raises(PortkeyInvalidArgumentError, match=r"^wait_for_capacity=True.*wait_for_completion is False"):
        operator(input_path, wait_for_capacity=True, wait_for_completion=False)
