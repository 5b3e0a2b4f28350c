"""What the demo prints about its DAG run."""

from __future__ import annotations

import hashlib
import json

import pytest
from rich.console import Console

from dev.demo_run import Observed, print_report
from dev.steps import StepFailedError

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
    observed = Observed("manual")
    for state in states:
        observed.update({"wait_for_run": {"state": state}, "export_steps": {"state": None}})
    console = Console(width=110, record=True)
    print_report(console, observed=observed, manifest=manifest, path=path)
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
