"""The export of a batch: files with its outcomes, and counts that compare them with the requests."""

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
from airflow_provider_portkey.transfers.batch_output_to_object_storage import PortkeyBatchOutputToObjectStorageOperator

BASE = "https://portkey.test/v1"
MANIFEST_KEYS = [
    "uri", "path", "format", "compression", "rows", "bytes", "sha256", "non_finite_values",
    "error_uri", "error_path", "error_rows", "error_bytes", "error_sha256",
    "batch_id", "batch_status", "requests", "succeeded", "failed", "missing", "duplicate", "unexpected",
    "usage", "cost",
    "started_at", "finished_at", "schema_version",
]  # fmt: skip
USAGE = {"prompt_tokens": 10, "total_tokens": 15, "prompt_tokens_details": {"cached_tokens": 2}}


def requests_of(*custom_ids: str) -> str:
    return "".join(json.dumps({"custom_id": custom_id, "method": "POST"}) + "\n" for custom_id in custom_ids)


def outcome(custom_id: str, status: int = 200, **changes: Any) -> dict[str, Any]:
    response = {"status_code": status, "request_id": "r", "body": {"usage": USAGE, "text": "ü\n"}}
    return {"id": f"id_{custom_id}", "custom_id": custom_id, "response": response, "error": None, **changes}


def lines_of(*outcomes: dict[str, Any]) -> str:
    return "".join(json.dumps(one) + "\n" for one in outcomes)


def operator(path: object, **arguments: Any) -> PortkeyBatchOutputToObjectStorageOperator:
    given = {"task_id": "output", "batch_id": "batch_1", "path": str(path), "max_failure_ratio": None, **arguments}
    return PortkeyBatchOutputToObjectStorageOperator(**given)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def ids(path: Path) -> list[str]:
    return [line["custom_id"] for line in rows(path)]


@pytest.fixture
def serve(portkey_connection: object, requests_mock: Any) -> Any:
    """Serve ``batch_1`` and its files; a file whose content is ``None`` does not exist."""

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
    serve(input=requests_of("a", "b", "c", "d"), output=lines_of(b, a, again, other), error=lines_of(c))
    path, error_path = tmp_path / "new" / "out.jsonl", tmp_path / "err.jsonl"

    manifest = operator(path, error_path=str(error_path)).execute({})

    assert list(manifest) == MANIFEST_KEYS
    assert manifest.pop("started_at") <= manifest.pop("finished_at")
    assert manifest == {
        "uri": f"file://{path}",
        "path": str(path),
        "format": "jsonl",
        "compression": None,
        "rows": 3,
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "non_finite_values": 0,
        "error_uri": f"file://{error_path}",
        "error_path": str(error_path),
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
        "cost": None,
        "schema_version": 1,
    }
    assert rows(path) == [b, a, other]
    assert rows(error_path) == [c]
    json.dumps(manifest)


def test_without_an_error_path_errors_follow_the_output(serve: Any, tmp_path: Path) -> None:
    serve(input=requests_of("a", "b"), output=lines_of(outcome("b")), error=lines_of(outcome("a", 400)))
    manifest = operator(tmp_path / "out.jsonl").execute({})
    assert ids(tmp_path / "out.jsonl") == ["b", "a"]
    assert [manifest[name] for name in ("rows", "error_uri", "error_rows", "failed")] == [2, None, None, 1]


def test_of_a_request_in_both_files_the_output_counts(serve: Any, tmp_path: Path) -> None:
    serve(input=requests_of("a"), output=lines_of(outcome("a")), error=lines_of(outcome("a", 500)))
    manifest = operator(tmp_path / "out.jsonl", error_path=str(tmp_path / "err.jsonl")).execute({})
    assert [manifest[name] for name in ("succeeded", "failed", "duplicate", "rows", "error_rows")] == [1, 0, 1, 1, 0]


