"""The quickstart, step by step as on the page; what the page shows is compared with what was printed."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.processes import free_ports
from tests.docs.blocks import ROOT, Block, blocks

PAGE = ROOT / "docs" / "quickstart.md"
OUTPUT = Path("/tmp/portkey")
pytestmark = pytest.mark.slow


def shell_blocks() -> dict[str, Block]:
    """The page's shell blocks by their first word or two."""
    return {" ".join(block.code.split()[:4]): block for block in blocks("shell", PAGE)}


def only(prefix: str) -> str:
    (found,) = [block.code for name, block in shell_blocks().items() if name.startswith(prefix)]
    return found


def shape(line: str) -> str:
    """A line without its figures, which are those of the reader's machine; rows and bytes are the same on each."""
    return line if re.search(r"\d+ rows \(\d+ bytes\)", line) else re.sub(r"\d+(\.\d+)?", "0", line)


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture
def mock_server(shell_environ, port) -> Iterator[str]:
    command = only("python -m airflow_provider_portkey.testing").replace("8765", str(port))
    with subprocess.Popen(command.split(), env=shell_environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline()
        finally:
            process.terminate()


def test_the_page(mock_server, port, shell_environ, tmp_path):
    shown = [block.code for block in blocks("", PAGE)]
    assert shape(mock_server) == shape(shown[0])
    (dags,) = blocks("python", PAGE)
    output = tmp_path / "output"
    script = "\n".join(
        [
            "set -eu",
            only("export AIRFLOW_HOME").replace("8765", str(port)),
            'cp "$DAGS" "$AIRFLOW_HOME/dags/portkey_quickstart.py"',
            only("airflow dags test quickstart_response"),
            only("airflow dags test quickstart_run"),
        ]
    )
    file = tmp_path / "portkey_quickstart.py"
    file.write_text(dags.code.replace(str(OUTPUT), str(output)))
    env = shell_environ | {"DAGS": str(file)}
    done = subprocess.run(
        ["bash", "-c", script], env=env, cwd=tmp_path, text=True, capture_output=True, timeout=280, check=False
    )
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    assert "Connection success!" in printed
    for log in (shown[1], shown[2]):
        for line in log.replace(str(OUTPUT), str(output)).splitlines():
            assert any(shape(line) in shape(one) for one in printed.splitlines()), line
    (row,) = shown[3].splitlines()
    assert shape(row) == shape((output / "steps.csv").read_text().splitlines()[1])
    assert len((output / "items.jsonl").read_text().splitlines()) == 3


def test_the_commands_with_a_scheduler_name_dags_of_the_page(shell_environ):
    (dags,) = blocks("python", PAGE)
    for command in only("airflow dags unpause").splitlines():
        assert f'dag_id="{command.split()[-1]}"' in dags.code
    assert only("airflow standalone") == "airflow standalone\n"
