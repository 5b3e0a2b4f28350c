from __future__ import annotations

import itertools
import re

import pytest

from airflow_provider_portkey.report.page import MAX_BYTES
from airflow_provider_portkey.report.run import MAX_STEPS
from tests.hostile import HOSTILE_TEXTS
from tests.unit.report.conftest import BEGIN


def figures(report) -> dict[str, tuple[str, str]]:
    return {figure.name: (figure.value, figure.detail) for figure in report.figures()}


def test_the_figures_are_those_of_the_run(report, step, call):
    usage = {"prompt_tokens": 1200, "completion_tokens": 34, "total_tokens": 1234}
    steps = [step(0), step(1, **call()), step(2, status="failed", completed_at=None, failed_at=BEGIN + 25)]
    made = report(steps, usage=usage, completed_at=BEGIN + 90, cost=0.00132)
    assert figures(made) == {
        "Duration": ("1 min 30 s", ""),
        "Steps": ("3", "1 not completed"),
        "Tool calls": ("1", ""),
        "Tokens": ("1,234", "1,200 prompt, 34 completion"),
        "Cost": ("$0.00132", ""),
    }


def test_without_usage_of_the_run_the_tokens_are_those_of_the_steps(report, step):
    assert figures(report([step(0), step(1)], usage=None))["Tokens"] == ("50", "40 prompt, 10 completion")


def test_every_kind_of_call_shows_arguments_and_results(report, step, page_of):
    calls = [
        {"type": "function", "function": {"name": "look_up", "arguments": '{"q": "sent-1"}', "output": "result-1"}},
        {"type": "code_interpreter", "code_interpreter": {"input": "sent-2", "outputs": [{"logs": "result-2"}]}},
        {"type": "file_search", "file_search": {"ranking": "sent-3", "results": [{"file_name": "result-3"}]}},
        {"type": "bing_grounding", "bing_grounding": {"requesturl": "sent-4"}},
        {"type": "new", "elsewhere": "sent-5"},
        "sent-6",
    ]
    made = report([step(type="tool_calls", step_details={"tool_calls": calls})])
    page = page_of(made)
    for number in range(1, 7):
        assert f"sent-{number}" in page
    for number in range(1, 4):
        assert f"result-{number}" in page
    assert dict(made.tool_counts()) == dict.fromkeys(
        ("look_up", "code_interpreter", "file_search", "bing_grounding", "new", "unknown"), 1
    )


def test_errors_of_the_run_and_of_steps_are_shown(report, step, page_of):
    error = {"code": "server_error", "message": "The tool crashed."}
    made = report(
        [step(status="failed", last_error=error)],
        status="failed",
        last_error={"code": "rate_limit_exceeded", "message": "Slow down."},
        incomplete_details={"reason": "max_prompt_tokens"},
    )
    assert made.errors == [("rate_limit_exceeded", "Slow down."), ("max_prompt_tokens", "")]
    assert made.status_class == "failed"
    assert "server_error: The tool crashed." in page_of(made)


def test_a_step_of_an_unknown_type_is_shown_with_its_details(report, step, page_of):
    made = report([step(type="reasoning", step_details={"reasoning": "why-it-did"})])
    assert "why-it-did" in page_of(made)


@pytest.mark.parametrize("steps", [0, 1, 40, 41, 5_000])
def test_a_page_has_every_step_and_is_the_same_again(report, step, page_of, steps):
    made = report(step(number) for number in range(steps))
    page = page_of(made)
    assert page == page_of(report(step(number) for number in range(steps)))
    assert len(re.findall('<details class="step">', page)) == steps
    assert page.count("<svg") == (2 if steps else 0)
    # A chart has a bar for each of a few steps, and never more than a reader can tell apart.
    assert page.count("<rect") <= 2 * 96 + 96
    assert len(page.encode()) < 20_000 + 1_200 * steps


def test_many_steps_are_in_parts_that_say_where_steps_failed(report, step, page_of):
    made = report(step(number, status="failed" if number == 77 else "completed") for number in range(200))
    assert [part.failed for part in made.parts] == [0, 1, 0, 0]
    assert page_of(made).count('<details class="part" open>') == 1


def test_a_page_stays_within_its_limit(report, step, call, page_of):
    texts = itertools.cycle([text for name, text in HOSTILE_TEXTS.items() if name != "deep"])
    count = MAX_STEPS + 500

    def steps():
        for number in range(count):
            text = next(texts)[:5_000]
            yield step(
                number,
                id=text,
                status=text,
                message_text=text,
                last_error={"code": text, "message": text},
                **(
                    {"type": text}
                    if number % 2
                    else {name: value for name, value in call(text, text, text).items() if name != "message_text"}
                ),
            )

    made = report(steps(), status=HOSTILE_TEXTS["script"], model=HOSTILE_TEXTS["huge"])
    assert len(page_of(made).encode()) < MAX_BYTES
    assert made.rows == count
    assert any(f"first {MAX_STEPS:,} of {count:,} steps" in note for note in made.notes())
    assert any("texts are left out" in note for note in made.notes())


@pytest.mark.parametrize("character", ['"', "\u202e", "\U0001f600"])
def test_a_page_of_the_worst_characters_stays_within_its_limit(report, step, page_of, character):
    text = character * 3_000
    function = {"name": text, "arguments": text, "output": text}
    calls = {"tool_calls": [{"type": "function", "function": function}] * 5}
    error = {"code": text, "message": text}
    fields = {"id": text, "type": text, "status": text, "message_text": text, "last_error": error}
    made = report(step(number, **fields, step_details=calls) for number in range(MAX_STEPS))
    assert len(page_of(made).encode()) < MAX_BYTES


@pytest.mark.parametrize(
    "junk", [None, "text", 7, [], {}, True, float("nan"), float("inf"), 1e300, -1e300, ["x"], {"a": {}}]
)
def test_a_value_of_another_type_than_documented_is_no_error(report, step, page_of, junk):
    names = (
        "id",
        "type",
        "status",
        "created_at",
        "completed_at",
        "usage",
        "step_details",
        "last_error",
        "message_text",
    )
    for name in names:
        assert page_of(report([step(0), step(1, **{name: junk}), step(2, step_details={"tool_calls": junk})]))
    for name in ("id", "status", "created_at", "completed_at", "usage", "last_error", "incomplete_details", "model"):
        assert page_of(report([step()], **{name: junk}))
    assert page_of(report([step(usage=dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), junk))]))


def test_a_run_that_is_active_says_that_steps_may_be_missing(report, step):
    made = report([step()], status="in_progress")
    assert "later steps are missing" in made.notes()[0]
