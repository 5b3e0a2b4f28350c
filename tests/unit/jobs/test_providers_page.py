"""docs/providers.md has the statuses and codes of the declarations."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from airflow_provider_portkey.jobs import batch, fine_tuning
from airflow_provider_portkey.jobs.batch import BATCH, FILE
from airflow_provider_portkey.jobs.response import RESPONSE
from airflow_provider_portkey.jobs.run import RUN

PAGE = (Path(__file__).parents[3] / "docs" / "providers.md").read_text()


def table(heading: str) -> list[list[str]]:
    """Return the cells of the rows of the table below a heading."""
    section = PAGE.split(f"# {heading}\n", 1)[1].split("\n#", 1)[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def words(cell: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", cell))


@pytest.mark.parametrize(
    ("heading", "tables"),
    [
        ("Batches", [batch.OPENAI, batch.BEDROCK, batch.COHERE, batch.PORTKEY]),
        ("Fine-tuning jobs", [fine_tuning.OPENAI, fine_tuning.AZURE]),
    ],
)
def test_each_provider_has_its_statuses(heading: str, tables: list[dict[str, set[str]]]) -> None:
    names = ("active_statuses", "success_statuses", "failure_statuses")
    assert [list(map(words, row[1:])) for row in table(heading)] == [
        [one.get(name, set()) for name in names] for one in tables
    ]


def test_files_and_codes_are_those_of_the_declarations() -> None:
    assert [words(row[1]) for row in table("Files")] == [
        FILE.active_statuses,
        FILE.success_statuses,
        FILE.failure_statuses,
    ]
    assert [words(row[1]) for row in table("Failures that pass")] == [
        RUN.retryable_error_codes,
        BATCH.retryable_error_codes,
    ]
    assert RESPONSE.retryable_error_codes == RUN.retryable_error_codes
