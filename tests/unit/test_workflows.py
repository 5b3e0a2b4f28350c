"""Workflows and templates: valid YAML, actions pinned by commit, commands and files that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FILES = [*WORKFLOWS, *sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ROOT / ".pre-commit-config.yaml"]

pytestmark = pytest.mark.skipif(not WORKFLOWS, reason="the source distribution has no workflows")


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def steps() -> list[tuple[str, dict[str, Any]]]:
    return [(path.name, step) for path in WORKFLOWS for job in load(path)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_is_yaml(path: Path) -> None:
    assert load(path)


def test_every_action_is_pinned_by_a_commit_whose_version_is_named() -> None:
    used = [step["uses"] for _, step in steps() if "uses" in step]
    assert len(used) > 4
    for each in used:
        assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", each), each
    for path in WORKFLOWS:
        text = path.read_text()
        assert len(re.findall(r"# v\d+\.\d+\.\d+.*\n\s+- uses: ", text)) == text.count("uses: ")


def test_one_action_has_one_commit() -> None:
    used = {step["uses"] for _, step in steps() if "uses" in step}
    assert len(used) == len({each.partition("@")[0] for each in used})


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_only_read_unless_a_job_says_more(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    more = {name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
    assert more in ({}, {"publish": {"contents": "read", "id-token": "write"}})


def test_the_commands_exist() -> None:
    from dev.commands import _parser

    commands = [step["run"] for _, step in steps() if step.get("run", "").startswith("python3 -m dev ")]
    assert commands
    for command in commands:
        words = re.sub(r"\$\{\{ matrix\.airflow \}\}", "2.11", command).split()[3:]
        _parser().parse_known_args(words)


def test_ci_has_a_job_for_every_airflow() -> None:
    from dev.environments import AIRFLOW_VERSIONS

    matrix = load(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]["versions"]["strategy"]["matrix"]["include"]
    assert tuple(each["airflow"] for each in matrix) == AIRFLOW_VERSIONS


def test_the_contributing_page_has_ten_commands_that_exist() -> None:
    from dev.commands import _parser

    rows = re.findall(r"^\| (\d+) \| `(.+?)` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 11))
    for _, command in rows:
        if command.startswith("python3 -m dev "):
            _parser().parse_known_args(command.split()[3:])
        elif command.startswith("."):
            program = command.split()[0]
            assert program.startswith(".venv/bin/") or (ROOT / program).is_file()
