"""The files of docs/testing-your-dags.md pass as they are, in a folder of their own."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.docs.blocks import ROOT, blocks

PAGE = ROOT / "docs" / "testing-your-dags.md"
#: A file's name in a line of its own, before its block.
_FILE = re.compile(r"^`([\w/]+\.py)`:\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_files_of_the_page_pass(shell_environ, tmp_path):
    files = dict(_FILE.findall(PAGE.read_text()))
    assert set(files) == {"dags/portkey_smallest.py", "conftest.py", "test_portkey_smallest.py"}
    for name, code in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(code)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."]
    done = subprocess.run(command, cwd=tmp_path, env=shell_environ, capture_output=True, text=True, check=False)
    assert re.search(r"^4 passed", done.stdout, re.MULTILINE), done.stdout + done.stderr


def test_the_other_blocks_run():
    files = _FILE.findall(PAGE.read_text())
    others = [block for block in blocks("python", PAGE) if block.code not in {code for _, code in files}]
    assert len(others) >= 2
    names: dict[str, object] = {}
    for block in others:
        exec(compile(block.code, str(block), "exec"), names)
