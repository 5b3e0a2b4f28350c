"""The outcomes of a batch: landed, and held against the requests."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_portkey import exceptions
from airflow_provider_portkey.batch.reconcile import BatchReconciler, is_failure
from airflow_provider_portkey.transfers.batch_output_to_object_storage import PortkeyBatchOutputToObjectStorageOperator

BASE = "https://portkey.test/v1"
MANIFEST_KEYS = [
    "uri", "format", "compression", "rows", "bytes", "sha256", "error_uri", "error_rows", "error_bytes", "error_sha256",
    "batch_id", "batch_status", "requests", "succeeded", "failed", "missing", "duplicate", "unexpected", "usage",
    "started_at", "finished_at", "schema_version",
]  # fmt: skip
USAGE = {"prompt_tokens": 10, "total_tokens": 15, "prompt_tokens_details": {"cached_tokens": 2}}


def asked(*custom_ids: str) -> str:
    return "".join(json.dumps({"custom_id": custom_id, "method": "POST"}) + "\n" for custom_id in custom_ids)


def outcome(custom_id: str, status: int = 200, **changes: Any) -> dict[str, Any]:
    response = {"status_code": status, "request_id": "r", "body": {"usage": USAGE, "text": "ü\n"}}
    return {"id": f"id_{custom_id}", "custom_id": custom_id, "response": response, "error": None, **changes}


def text(*outcomes: dict[str, Any]) -> str:
    return "".join(json.dumps(one) + "\n" for one in outcomes)


def operator(path: object, **arguments: Any) -> PortkeyBatchOutputToObjectStorageOperator:
    given = {"task_id": "output", "batch_id": "batch_1", "path": str(path), **arguments}
    return PortkeyBatchOutputToObjectStorageOperator(**given)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def ids(path: Path) -> list[str]:
    return [line["custom_id"] for line in lines(path)]


@pytest.fixture
def serve(portkey_connection: object, requests_mock: Any) -> Any:
    """Serve ``batch_1`` and its files; a file is left out where its text is ``None``."""

    def set_to(*, input: str | None, output: str | None = None, error: str | None = None, **batch: Any) -> Any:
        served: dict[str, Any] = {"id": "batch_1", "status": "completed", "input_file_id": "file_in"}
        for name, file_id, content in (("output", "file_out", output), ("error", "file_err", error)):
            served[f"{name}_file_id"] = file_id if content is not None else None
            if content is not None:
                requests_mock.get(f"{BASE}/files/{file_id}/content", content=content.encode())
        if input is not None:
            requests_mock.get(f"{BASE}/files/file_in/content", content=input.encode())
        requests_mock.get(f"{BASE}/batches/batch_1", json={**served, **batch})
        return requests_mock

    return set_to


def test_the_manifest_has_exactly_the_documented_keys_and_says_what_is_there(serve: Any, tmp_path: Path) -> None:
    a, b, again, other = outcome("a"), outcome("b"), outcome("a", 500), outcome("nobody", 429)
    c = {"id": "x", "custom_id": "c", "response": None, "error": {"code": "batch_expired", "message": "late"}}
    serve(input=asked("a", "b", "c", "d"), output=text(b, a, again, other), error=text(c))
    path, error_path = tmp_path / "new" / "out.jsonl", tmp_path / "err.jsonl"

    manifest = operator(path, error_path=str(error_path)).execute({})

    assert list(manifest) == MANIFEST_KEYS
    assert manifest.pop("started_at") <= manifest.pop("finished_at")
    assert manifest == {
        "uri": f"file://{path}",
        "format": "jsonl",
        "compression": None,
        "rows": 3,
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "error_uri": f"file://{error_path}",
        "error_rows": 1,
        "error_bytes": error_path.stat().st_size,
        "error_sha256": hashlib.sha256(error_path.read_bytes()).hexdigest(),
        "batch_id": "batch_1",
        "batch_status": "completed",
        "requests": 4,
        "succeeded": 2,
        "failed": 1,
        "missing": 1,
        "duplicate": 1,
        "unexpected": 1,
        "usage": {"prompt_tokens": 30, "total_tokens": 45, "prompt_tokens_details": {"cached_tokens": 6}},
        "schema_version": 1,
    }
    assert lines(path) == [b, a, other]
    assert lines(error_path) == [c]
    json.dumps(manifest)


def test_without_a_place_of_their_own_errors_follow_the_output(serve: Any, tmp_path: Path) -> None:
    serve(input=asked("a", "b"), output=text(outcome("b")), error=text(outcome("a", 400)))
    manifest = operator(tmp_path / "out.jsonl").execute({})
    assert ids(tmp_path / "out.jsonl") == ["b", "a"]
    assert [manifest[name] for name in ("rows", "error_uri", "error_rows", "failed")] == [2, None, None, 1]


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({}, False),
        ({"error": {}}, False),
        ({"error": {"code": "x"}}, True),
        ({"response": None}, True),
        ({"response": "text"}, True),
        ({"response": {"status_code": 399, "body": {}}}, False),
        ({"response": {"status_code": 400, "body": {}}}, True),
        ({"response": {"status_code": 503, "body": "<html>"}}, True),
        ({"response": {"body": {}}}, False),
    ],
)
def test_what_a_failure_is(changes: dict[str, Any], failed: bool) -> None:
    line = outcome("a", **changes)
    outcomes = BatchReconciler([{"custom_id": "a"}])
    assert outcomes.take(line)
    assert (is_failure(line), outcomes.failed, outcomes.succeeded) == (failed, int(failed), int(not failed))


def test_a_line_of_the_error_file_is_a_failure_whatever_it_says() -> None:
    outcomes = BatchReconciler([{"custom_id": "a"}])
    outcomes.take(outcome("a", 200), error_file=True)
    assert outcomes.failed == 1


def test_of_a_request_in_both_files_the_output_counts(serve: Any, tmp_path: Path) -> None:
    serve(input=asked("a"), output=text(outcome("a")), error=text(outcome("a", 500)))
    manifest = operator(tmp_path / "out.jsonl", error_path=str(tmp_path / "err.jsonl")).execute({})
    assert [manifest[name] for name in ("succeeded", "failed", "duplicate", "rows", "error_rows")] == [1, 0, 1, 1, 0]


def test_odd_usage_breaks_nothing() -> None:
    outcomes = BatchReconciler(None)
    for usage in ({"n": 1, "d": {"m": 1}}, {"n": None, "d": 5}, {"n": {"x": 1}, "d": {"m": 2}}, {"n": True}, [], "x"):
        outcomes.take({"response": {"body": {"usage": usage}}})
    assert outcomes.counts()["usage"] == {"n": 1, "d": {"m": 3}}


def test_a_line_without_an_id_is_kept_and_counted_as_unexpected(serve: Any, tmp_path: Path) -> None:
    serve(input=asked("a"), output='{"recordId": "1"}\n{"recordId": "1"}\n' + text(outcome("a")))
    manifest = operator(tmp_path / "out.jsonl").execute({})
    assert [manifest[name] for name in ("rows", "unexpected", "succeeded", "missing")] == [3, 2, 1, 0]


def test_the_input_may_come_from_storage(serve: Any, tmp_path: Path) -> None:
    served = serve(input=None, output=text(outcome("a")))
    (tmp_path / "in.jsonl").write_text(asked("a", "b"))
    manifest = operator(tmp_path / "out.jsonl", input_path=str(tmp_path / "in.jsonl")).execute({})
    assert [manifest[name] for name in ("requests", "missing")] == [2, 1]
    assert len(served.request_history) == 2


def test_without_reconciling_no_input_is_asked_for(serve: Any, tmp_path: Path) -> None:
    served = serve(input=None, output=text(outcome("a"), outcome("a"), outcome("b", 500)))
    manifest = operator(tmp_path / "out.jsonl", reconcile=False).execute({})
    counts = ("requests", "succeeded", "failed", "missing", "duplicate", "unexpected")
    assert [manifest[name] for name in counts] == [2, 1, 1, None, 1, None]
    assert len(served.request_history) == 2


def test_an_input_that_is_gone_says_what_to_do(serve: Any, tmp_path: Path) -> None:
    served = serve(input=None, output=text(outcome("a")))
    served.get(f"{BASE}/files/file_in/content", status_code=404, json={"error": {"message": "No such file."}})
    with pytest.raises(exceptions.PortkeyNotFoundError, match=r"No such file.*set input_path, or reconcile=False"):
        operator(tmp_path / "out.jsonl").execute({})


@pytest.mark.parametrize("status", ["expired", "cancelled", "failed"])
def test_a_batch_that_ended_badly_gives_what_it_has(serve: Any, tmp_path: Path, status: str) -> None:
    errors = {"data": [{"code": "some_code", "message": "Some words.", "line": 3}]}
    serve(
        input=asked("a", "b", "c"),
        output=text(outcome("a")),
        error=text(outcome("b", 500)),
        status=status,
        errors=errors,
    )
    manifest = operator(tmp_path / "out.jsonl").execute({})
    counts = ("batch_status", "requests", "succeeded", "failed", "missing")
    assert [manifest[name] for name in counts] == [status, 3, 1, 1, 1]


@pytest.mark.parametrize("source", ["file", "portkey"])
def test_a_batch_without_any_output_gives_empty_files(serve: Any, tmp_path: Path, source: str) -> None:
    served = serve(input=asked("a"), status="expired")
    served.get(f"{BASE}/batches/batch_1/output", status_code=404, json={"error": {"message": "no output"}})
    error_path = tmp_path / "err.jsonl"
    error_path.write_text("of an earlier run")
    manifest = operator(tmp_path / "out.jsonl", error_path=str(error_path), source=source).execute({})
    assert [manifest[name] for name in ("rows", "error_rows", "missing", "usage")] == [0, 0, 1, None]
    assert error_path.read_bytes() == b""


def test_a_batch_that_goes_on_has_no_output_yet(serve: Any, tmp_path: Path) -> None:
    serve(input=asked("a"), output=text(outcome("a")), status="finalizing")
    with pytest.raises(
        exceptions.PortkeyRemoteJobNotFinishedError, match=r"'batch_1' is still finalizing.*PortkeyBatchSensor"
    ) as raised:
        operator(tmp_path / "out.jsonl").execute({})
    assert not isinstance(raised.value, AirflowFailException)
    assert list(tmp_path.iterdir()) == []


def test_portkeys_own_output_is_read_where_that_is_asked_for(serve: Any, tmp_path: Path) -> None:
    served = serve(input=asked("a", "b"), error=text(outcome("b", 500)))
    served.get(f"{BASE}/batches/batch_1/output", text=text(outcome("a")))
    manifest = operator(tmp_path / "out.jsonl", source="portkey").execute({})
    assert [manifest[name] for name in ("rows", "succeeded", "failed", "missing")] == [2, 1, 1, 0]


def test_the_errors_that_portkey_answers_for_a_failed_batch_are_no_output(serve: Any, tmp_path: Path) -> None:
    errors = {"object": "list", "data": [{"code": "invalid_json_line", "line": 1}]}
    served = serve(input=asked("a"), status="failed", errors=errors)
    served.get(f"{BASE}/batches/batch_1/output", json=errors)
    manifest = operator(tmp_path / "out.jsonl", source="portkey").execute({})
    assert [manifest[name] for name in ("rows", "missing", "unexpected")] == [0, 1, 0]


def test_portkeys_output_of_a_completed_batch_must_be_there(serve: Any, tmp_path: Path) -> None:
    served = serve(input=asked("a"))
    served.get(f"{BASE}/batches/batch_1/output", status_code=404, json={"error": {"message": "no route"}})
    with pytest.raises(exceptions.PortkeyNotFoundError, match="no route"):
        operator(tmp_path / "out.jsonl", source="portkey").execute({})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"output": text(outcome("a")) + "<html>\n"}, "output file 'file_out': line 2 is no JSON"),
        (
            {"output": text(outcome("a")), "error": "[]\n"},
            "error file 'file_err': line 1 is no JSON object but an array",
        ),
        ({"output": text(outcome("a"))[:-20]}, "output file 'file_out': line 1 is no JSON"),
        ({"input": asked("a") + '{"id": 1}'}, "input file 'file_in': request 2 has no custom_id"),
        ({"input": "x"}, "input file 'file_in': line 1 is no JSON"),
    ],
)
def test_a_line_that_is_none_is_named_and_nothing_lands(
    serve: Any, tmp_path: Path, files: dict[str, str], named: str
) -> None:
    serve(**{"input": asked("a"), **files})
    with pytest.raises(exceptions.PortkeyLineInvalidError, match=named):
        operator(tmp_path / "out.jsonl", error_path=str(tmp_path / "err.jsonl")).execute({})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("allowed", "fails"), [(None, False), (0, True), (0.0, True), (0.49, True), (0.5, False), (0.9, False), (1, False)]
)
def test_fails_above_the_share_and_only_once_all_has_landed(
    serve: Any, tmp_path: Path, allowed: float | None, fails: bool
) -> None:
    serve(input=asked("a", "b", "c", "d"), output=text(outcome("a"), outcome("b")), error=text(outcome("c", 500)))
    path, error_path = tmp_path / "out.jsonl", tmp_path / "err.jsonl"
    export = operator(path, error_path=str(error_path), max_failure_ratio=allowed)
    if not fails:
        assert export.execute({})["failed"] == 1
    else:
        with pytest.raises(exceptions.PortkeyBatchRequestsFailedError) as raised:
            export.execute({})
        assert isinstance(raised.value, AirflowFailException)
        assert str(raised.value) == (
            "Batch 'batch_1': of 4 requests 2 succeeded, 1 failed, 1 missing, 0 duplicate, 0 unexpected. The output is "
            f"in file://{path}, errors in file://{error_path}. A share of 0.5 did not succeed, more than "
            f"max_failure_ratio={allowed:g}."
        )
        assert raised.value.manifest["missing"] == 1
    assert (ids(path), ids(error_path)) == (["a", "b"], ["c"])


def test_one_failure_in_very_many_is_enough_for_none_at_all(serve: Any, tmp_path: Path) -> None:
    everybody = [str(number) for number in range(1_000)]
    serve(input=asked(*everybody), output=text(*map(outcome, everybody[1:])), error=text(outcome("0", 400)))
    with pytest.raises(exceptions.PortkeyBatchRequestsFailedError, match=r"A share of 0\.001"):
        operator(tmp_path / "out.jsonl", max_failure_ratio=0).execute({})
    operator(tmp_path / "out.jsonl", max_failure_ratio=0.001).execute({})


def test_csv_and_parquet_have_columns(serve: Any, tmp_path: Path) -> None:
    serve(input=asked("a"), output=text(outcome("a", extra=1)))
    operator(tmp_path / "out.csv.gz", file_format="csv", compression="gzip").execute({})
    (row,) = csv.DictReader(gzip.decompress((tmp_path / "out.csv.gz").read_bytes()).decode().splitlines())
    assert (row["custom_id"], json.loads(row["response"])["status_code"], row["other_fields"]) == (
        "a",
        200,
        '{"extra":1}',
    )
    operator(tmp_path / "out.parquet", error_path=str(tmp_path / "err.parquet"), file_format="parquet").execute({})
    assert pyarrow.parquet.read_table(tmp_path / "out.parquet").column_names == [*row]
    assert pyarrow.parquet.read_table(tmp_path / "err.parquet").num_rows == 0


@pytest.mark.parametrize("there", ["out.jsonl", "err.jsonl"])
def test_what_must_stay_is_seen_before_anything_is_fetched(serve: Any, tmp_path: Path, there: str) -> None:
    served = serve(input=asked("a"), output=text(outcome("a")))
    (tmp_path / there).write_text("earlier")
    with pytest.raises(exceptions.PortkeyDestinationExistsError, match=there):
        operator(tmp_path / "out.jsonl", error_path=str(tmp_path / "err.jsonl"), overwrite=False).execute({})
    assert served.request_history == []


@pytest.mark.parametrize("field", ["path", "error_path", "input_path"])
def test_a_path_that_rendered_to_none_is_named(serve: Any, tmp_path: Path, field: str) -> None:
    serve(input=asked("a"), output=text(outcome("a")))
    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match=f"^{field}="):
        operator(**{"path": tmp_path / "out.jsonl", field: "s3://bucket/"}).execute({})


def test_two_files_cannot_have_one_path(serve: Any, tmp_path: Path) -> None:
    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match=r"^error_path="):
        operator(tmp_path / "out.jsonl", error_path=f"file://{tmp_path}/out.jsonl").execute({})


@pytest.mark.parametrize(
    "wrong", [{"source": "s3"}, {"max_failure_ratio": 1.1}, {"max_failure_ratio": -1}, {"max_failure_ratio": True}]
)
def test_a_wrong_argument_is_refused_when_the_dag_is_parsed(wrong: dict[str, Any]) -> None:
    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match=next(iter(wrong))):
        operator("out.jsonl", **wrong)


def test_what_may_differ_between_runs_is_templated() -> None:
    given = {"portkey_conn_id", "object_storage_conn_id", "batch_id", "path", "error_path", "input_path"}
    assert given <= set(PortkeyBatchOutputToObjectStorageOperator.template_fields)
