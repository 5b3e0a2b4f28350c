from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from dev.pythons import find_python

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def test_a_python_on_the_path_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / f"python{VERSION}").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_python(VERSION) == tmp_path / f"python{VERSION}"


def test_a_shim_that_runs_nothing_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shim = tmp_path / "shims" / f"python{VERSION}"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\necho 'command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    python = tmp_path / "versions" / f"{VERSION}.1" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    monkeypatch.setenv("PATH", os.pathsep.join([str(shim.parent), os.defpath]))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert find_python(VERSION) == python


def test_without_that_python_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert find_python("2.3") is None
