"""The command line, where it ends before anything is installed."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from dev import environments
from dev.commands import STOPS, run
from dev.paths import ROOT
from dev.pytest_arguments import pytest_arguments


@pytest.fixture(autouse=True)
def _handlers():
    handlers = {number: signal.getsignal(number) for number in STOPS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_a_file_as_folder_gets_one_sentence(tmp_path, capsys):
    file = tmp_path / "file"
    file.touch()
    assert run(["demo", "--folder", str(file)]) == 1
    assert capsys.readouterr().err == f"FAILED: setting up: --folder {file} is a file, not a folder.\n"


def test_the_arguments_of_pytest_are_left_to_pytest(monkeypatch):
    entered = []
    monkeypatch.setattr(environments, "enter", lambda *arguments: entered.append(arguments) or sys.exit(5))
    with pytest.raises(SystemExit, match="5"):
        run(["test", "--airflow", "2.11", "tests/unit", "-x", "-k", "a or b"])
    assert entered == [(environments.for_tests("2.11"), ["pytest", "tests/unit", "-x", "-k", "a or b"])]


@pytest.mark.parametrize(
    ("given", "added"),
    [
        ([], ["-n", "4"]),
        (["-q"], ["-n", "4"]),
        (["-m", "not slow", "-x"], ["-n", "4"]),
        (["-k", "one or two"], ["-n", "4"]),
        (["tests/unit"], []),
        (["tests/unit/dev/test_commands.py::test_x", "-q"], []),
        (["-n", "2"], []),
        (["-n0"], []),
        (["--pdb"], []),
        (["-s"], []),
        (["--collect-only", "-q"], []),
        (["--capture=no"], []),
    ],
)
def test_the_whole_suite_runs_on_four_processes(given, added):
    assert pytest_arguments(given) == [*added, *given]


def test_an_unknown_argument_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        run(["lint", "--fix"])
    assert "unrecognized arguments: --fix" in capsys.readouterr().err


def test_an_interrupt_ends_with_one_word(monkeypatch, capsys):
    def interrupt(*_: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(environments, "enter", interrupt)
    assert run(["test"]) == 130
    assert capsys.readouterr().err == "\nStopped.\n"


def test_the_command_line_needs_nothing_but_the_standard_library():
    program = "import sys; sys.path.insert(0, '.'); from dev.commands import run; run(['--help'])"
    subprocess.run([sys.executable, "-I", "-S", "-c", program], check=True, capture_output=True, cwd=ROOT)
