"""The run over every Airflow and Python, without running them."""

from __future__ import annotations

import pytest

from dev import versions
from dev.environments import AIRFLOW_VERSIONS
from dev.steps import StepFailedError
from dev.versions import Outcome, combinations, main, table, write


def junit(tests: int, *, failures: int = 0, errors: int = 0, skipped: int = 0) -> str:
    counts = f'tests="{tests}" failures="{failures}" errors="{errors}" skipped="{skipped}"'
    return f'<testsuites><testsuite name="pytest" {counts}/></testsuites>'


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """The commands that were run; each writes the report of a run, or none."""
    run: list[list[str]] = []
    reports = {"2.11": junit(8, skipped=1), "3.3": junit(8, failures=1, errors=1), "3.2": None}

    def run_logged(command, **_options):
        run.append(command)
        report = reports.get(command[command.index("--airflow") + 1], junit(8))
        if report is None:
            raise StepFailedError("pip exited with 1.")
        (path,) = [each.partition("=")[2] for each in command if each.startswith("--junitxml=")]
        with open(path, "w") as file:
            file.write(report)

    monkeypatch.setattr(versions, "LOGS", tmp_path)
    monkeypatch.setattr(versions, "run_logged", run_logged)
    monkeypatch.setattr(versions, "find_python", lambda version: None if version == "3.13" else f"/bin/python{version}")
    return run


def test_every_lock_is_run_on_each_python_that_its_airflow_allows():
    pairs = list(combinations(None, None))
    assert tuple(dict.fromkeys(airflow for airflow, _ in pairs)) == AIRFLOW_VERSIONS
    assert ("2.11", "3.13") not in pairs
    assert list(combinations("3.3", None)) == [("3.3", "3.11"), ("3.3", "3.12"), ("3.3", "3.13")]
    assert list(combinations("2.11", "3.12")) == [("2.11", "3.12")]


def test_the_outcome_is_what_the_report_says(commands, monkeypatch, tmp_path):
    pages = [tmp_path / "page.md", tmp_path / "other.md"]
    for page in pages:
        page.write_text("# Page\n<!-- versions -->\nold\n<!-- /versions -->\nend\n")
    monkeypatch.setattr(versions, "PAGES", pages)
    assert main(airflow=None, python=None, tests=()) == 1
    assert commands[1][:6] == ["/bin/python3.11", "-m", "dev", "test", "--airflow", "2.11"]
    assert versions.TESTS[0] in commands[1]
    text = pages[1].read_text()
    assert text == pages[0].read_text()
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    assert rows["2.11.2"] == "| 2.11.2 | passed (7) | passed (7) |  |"
    assert rows["3.3.2"] == "| 3.3.2 | 2 of 8 failed | 2 of 8 failed | not installed here |"
    assert rows["3.2.2"] == "| 3.2.2 | no tests ran | no tests ran | not installed here |"
    assert "2.11.0, oldest dependencies allowed" in rows
    assert "old\n" not in text
    assert text.endswith("<!-- /versions -->\nend\n")


def test_a_part_of_the_matrix_writes_no_page(commands, monkeypatch, tmp_path):
    monkeypatch.setattr(versions, "PAGES", [tmp_path / "absent.md"])
    assert main(airflow="2.11", python="3.11", tests=["tests/unit", "-x"]) == 0
    assert commands[0][6:8] == ["tests/unit", "-x"]


def test_a_pair_that_does_not_exist_gets_one_sentence(commands):
    with pytest.raises(StepFailedError, match=r"Airflow 2.11 does not run on Python 3.13"):
        main(airflow="2.11", python="3.13", tests=())
    assert commands == []


def test_the_table_has_a_cell_for_each_pair():
    outcomes = [Outcome("3.3", "3.11", "passed (8)"), Outcome("3.3", "3.12", "1 of 8 failed")]
    assert table(outcomes).splitlines()[-1] == "| 3.3.2 | passed (8) | 1 of 8 failed |"
    assert [each.passed for each in outcomes] == [True, False]


def test_a_page_without_the_marks_stays_as_it_is(monkeypatch, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Page\n")
    monkeypatch.setattr(versions, "PAGES", [page])
    write("| a |\n")
    assert page.read_text() == "# Page\n"
