"""Every command of a shell block is run, but for those that install something."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from urllib.request import urlopen

import pytest

from airflow_provider_portkey.hooks.connection import to_settings
from airflow_provider_portkey.testing import PortkeyMockServer
from tests.docs.blocks import ROOT, Block, blocks

#: Run with the page's own environment by test_quickstart.py.
QUICKSTART = "docs/quickstart.md"
#: What would install something: the smoke test of the wheel (`python3 -m dev smoke`) installs a wheel of this project.
INSTALLS = ("pip install .", "pip install '.[testing]'", "pip install 'apache-airflow-providers-amazon[s3fs]'")


def lines_of(block: Block) -> list[str]:
    """The commands of a block; a quoted line break continues one."""
    commands, pending = [], ""
    for line in block.code.splitlines():
        pending += line
        try:
            shlex.split(pending)
        except ValueError:
            pending += "\n"
            continue
        commands.append(pending)
        pending = ""
    assert not pending, f"{block}: a quote is open"
    return commands


COMMANDS = [
    pytest.param(command, id=str(block))
    for block in blocks("shell")
    if block.page != QUICKSTART
    for command in lines_of(block)
    if command not in INSTALLS
]


def bash(command: str, env: dict[str, str], folder: Path) -> str:
    done = subprocess.run(
        ["bash", "-ec", command], env=env, cwd=folder, text=True, capture_output=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_does_what_the_page_says(command, shell_environ, tmp_path):
    if name := re.match(r"export (AIRFLOW_CONN_\w+)=", command):
        fields_of(bash(f"{command}\nprintenv {name[1]}", shell_environ, tmp_path).rstrip("\n"), name[1])
        return
    with PortkeyMockServer() as server:
        env = shell_environ | {"AIRFLOW_CONN_PORTKEY_DEFAULT": json.dumps(server.connection())}
        server.add_run(thread_id="thread_demo", run_id="run_demo", statuses="completed")
        if command.startswith("curl "):
            there = command.replace("http://127.0.0.1:8765", server.url.removesuffix("/v1"))
            json.loads(bash(there.replace("curl ", "curl -fsS "), env, tmp_path))
        elif command.startswith("airflow "):
            env |= {"AIRFLOW__CORE__TEST_CONNECTION": "Enabled", "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
            env["AIRFLOW__CORE__DAGS_FOLDER"] = str(ROOT / "example_dags")
            env["PORTKEY_EXAMPLE_EXPORTS"] = str(tmp_path / "exports")
            printed = bash(f"airflow db migrate && {command}", env, tmp_path)
            assert "Connection success!" in printed or not command.startswith("airflow connections test")
        else:
            assert_mock_server_starts(command, env)


def assert_mock_server_starts(command: str, env: dict[str, str]) -> None:
    """Start the mock server as on the page, on any free port, and send one request."""
    arguments = shlex.split(command.replace("--port 8765", "--port 0"))
    assert arguments[:3] == ["python", "-m", "airflow_provider_portkey.testing"]
    with subprocess.Popen(arguments, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = re.match(r"Portkey mock server ready: (http://127.0.0.1:\d+)/v1\n", process.stdout.readline())
            assert ready
            with urlopen(f"{ready[1]}/_mock_server/requests") as response:
                assert response.status == 200
        finally:
            process.terminate()


def fields_of(value: str, name: str) -> None:
    """Read a connection as Airflow and the hook do."""
    from airflow.models import Connection

    connection = Connection.from_json(value) if value.startswith("{") else Connection(uri=value)
    assert name.startswith("AIRFLOW_CONN_")
    # What is not Portkey's is a store's connection, and the one that a reader moves away from.
    assert connection.conn_type == {"AIRFLOW_CONN_AWS_EXPORTS": "aws", "AIRFLOW_CONN_OLD": "http"}.get(name, "portkey")
    if connection.conn_type == "portkey":
        assert to_settings(connection).base_url