def test_a_line_without_an_id_is_kept_and_counted_as_unexpected(serve: Any, tmp_path: Path) -> None:
    serve(input=requests_of("a"), output='{"recordId": "1"}\n{"recordId": "1"}\n' + lines_of(outcome("a")))
    manifest = operator(tmp_path / "out.jsonl").execute({})
    assert [manifest[name] for name in ("rows", "unexpected", "succeeded", "missing")] == [3, 2, 1, 0]


def test_the_input_may_come_from_storage(serve: Any, tmp_path: Path) -> None:
    served = serve(input=None, output=lines_of(outcome("a")))
    (tmp_path / "in.jsonl").write_text(requests_of("a", "b"))
    manifest = operator(tmp_path / "out.jsonl", input_path=str(tmp_path / "in.jsonl")).execute({})
    assert [manifest[name] for name in ("requests", "missing")] == [2, 1]
    assert len(served.request_history) == 2


def test_without_reconciling_no_input_is_requested(serve: Any, tmp_path: Path) -> None:
    served = serve(input=None, output=lines_of(outcome("a"), outcome("a"), outcome("b", 500)))
    manifest = operator(tmp_path / "out.jsonl", reconcile=False).execute({})
    counts = ("requests", "succeeded", "failed", "missing", "duplicate", "unexpected")
    assert [manifest[name] for name in counts] == [2, 1, 1, None, 1, None]
    assert len(served.request_history) == 2


def test_an_input_that_is_gone_says_what_to_do(serve: Any, tmp_path: Path) -> None:
    served = serve(input=None, output=lines_of(outcome("a")))
    served.get(f"{BASE}/files/file_in/content", status_code=404, json={"error": {"message": "No such file."}})
    with pytest.raises(exceptions.PortkeyNotFoundError, match=r"No such file.*set input_path, or reconcile=False"):
        operator(tmp_path / "out.jsonl").execute({})


@pytest.mark.parametrize("status", ["expired", "cancelled", "failed"])
def test_a_batch_that_failed_is_exported_with_the_outcomes_that_it_has(serve: Any, tmp_path: Path, status: str) -> None:
    errors = {"data": [{"code": "some_code", "message": "Some words.", "line": 3}]}
    serve(
        input=requests_of("a", "b", "c"),
        output=lines_of(outcome("a")),
        error=lines_of(outcome("b", 500)),
        status=status,
        errors=errors,
    )
    manifest = operator(tmp_path / "out.jsonl").execute({})
    counts = ("batch_status", "requests", "succeeded", "failed", "missing")
    assert [manifest[name] for name in counts] == [status, 3, 1, 1, 1]


@pytest.mark.parametrize("source", ["file", "portkey"])
def test_a_batch_without_any_output_gives_empty_files(serve: Any, tmp_path: Path, source: str) -> None:
    served = serve(input=requests_of("a"), status="expired")
    served.get(f"{BASE}/batches/batch_1/output", status_code=404, json={"error": {"message": "no output"}})
    error_path = tmp_path / "err.jsonl"
    error_path.write_text("of an earlier run")
    manifest = operator(tmp_path / "out.jsonl", error_path=str(error_path), source=source).execute({})
    assert [manifest[name] for name in ("rows", "error_rows", "missing", "usage")] == [0, 0, 1, None]
    assert error_path.read_bytes() == b""


def test_an_active_batch_is_refused(serve: Any, tmp_path: Path) -> None:
    serve(input=requests_of("a"), output=lines_of(outcome("a")), status="finalizing")
    with pytest.raises(
        exceptions.PortkeyRemoteJobNotFinishedError, match=r"'batch_1' is still finalizing.*PortkeyBatchSensor"
    ) as raised:
        operator(tmp_path / "out.jsonl").execute({})
    assert not isinstance(raised.value, AirflowFailException)
    assert list(tmp_path.iterdir()) == []


