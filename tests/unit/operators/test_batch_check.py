"""The quality gate on a joined table, on a batch's output, and on manifests: figures, thresholds, failure, branch."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from airflow_provider_portkey.batch.outcome_columns import STATUSES
from airflow_provider_portkey.exceptions import (
    PortkeyBatchCheckFailedError,
    PortkeyInvalidArgumentError,
    PortkeyLineInvalidError,
    PortkeyPathError,
)
from airflow_provider_portkey.operators.batch import PortkeyBatchCheckOperator

COLUMNS = {
    "question_id": pyarrow.string(),
    "custom_id": pyarrow.string(),
    "status": pyarrow.string(),
    "text": pyarrow.string(),
    "parsed": pyarrow.string(),
    "error_code": pyarrow.string(),
    "error_message": pyarrow.string(),
    "finish_reason": pyarrow.string(),
    "input_tokens": pyarrow.int64(),
    "output_tokens": pyarrow.int64(),
    "total_tokens": pyarrow.int64(),
    "cost": pyarrow.float64(),
    "model": pyarrow.string(),
}
SCHEMA = {"type": "object", "required": ["score"], "properties": {"score": {"type": "number", "maximum": 1}}}


def row(number: int, status: str = "succeeded", parsed: Any = None) -> dict[str, Any]:
    about = {"question_id": f"q{number}", "custom_id": f"id-{number}", "status": status, "text": "text"}
    return dict.fromkeys(COLUMNS) | about | {"parsed": None if parsed is None else json.dumps(parsed)}


def hundred() -> list[dict[str, Any]]:
    """Ninety rows with scores of 0.5 and 1.0, and four failed, three missing, two invalid and one expired."""
    good = [row(number, parsed={"score": 0.5 + number % 2 / 2, "by": [{"n": number}]}) for number in range(90)]
    statuses = ["failed"] * 4 + ["missing"] * 3 + ["invalid"] * 2 + ["expired"]
    return good + [row(90 + number, status) for number, status in enumerate(statuses)]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def write(rows: list[dict[str, Any]], file_format: str = "parquet", name: str = "table") -> str:
        path = tmp_path / f"{name}.{file_format}"
        if file_format == "parquet":
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=pyarrow.schema(COLUMNS)), path)
        elif file_format == "csv":
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        else:
            path.write_text("".join(json.dumps(one) + "\n" for one in rows))
        return str(path)

    return write


class TaskInstance(SimpleNamespace):
    def __init__(self) -> None:
        super().__init__(pushed={})

    def xcom_push(self, key: str, value: Any) -> None:
        json.dumps(value)
        self.pushed[key] = value


@pytest.fixture
def ti() -> TaskInstance:
    return TaskInstance()


@pytest.fixture
def check(ti: TaskInstance) -> Callable[..., dict[str, Any]]:
    def check(**arguments: Any) -> dict[str, Any]:
        return PortkeyBatchCheckOperator(task_id="check", **arguments).execute({"ti": ti})

    return check


@pytest.mark.parametrize("file_format", ["parquet", "csv", "jsonl"])
def test_a_joined_table_has_its_figures(write: Any, check: Any, file_format: str) -> None:
    figures = check(
        path=write(hundred(), file_format),
        min_success_ratio=0.9,
        min_valid_ratio=0.9,
        score_field="score",
        min_score=0.7,
        max_score=0.8,
    )
    assert figures == {
        "rows": 100,
        "status_counts": {"expired": 1, "failed": 4, "invalid": 2, "missing": 3, "succeeded": 90},
        "success_ratio": 0.9,
        "valid_ratio": 90 / 92,
        "mean_score": 0.75,
        "scored": 90,
        "unscored": 0,
        "checks": [
            {"check": "min_success_ratio", "value": 0.9, "threshold": 0.9, "passed": True},
            {"check": "min_valid_ratio", "value": 90 / 92, "threshold": 0.9, "passed": True},
            {"check": "min_score", "value": 0.75, "threshold": 0.7, "passed": True},
            {"check": "max_score", "value": 0.75, "threshold": 0.8, "passed": True},
        ],
        "passed": True,
        "summary": "100 rows (1 expired, 4 failed, 2 invalid, 3 missing, 90 succeeded): "
        "min_success_ratio=0.9 is met by 0.9; min_valid_ratio=0.9 is met by 0.9783; "
        "min_score=0.7 is met by 0.75; max_score=0.8 is met by 0.75.",
    }


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ({"min_success_ratio": 0.91}, r"100 rows \(1 expired, 4 failed, .*min_success_ratio=0.91 is not met by 0.9"),
        ({"min_valid_ratio": 0.99}, "min_valid_ratio=0.99 is not met by 0.9783"),
        ({"score_field": "score", "min_score": 0.8}, "min_score=0.8 is not met by 0.75"),
        ({"score_field": "score", "max_score": 0.7}, "max_score=0.7 is not met by 0.75"),
        ({"score_field": "points", "min_score": 0}, "min_score=0 is not met, as no row has a number as its score"),
        ({"min_success_ratio": 0.5, "min_valid_ratio": 1}, "min_success_ratio=0.5 is met by 0.9; .*=1 is not met"),
    ],
)
def test_the_task_fails_with_the_figures_in_xcom(
    write: Any, check: Any, ti: TaskInstance, thresholds: dict[str, Any], message: str
) -> None:
    with pytest.raises(PortkeyBatchCheckFailedError, match=message) as failed:
        check(path=write(hundred()), **thresholds)
    assert ti.pushed == {"return_value": failed.value.figures}
    assert failed.value.figures["passed"] is False


def test_an_empty_table_meets_no_threshold(write: Any, check: Any) -> None:
    with pytest.raises(PortkeyBatchCheckFailedError, match=r"0 rows .*=0 is not met, as there is no row"):
        check(path=write([]), min_success_ratio=0)


def score_of_the_id(one: dict[str, Any]) -> float | None:
    assert isinstance(one["parsed"], dict)
    number = int(one["custom_id"].partition("-")[2])
    return number if number < 10 else None


@pytest.mark.parametrize("scorer", [score_of_the_id, f"{__name__}.score_of_the_id"])
def test_a_scorer_is_a_function_or_its_name(
    write: Any, check: Any, scorer: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, __name__, SimpleNamespace(score_of_the_id=score_of_the_id))
    figures = check(path=write(hundred()), scorer=scorer, min_score=4)
    assert (figures["mean_score"], figures["scored"], figures["unscored"]) == (4.5, 10, 80)
    assert "80 of 90 rows with a response have no score" in caplog.text


def test_a_scorer_that_fails_is_named_with_its_row(write: Any, check: Any) -> None:
    def divide(one: dict[str, Any]) -> float:
        return 1 / (one["parsed"]["score"] - 1)

    with pytest.raises(ZeroDivisionError) as failed:
        check(path=write(hundred()), scorer=divide, min_score=0)
    assert "row 2 of " in failed.value.__notes__[0]


@pytest.mark.parametrize(
    ("path", "mean"), [("score", 0.75), ("by.0.n", 44.5), ("by.1.n", None), ("by.n", None), ("by", None)]
)
def test_a_score_is_found_by_its_path(write: Any, check: Any, path: str, mean: float | None) -> None:
    figures = check(path=write(hundred()), score_field=path, min_success_ratio=0)
    assert figures["mean_score"] == mean


@pytest.mark.parametrize(("value", "mean"), [("0.5", 0.5), (True, None), ("high", None), (float("nan"), None)])
def test_only_numbers_are_scores(write: Any, check: Any, value: Any, mean: float | None) -> None:
    figures = check(path=write([row(1, parsed={"score": value})], "jsonl"), score_field="score", min_success_ratio=0)
    assert figures["mean_score"] == mean


def test_a_mean_of_decimal_fractions_is_exact(write: Any, check: Any) -> None:
    rows = [row(number, parsed={"score": 0.1}) for number in range(30)]
    figures = check(path=write(rows), score_field="score", min_score=0.1, max_score=0.1)
    assert figures["mean_score"] == 0.1


def test_rows_are_checked_against_a_schema(write: Any, check: Any) -> None:
    rows = [*hundred(), row(101, parsed={"score": 2}), row(102, parsed=[1]), row(103)]
    figures = check(path=write(rows), json_schema=SCHEMA, min_valid_ratio=0.9)
    assert (figures["status_counts"]["invalid"], figures["valid_ratio"]) == (5, 90 / 95)


OUTPUT = [
    {"custom_id": "a", "response": {"status_code": 200, "body": {}}, "error": None},
    {"custom_id": "b", "response": {"status_code": 500, "body": {}}, "error": None},
    {"custom_id": "c", "response": None, "error": {"code": "batch_expired"}},
    {"custom_id": "d", "result": {"type": "succeeded", "message": {}}},
    {"custom_id": "e", "result": {"type": "errored", "error": {}}},
]


def test_the_output_of_a_batch_has_successes_and_failures(write: Any, check: Any) -> None:
    figures = check(path=write(OUTPUT, "jsonl"), min_success_ratio=0.4)
    assert figures["status_counts"] == {"expired": 1, "failed": 2, "succeeded": 2}


def chat(content: str) -> dict[str, Any]:
    return {"status_code": 200, "body": {"choices": [{"message": {"role": "assistant", "content": content}}]}}


def test_texts_of_the_output_of_a_batch_are_checked_and_scored(write: Any, check: Any) -> None:
    texts = ['{"score": 0.4}', '{"score": 0.6}', '{"score": 2}', "no JSON"]
    rows = [{"custom_id": text, "response": chat(text), "error": None} for text in texts]
    figures = check(path=write(rows, "jsonl"), json_schema=SCHEMA, score_field="score", min_score=0.5)
    assert (figures["status_counts"], figures["mean_score"]) == ({"invalid": 2, "succeeded": 2}, 0.5)


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_compressed_files_are_read(write: Any, check: Any, ending: str) -> None:
    path = Path(write(OUTPUT, "jsonl"))
    compress = gzip.compress if ending == "gz" else zstandard.compress
    path.with_suffix(f".jsonl.{ending}").write_bytes(compress(path.read_bytes()))
    assert check(path=f"{path}.{ending}", min_success_ratio=0.4)["rows"] == 5


def test_the_output_of_a_batch_as_a_table_is_read_too(write: Any, check: Any) -> None:
    rows = [
        {name: json.dumps(value) if isinstance(value, dict) else value for name, value in one.items()}
        for one in OUTPUT[:3]
    ]
    assert check(path=write(rows, "csv"), min_success_ratio=0.3)["status_counts"] == {
        "expired": 1,
        "failed": 1,
        "succeeded": 1,
    }


MANIFEST = {"uri": "file:///nowhere/out.jsonl", "format": "jsonl", "requests": 10, "succeeded": 7, "failed": 1}


@pytest.mark.parametrize(
    ("manifest", "counts"),
    [
        (MANIFEST, {"failed": 1, "missing": 2, "succeeded": 7}),
        (json.dumps(MANIFEST), {"failed": 1, "missing": 2, "succeeded": 7}),
        ([MANIFEST, MANIFEST], {"failed": 2, "missing": 4, "succeeded": 14}),
        (iter([MANIFEST]), {"failed": 1, "missing": 2, "succeeded": 7}),
        ({"uri": "x", **dict.fromkeys(STATUSES, 0), "succeeded": 3, "invalid": 1}, {"invalid": 1, "succeeded": 3}),
    ],
)
def test_the_counts_of_manifests_need_no_file(check: Any, manifest: Any, counts: dict[str, int]) -> None:
    assert check(manifest=manifest, min_success_ratio=0.7)["status_counts"] == counts


def test_the_file_of_a_manifest_is_read_for_scores(write: Any, check: Any) -> None:
    path = write(hundred())
    manifest = {"uri": f"file://{path}", "format": "parquet", **dict.fromkeys(STATUSES, 1)}
    assert check(manifest=manifest, score_field="score", min_score=0)["rows"] == 100


def test_several_files_are_one_result(write: Any, check: Any) -> None:
    manifests = [{"uri": write(hundred(), name="one")}, {"uri": write(hundred(), "csv", name="two")}]
    assert check(manifest=manifests, min_success_ratio=0.5)["rows"] == 200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"path": "a.csv"},
            "min_success_ratio=None .* a threshold: one of min_success_ratio, min_valid_ratio, min_score",
        ),
        ({"min_success_ratio": 1}, "path=None .* either path or manifest, not both"),
        ({"path": "a.csv", "manifest": {}, "min_success_ratio": 1}, "either path or manifest, not both"),
        ({"path": "a.csv", "min_success_ratio": 1.5}, "min_success_ratio=1.5 .* a number from 0 to 1 or None"),
        ({"path": "a.csv", "min_success_ratio": -0.1}, "min_success_ratio=-0.1"),
        ({"path": "a.csv", "min_valid_ratio": 95}, "min_valid_ratio=95"),
        ({"path": "a.csv", "min_score": "high", "score_field": "s"}, "min_score='high' .* a number or None"),
        ({"path": "a.csv", "max_score": float("nan"), "score_field": "s"}, "max_score=nan"),
        ({"path": "a.csv", "max_score": 1, "min_score": 2, "score_field": "s"}, "max_score=1 .* at least min_score=2"),
        ({"path": "a.csv", "min_score": 2, "score_field": " "}, "score_field=' '"),
        ({"path": "a.csv", "min_success_ratio": 1, "follow_task_ids_if_true": 7}, "follow_task_ids_if_true=7"),
        ({"path": "a.csv", "min_success_ratio": 1, "follow_task_ids_if_false": [1]}, "follow_task_ids_if_false="),
        ({"path": "a.csv", "min_score": 1}, "score_field=None .* score_field or scorer, for min_score and max_score"),
        ({"path": "a.csv", "min_score": 1, "score_field": "s", "scorer": "m.f"}, "scorer='m.f' .* one of them"),
        ({"path": "a.csv", "min_success_ratio": True}, "min_success_ratio=True"),
    ],
)
def test_wrong_parameters_are_refused_where_the_dag_is_parsed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=message):
        PortkeyBatchCheckOperator(task_id="check", **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "a.txt"}, "path='a.txt' .* ends in .jsonl"),
        ({"path": "a.txt", "table_format": "json"}, "table_format=.json. .* one of .jsonl., .csv., .parquet. or None"),
        ({"manifest": {"rows": 1}}, "manifest=None .* a manifest with the 'path' of a file"),
        ({"manifest": "later"}, "manifest='later'"),
        ({"manifest": []}, r"manifest=\[\]"),
        ({"manifest": ["a"]}, r"manifest=\['a'\]"),
        (
            {"path": "a.csv", "json_schema": {"type": "thing"}},
            "json_schema=.* a JSON schema: at .*type .thing. is not valid",
        ),
        ({"path": "a.csv", "json_schema": "no schema"}, "json_schema='no schema' .* a JSON schema, as a mapping"),
        ({"path": "a.csv", "scorer": "nowhere.at_all"}, "scorer='nowhere.at_all' .* No module named 'nowhere'"),
        ({"path": "a.csv", "scorer": "json.nothing"}, "scorer='json.nothing' .* no attribute 'nothing'"),
        ({"path": "a.csv", "scorer": "json.__name__"}, "scorer='json.__name__' .* a function that takes a row"),
        ({"path": "a.csv", "scorer": "score"}, "scorer='score'"),
    ],
)
def test_wrong_values_are_refused_before_a_file_is_read(check: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=message):
        check(**{"min_success_ratio": 1} | arguments)


def test_templated_thresholds_are_checked_after_rendering(write: Any, ti: TaskInstance) -> None:
    task = PortkeyBatchCheckOperator(task_id="check", path="{{ path }}", min_success_ratio="{{ least }}")
    task.render_template_fields({"path": write(hundred()), "least": "0.8"})
    assert task.execute({"ti": ti})["passed"]
    task = PortkeyBatchCheckOperator(task_id="check", path="{{ path }}", min_success_ratio="{{ least }}")
    task.render_template_fields({"path": "a.csv", "least": "80"})
    with pytest.raises(PortkeyInvalidArgumentError, match=r"min_success_ratio=.?80"):
        task.execute({"ti": ti})


def test_a_file_that_is_missing_is_named(check: Any, tmp_path: Path) -> None:
    with pytest.raises(PortkeyPathError, match=r"none\.csv"):
        check(path=str(tmp_path / "none.csv"), min_success_ratio=1)


@pytest.mark.parametrize("rows", [[{"id": "a"}], [{"status": None}], [{"status": 3}]])
def test_a_row_that_is_no_result_is_named(write: Any, check: Any, rows: list[dict[str, Any]]) -> None:
    with pytest.raises(PortkeyLineInvalidError, match=r"table.jsonl: row 1 is neither"):
        check(path=write(rows, "jsonl"), min_success_ratio=1)


def test_memory_does_not_grow_with_the_rows(write: Any, check: Any, peak: Any) -> None:
    def peak_of(count: int) -> int:
        path = write([row(number, parsed={"score": 0.5}) for number in range(count)])
        return peak(lambda: check(path=path, score_field="score", min_score=0))

    small, large = peak_of(5_000), peak_of(50_000)
    assert large < small * 2
