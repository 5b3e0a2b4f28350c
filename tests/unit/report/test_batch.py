from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest

from airflow_provider_portkey.report.batch import MAX_FAILURES, BatchReport
from tests.hostile import HOSTILE_TEXTS
from tests.unit.report.conftest import BEGIN

BATCH = {
    "id": "batch_1",
    "status": "completed",
    "endpoint": "/v1/chat/completions",
    "created_at": BEGIN,
    "in_progress_at": BEGIN + 30,
    "finalizing_at": BEGIN + 600,
    "completed_at": BEGIN + 660,
}


def line(custom_id="r1", *, seconds=10, cost=None, status=200, error=None, model="gpt-1"):
    usage = {"prompt_tokens": 20, "completion_tokens": 5} | ({} if cost is None else {"cost": cost})
    body = {"created": BEGIN + 30 + seconds, "model": model, "usage": usage, "choices": [{"finish_reason": "stop"}]}
    if status != 200:
        body = {"error": {"code": "server_error", "message": "It broke."}}
    response = None if error else {"status_code": status, "body": body}
    return {"custom_id": custom_id, "response": response, "error": error}


def row(custom_id="r1", status="succeeded", **fields):
    return {"custom_id": custom_id, "status": status, "input_tokens": 20, "output_tokens": 5, "cost": 0.01, **fields}


def figures(report):
    return {figure.name: (figure.value, figure.detail) for figure in report.figures()}


def test_lines_of_an_output_are_counted_by_status_and_code():
    lines = [
        line("r1", cost=0.5),
        line("r2", status=500),
        line("r3", error={"code": "batch_expired", "message": "Too late."}),
        line("r4", error={"code": "batch_cancelled", "message": "Not wanted."}),
        {"custom_id": "r5", "result": {"type": "errored", "error": {"type": "error", "error": {"type": "overloaded"}}}},
        {"custom_id": "r6", "result": {"type": "succeeded", "message": {"usage": {"input_tokens": 7}, "model": "c"}}},
    ]
    report = BatchReport(BATCH, lines)
    assert report.statuses == {"succeeded": 2, "failed": 2, "expired": 1, "cancelled": 1}
    assert dict(report.codes) == {
        ("failed", "server_error"): 1,
        ("expired", "batch_expired"): 1,
        ("cancelled", "batch_cancelled"): 1,
        ("failed", "overloaded"): 1,
    }
    assert report.usage == {"input_tokens": 27, "output_tokens": 5, "total_tokens": 32}
    assert (report.cost, report.models["gpt-1"].cost, report.models["c"].input_tokens) == (0.5, 0.5, 7)
    assert figures(report)["Duration"] == ("11 min", "")
    assert figures(report)["Outcomes"] == ("6", "33.3% succeeded")


def test_rows_of_a_table_are_counted_as_they_say():
    rows = [
        row("r1"),
        row("r2", "invalid", error_message="'age' is a required property"),
        row("r3", "missing", input_tokens=None, output_tokens=None, cost=None),
        row("r4", "failed", error_code="rate_limit_exceeded", error_message="Slow down."),
    ]
    report = BatchReport(BATCH, rows)
    assert report.statuses == {"succeeded": 1, "invalid": 1, "missing": 1, "failed": 1}
    assert [(failure.id, failure.code) for failure in report.failures] == [
        ("r2", ""), ("r3", ""), ("r4", "rate_limit_exceeded")
    ]  # fmt: skip
    assert report.cost == pytest.approx(0.03)


def test_a_page_has_phases_charts_and_failures(page_of):
    page = page_of(BatchReport(BATCH, [line("r1", seconds=7), line("r2", status=500), line("r3", seconds=400)]))
    for heading in ("Phases", "Outcomes by status", "Models", "Failures by code", "Tokens of an outcome", "Latency"):
        assert f"<h2>{heading}</h2>" in page
    assert "≤ 10 s: 1" in page
    assert "≤ 10 min: 1" in page
    assert "It broke." in page
    assert page == page_of(BatchReport(BATCH, [line("r1", seconds=7), line("r2", status=500), line("r3", seconds=400)]))


def test_a_batch_whose_cost_is_unknown_has_no_column_of_costs(page_of):
    column = '<th class="number">Cost</th>'
    assert column in page_of(BatchReport(BATCH, [row()]))
    assert column not in page_of(BatchReport(BATCH, [row(cost=None)]))


def test_a_table_has_no_latency(page_of):
    assert "Latency" not in page_of(BatchReport(BATCH, [row()]))


def test_an_empty_batch_and_one_that_failed_have_a_page(page_of):
    errors = {"data": [{"code": "invalid_json", "message": "Line 2", "line": 2}]}
    page = page_of(BatchReport({"id": "batch_1", "status": "failed", "errors": errors}, []))
    assert "invalid_json" in page
    assert page_of(BatchReport({}, []))


def test_a_page_does_not_grow_with_the_batch(page_of):
    def rows(count):
        for number in range(count):
            yield row(str(number), "failed", error_code=f"code-{number}", error_message="x" * 300, model=f"m-{number}")

    small, large = (page_of(BatchReport(BATCH, rows(count))) for count in (1_000, 20_000))
    assert len(large) < 1.05 * len(small)
    assert large.count("<tr><td><code>") == MAX_FAILURES
    assert f"first {MAX_FAILURES} of 20,000 failures" in large


def test_hostile_text_adds_no_elements(page_of):
    def failures():
        for text in HOSTILE_TEXTS.values():
            yield row(text, "failed", error_code=text, error_message=text, model=text, finish_reason=text)
            yield line(text, error={"code": text, "message": text}, model=text)
            yield line(text, model=text)

    found: set[str] = set()

    class Elements(HTMLParser):
        def handle_starttag(self, tag, attributes):
            found.add(tag)

    Elements().feed(page_of(BatchReport({**BATCH, "id": HOSTILE_TEXTS["script"], "endpoint": "<i>"}, failures())))
    assert not found & {"script", "iframe", "img", "a", "link", "base", "form", "input", "object", "embed"}


@pytest.mark.parametrize("junk", [None, "text", 7, [], {}, True, float("nan"), 1e300, -1, ["x"], {"a": {}}])
def test_a_value_of_another_type_than_documented_is_no_error(page_of, junk):
    for name in BATCH:
        assert page_of(BatchReport({**BATCH, "errors": {"data": junk}, name: junk}, [line()]))
    for name in row():
        assert page_of(BatchReport(BATCH, [row(**{name: junk})]))
    for name in line():
        assert page_of(BatchReport(BATCH, [{**line(), name: junk}]))
    body = line()["response"]["body"]
    for name in body:
        changed = {"custom_id": "r", "response": {"status_code": 200, "body": {**body, name: junk}}}
        assert page_of(BatchReport(BATCH, [json.loads(json.dumps(changed))]))
