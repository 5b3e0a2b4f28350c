"""A few of the kills of killed_windows.py, which can do any number of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("killed_windows.py")


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--asset"]], ids=["file", "asset"])
def test_files_and_records_survive_kills(options: list[str]) -> None:
    command = [sys.executable, PROGRAM, "--kills", "12", "--seed", "7", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "kills in" in done.stdout
