"""What the demo runs, and what it prints about its DAG runs."""

from __future__ import annotations

import hashlib
import json

import pytest
from rich.console import Console

from dev.demo_portkey import Target, hosted
from dev.demo_run import Job, Observed, jobs_of, print_report
from dev.steps import StepFailedError

JOB = Job("a run", "portkey_gate_and_export", "wait_for_run", "export_steps", "steps.jsonl", {})
STEPS = [
    {"id": "step_1", "type": "tool_calls", "step_details": {"tool_calls": [{"function": {"name": "look_up"}}]}},
    {"id": "step_2", "type": "message_creation", "message_text": "x" * 99, "created_at": 10, "completed_at": 12},
]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "steps.jsonl"
    path.write_text("".join(json.dumps(step) + "\n" for step in STEPS))
    return path


@pytest.fixture
def manifest(path):
    content = path.read_bytes()
    manifest = {"rows": 2, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "pages": 1}
    return manifest | {"run_id": "run_1", "thread_id": "thread_1", "run_status": "completed", "usage": {"tokens": 1}}


def report(manifest, path, *states: str) -> str:
    observed = Observed("manual", JOB.wait_task)
    for state in states:
        observed.update({"wait_for_run": {"state": state}, "export_steps": {"state": None}})
    console = Console(width=110, record=True)
    print_report(console, job=JOB, observed=observed, manifest=manifest, path=path)
    return console.export_text()


def test_a_run_with_a_deferred_wait(manifest, path):
    printed = report(manifest, path, "running", "deferred", "deferred", "running", "success")
    assert "running -> deferred -> running -> success" in printed
    assert "left its worker slot for 0 s" in printed
    assert "look_up" in printed
    assert "xxxxxxxxxx" in printed
    assert f"{path}\n" in printed


def test_a_run_that_had_ended_at_the_first_poll(manifest, path):
    assert "never seen as deferred" in report(manifest, path, "running", "success")


def test_a_file_that_is_not_what_the_manifest_says(manifest, path):
    with pytest.raises(StepFailedError, match="is not what the manifest says"):
        report(manifest | {"sha256": "another"}, path)


def test_an_output_item_shows_its_text(tmp_path):
    items = [{"id": "msg_1", "type": "message", "content": [{"type": "output_text", "text": "Thursday"}]}]
    path = tmp_path / "response.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    content = path.read_bytes()
    manifest = {"rows": 1, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "pages": 1}
    printed = report(manifest | {"response_id": "resp_1", "response_status": "completed"}, path, "running", "success")
    assert "Thursday" in printed
    assert "response_id=resp_1 response_status=completed" in printed


KEY = {"PORTKEY_API_KEY": "pk", "PORTKEY_PROVIDER": "@openai-prod"}
RUN = {"PORTKEY_THREAD_ID": "thread_1", "PORTKEY_RUN_ID": "run_1"}
MODEL = {"PORTKEY_MODEL": "gpt-5-mini"}


@pytest.mark.parametrize(
    ("environ", "dags"),
    [
        (KEY | RUN, ["portkey_gate_and_export"]),
        (KEY | MODEL, ["portkey_response"]),
        (KEY | RUN | MODEL, ["portkey_gate_and_export", "portkey_response"]),
        (KEY | MODEL | {"PORTKEY_RUN_ID": "run_1"}, ["portkey_response"]),
    ],
)
def test_a_hosted_portkey_gets_the_jobs_that_the_environment_names(environ, dags):
    target = hosted(environ)
    assert isinstance(target, Target)
    assert [job.dag_id for job in jobs_of(target)] == dags


@pytest.mark.parametrize("environ", [{}, KEY, RUN | MODEL, KEY | {"PORTKEY_RUN_ID": "run_1"}])
def test_without_a_key_or_a_job_the_demo_is_local(environ):
    assert hosted(environ) is None