def test_portkeys_own_output_is_read_where_that_is_the_source(serve: Any, tmp_path: Path) -> None:
    served = serve(input=requests_of("a", "b"), error=lines_of(outcome("b", 500)))
    served.get(f"{BASE}/batches/batch_1/output", text=lines_of(outcome("a")))
    manifest = operator(tmp_path / "out.jsonl", source="portkey").execute({})
    assert [manifest[name] for name in ("rows", "succeeded", "failed", "missing")] == [2, 1, 1, 0]


def test_the_errors_that_portkey_returns_for_a_failed_batch_are_no_output(serve: Any, tmp_path: Path) -> None:
    errors = {"object": "list", "data": [{"code": "invalid_json_line", "line": 1}]}
    served = serve(input=requests_of("a"), status="failed", errors=errors)
    served.get(f"{BASE}/batches/batch_1/output", json=errors)
    manifest = operator(tmp_path / "out.jsonl", source="portkey").execute({})
    assert [manifest[name] for name in ("rows", "missing", "unexpected")] == [0, 1, 0]


def test_portkeys_output_of_a_completed_batch_must_be_there(serve: Any, tmp_path: Path) -> None:
    served = serve(input=requests_of("a"))
    served.get(f"{BASE}/batches/batch_1/output", status_code=404, json={"error": {"message": "no route"}})
    with pytest.raises(exceptions.PortkeyNotFoundError, match="no route"):
        operator(tmp_path / "out.jsonl", source="portkey").execute({})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"output": lines_of(outcome("a")) + "<html>\n"}, "output file 'file_out': line 2 is no JSON"),
        (
            {"output": lines_of(outcome("a")), "error": "[]\n"},
            "error file 'file_err': line 1 is no JSON object but an array",
        ),
        ({"output": lines_of(outcome("a"))[:-20]}, "output file 'file_out': line 1 is no JSON"),
        ({"input": requests_of("a") + '{"id": 1}'}, "input file 'file_in': request 2 has no custom_id"),
        ({"input": "x"}, "input file 'file_in': line 1 is no JSON"),
    ],
)
def test_a_line_that_is_no_object_is_named_and_nothing_is_written(
    serve: Any, tmp_path: Path, files: dict[str, str], named: str
) -> None:
    serve(**{"input": requests_of("a"), **files})
    with pytest.raises(exceptions.PortkeyLineInvalidError, match=named):
        operator(tmp_path / "out.jsonl", error_path=str(tmp_path / "err.jsonl")).execute({})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("allowed", "fails"), [(None, False), (0, True), (0.0, True), (0.49, True), (0.5, False), (0.9, False), (1, False)]
)
def test_fails_above_the_ratio_and_only_once_both_files_are_written(
    serve: Any, tmp_path: Path, allowed: float | None, fails: bool
) -> None:
    serve(
        input=requests_of("a", "b", "c", "d"),
        output=lines_of(outcome("a"), outcome("b")),
        error=lines_of(outcome("c", 500)),
    )
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
            f"in file://{path}, errors in file://{error_path}. The failure ratio 0.5 is "
            f"above max_failure_ratio={allowed:g}."
        )
        assert raised.value.manifest["missing"] == 1
    assert (ids(path), ids(error_path)) == (["a", "b"], ["c"])


def test_one_failure_in_a_thousand_is_above_a_ratio_of_zero(serve: Any, tmp_path: Path) -> None:
    custom_ids = [str(number) for number in range(1_000)]
    serve(
        input=requests_of(*custom_ids),
        output=lines_of(*map(outcome, custom_ids[1:])),
        error=lines_of(outcome("0", 400)),
    )
    with pytest.raises(
        exceptions.PortkeyBatchRequestsFailedError, match=r"The failure ratio 0\.001 is above max_failure_ratio=0\."
    ):
        operator(tmp_path / "out.jsonl", max_failure_ratio=0).execute({})
    operator(tmp_path / "out.jsonl", max_failure_ratio=0.001).execute({})


def test_without_a_ratio_any_failure_fails_the_task(serve: Any, tmp_path: Path) -> None:
    serve(input=requests_of("a", "b"), output=lines_of(outcome("a")))
    export = PortkeyBatchOutputToObjectStorageOperator(
        task_id="output", batch_id="batch_1", path=f"{tmp_path}/out.jsonl"
    )
    with pytest.raises(exceptions.PortkeyBatchRequestsFailedError, match=r"1 missing.*above max_failure_ratio=0\."):
        export.execute({})
    serve(input=requests_of("a"), output=lines_of(outcome("a")))
    assert export.execute({})["succeeded"] == 1


def test_a_batch_without_requests_has_no_failures(serve: Any, tmp_path: Path) -> None:
    serve(input="", output="")
    assert operator(tmp_path / "out.jsonl", max_failure_ratio=0).execute({})["requests"] == 0


def test_rendered_strings_are_validated_and_used(serve: Any, tmp_path: Path) -> None:
    serve(input=None, output=lines_of(outcome("a"), outcome("b", 500)))
    export = operator(
        tmp_path / "out.jsonl",
        reconcile="{{ params.reconcile }}",
        source="{{ params.source }}",
        max_failure_ratio="{{ params.ratio }}",
    )
    params = {"reconcile": False, "source": "file", "ratio": 0.5}
    export.render_template_fields({"params": params})
    assert export.execute({})["missing"] is None
    export.max_failure_ratio = "0.4"
    with pytest.raises(exceptions.PortkeyBatchRequestsFailedError, match=r"0\.5 is above max_failure_ratio=0\.4"):
        export.execute({})
    export.source = "s3"
    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match=r"^source='s3'"):
        export.execute({})


def test_csv_and_parquet_have_columns(serve: Any, tmp_path: Path) -> None:
    serve(input=requests_of("a"), output=lines_of(outcome("a", extra=1)))
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
def test_a_file_that_must_stay_is_noticed_before_any_request(serve: Any, tmp_path: Path, there: str) -> None:
    served = serve(input=requests_of("a"), output=lines_of(outcome("a")))
    (tmp_path / there).write_text("earlier")
    with pytest.raises(exceptions.PortkeyDestinationExistsError, match=there):
        operator(tmp_path / "out.jsonl", error_path=str(tmp_path / "err.jsonl"), overwrite=False).execute({})
    assert served.request_history == []


@pytest.mark.parametrize("field", ["path", "error_path", "input_path"])
def test_a_path_that_rendered_to_none_is_named(serve: Any, tmp_path: Path, field: str) -> None:
    serve(input=requests_of("a"), output=lines_of(outcome("a")))
    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match=f"^{field}="):
        operator(**{"path": tmp_path / "out.jsonl", field: "s3://bucket/"}).execute({})


def test_two_files_cannot_have_one_path(serve: Any, tmp_path: Path) -> None:
    with pytest.raises(exceptions.PortkeyInvalidArgumentError, match=r"^error_path="):
        operator(tmp_path / "out.jsonl", error_path=f"file://{tmp_path}/out.jsonl").execute({})


def arn(name: str) -> str:
    return f"arn%3Aaws%3Abedrock%3Aeu-west-1%3A111111111111%3Amodel-invocation-job%2F{name}"


def test_a_bedrock_batch_is_read_from_portkeys_output_by_ids_that_are_quoted_once(
    portkey_connection: object, requests_mock: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    batch_id, input_id = arn("9x8y7z"), "s3%3A%2F%2Fdata%2Fin%2Flines.jsonl"
    batch = {
        "id": batch_id,
        "created_at": 1_764_000_000_321,
        "status": "partially_completed",
        "input_file_id": input_id,
        "output_file_id": "s3%3A%2F%2Fdata%2Fout%2F",
    }
    stored = "".join(json.dumps({"recordId": name, "modelInput": {}}) + "\n" for name in "abc")
    requests_mock.get(f"{BASE}/batches/{batch_id}", json=batch)
    requests_mock.get(f"{BASE}/files/{input_id}/content", text=stored)
    failed = {"errorCode": 400, "errorMessage": "Input is too long."}
    requests_mock.get(f"{BASE}/batches/{batch_id}/output", text=lines_of(outcome("a"), failed, outcome("c")))

    manifest = operator(tmp_path / "out.jsonl", batch_id=batch_id).execute({})

    counts = ("batch_status", "requests", "succeeded", "failed", "missing", "unexpected", "rows")
    assert [manifest[name] for name in counts] == ["partially_completed", 3, 2, 0, 1, 1, 3]
    assert "is partially_completed" in caplog.text
    assert not [one for one in requests_mock.request_history if "%25" in one.url]


def test_an_output_that_is_a_folder_says_what_to_do(serve: Any, tmp_path: Path) -> None:
    served = serve(input=requests_of("a"), output_file_id="s3%3A%2F%2Fdata%2Fout%2F")
    served.get(f"{BASE}/files/s3%3A%2F%2Fdata%2Fout%2F/content", status_code=404)
    with pytest.raises(exceptions.PortkeyNotFoundError, match="is a folder: set source='portkey'"):
        operator(tmp_path / "out.jsonl", source="file").execute({})


@pytest.mark.parametrize(
    "content",
    [
        {"status_code": 404, "text": "<Error><Code>NoSuchKey</Code></Error>"},
        {"status_code": 403, "json": {"error": {"message": "no permission"}}},
        {"status_code": 400, "json": {"error": {"message": "a folder"}}},
        {"text": '<?xml version="1.0"?><ListBucketResult></ListBucketResult>'},
        {"text": "\n<html></html>"},
        {"text": ""},
    ],
)
@pytest.mark.parametrize("error_file_id", ["gs%3A%2F%2Fdata%2Fout", "file_err"])
def test_an_error_file_that_is_none_does_not_cost_the_output(
    serve: Any, tmp_path: Path, content: dict[str, Any], error_file_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    counts = {"total": 2, "completed": "2"}
    served = serve(
        input='{"request": {}, "requestId": "a"}\n{"request": {}, "requestId": "b"}\n',
        output=lines_of(outcome("a"), outcome("b")),
        error_file_id=error_file_id,
        output_file_id="gs%3A%2F%2Fdata%2Fout%2Fprediction-7%2Fpredictions.jsonl",
        request_counts=counts,
    )
    served.get(
        f"{BASE}/files/gs%3A%2F%2Fdata%2Fout%2Fprediction-7%2Fpredictions.jsonl/content",
        text=lines_of(outcome("a"), outcome("b")),
    )
    served.get(f"{BASE}/files/{error_file_id}/content", **content)

    manifest = operator(tmp_path / "out.jsonl", error_path=str(tmp_path / "err.jsonl"), max_failure_ratio=0).execute({})

    names = ("requests", "succeeded", "failed", "missing", "rows", "error_rows")
    assert [manifest[name] for name in names] == [2, 2, 0, 0, 2, 0]
    assert ("is left out" in caplog.text) is (content != {"text": ""})


def test_an_error_file_that_cannot_be_read_now_is_retried(serve: Any, tmp_path: Path) -> None:
    served = serve(input=requests_of("a"), output=lines_of(outcome("a")), error="")
    served.get(f"{BASE}/files/file_err/content", status_code=503)
    with pytest.raises(exceptions.PortkeyServerError):
        operator(tmp_path / "out.jsonl").execute({})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", ["processing_post_request_guardrails", "submitted", "unheard of"])
def test_only_a_terminal_status_has_an_output(serve: Any, tmp_path: Path, status: str) -> None:
    serve(input=requests_of("a"), output=lines_of(outcome("a")), status=status)
    with pytest.raises(exceptions.PortkeyRemoteJobNotFinishedError, match=f"is still {status}"):
        operator(tmp_path / "out.jsonl").execute({})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong", [{"id": "batch_2"}, {"id": None}, {"status": []}, {"output_file_id": ["file"]}, {"input_file_id": 5}]
)
def test_a_batch_of_a_wrong_shape_is_an_unexpected_response(serve: Any, tmp_path: Path, wrong: dict[str, Any]) -> None:
    serve(input=requests_of("a"), output=lines_of(outcome("a")), **wrong)
    with pytest.raises(exceptions.PortkeyUnexpectedResponseError):
        operator(tmp_path / "out.jsonl").execute({})
    assert list(tmp_path.iterdir()) == []


def test_an_anthropic_batch_needs_no_file(serve: Any, tmp_path: Path) -> None:
    def succeeded(custom_id: str, tokens: int) -> dict[str, Any]:
        usage = {"input_tokens": tokens, "output_tokens": 1, "service_tier": "batch"}
        return {"custom_id": custom_id, "result": {"type": "succeeded", "message": {"usage": usage}}}

    errored = {"custom_id": "c", "result": {"type": "errored", "error": {"type": "error"}}}
    served = serve(input=None, endpoint="/v1/batches", input_file_id=None)
    lines = lines_of(succeeded("a", 11), succeeded("b", 6), errored)
    served.get(f"{BASE}/batches/batch_1/output", text=lines)
    (tmp_path / "in.jsonl").write_text(requests_of("a", "b", "c", "d"))

    manifest = operator(tmp_path / "out.jsonl").execute({})
    compared = operator(tmp_path / "out.jsonl", input_path=str(tmp_path / "in.jsonl")).execute({})

    names = ("requests", "succeeded", "failed", "missing", "rows")
    assert [manifest[name] for name in names] == [3, 2, 1, None, 3]
    assert [compared[name] for name in names] == [4, 2, 1, 1, 3]
    assert manifest["usage"] == compared["usage"] == {"input_tokens": 17, "output_tokens": 2}


@pytest.mark.parametrize(
    ("fields", "requested"),
    [
        ({"output_file_id": "file_out"}, "/files/file_out/content"),
        ({"output_file_id": "s3%3A%2F%2Fb%2Fout%2F"}, "/batches/batch_1/output"),
        ({"error_file_id": "file_err"}, "/files/file_err/content"),
        ({}, "/batches/batch_1/output"),
        ({"status": "cancelled"}, None),
        ({"status": "cancelled", "input_file_id": None}, "/batches/batch_1/output"),
    ],
)
def test_by_default_the_output_is_read_where_the_batch_has_it(
    portkey_connection: object, requests_mock: Any, tmp_path: Path, fields: dict[str, Any], requested: str | None
) -> None:
    batch = {"id": "batch_1", "status": "completed", "input_file_id": "file_in", **fields}
    requests_mock.get(f"{BASE}/batches/batch_1", json=batch)
    for path in ("/files/file_out/content", "/files/file_err/content", "/batches/batch_1/output"):
        requests_mock.get(BASE + path, text=lines_of(outcome("a")))

    manifest = operator(tmp_path / "out.jsonl", reconcile=False).execute({})

    paths = [one.url.removeprefix(BASE) for one in requests_mock.request_history[1:]]
    assert paths == ([requested] if requested else [])
    assert manifest["rows"] == len(paths)


def test_cost_and_counts_that_are_strings_are_summed_exactly(serve: Any, tmp_path: Path) -> None:
    def costly(custom_id: str) -> dict[str, Any]:
        usage = {"total_tokens": "12", "cost": 0.00025, "cost_details": {"upstream_inference_cost": 0.0002}}
        return outcome(custom_id, response={"status_code": 200, "body": {"usage": usage}})

    serve(input=requests_of(*"abcd"), output=lines_of(*map(costly, "abcd")))
    manifest = operator(tmp_path / "out.jsonl").execute({})
    assert manifest["cost"] == 0.001
    assert manifest["usage"] == {
        "total_tokens": 48,
        "cost": 0.001,
        "cost_details": {"upstream_inference_cost": 0.0008},
    }
