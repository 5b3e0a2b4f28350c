"""The mock server as a process of its own, scripted from outside."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from airflow_provider_portkey import testing
from airflow_provider_portkey.testing import PortkeyMockServer

ROOT = Path(testing.__file__).parents[2]
KEY = {"Authorization": "x"}


@contextmanager
def process(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the mock server, and give the process and its URL."""
    command = [sys.executable, "-m", "airflow_provider_portkey.testing", *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True) as running:
        try:
            assert running.stdout is not None
            yield running, running.stdout.readline().split()[-1]
        finally:
            running.kill()


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_is_and_ends_when_told(end: signal.Signals) -> None:
    with process("--thread", "t/1", "--run", "r", "--seconds", "0", "--steps", "3") as (running, url):
        run = requests.get(f"{url}/threads/t%2F1/runs/r", headers=KEY, timeout=5).json()
        assert (run["status"], run["usage"]["total_tokens"]) == ("completed", 75)
        running.send_signal(end)
        out, err = running.communicate(timeout=10)
    assert (running.returncode, out, err) == (0, "", "")


def test_another_process_may_script_it() -> None:
    with process("--allow-anonymous") as (_, url):
        control = url.removesuffix("/v1") + "/_mock_server"
        demo = requests.get(f"{url}/threads/thread_demo/runs/run_demo", timeout=5).json()
        assert demo["status"] == "queued"
        added = requests.post(
            f"{control}/runs", json={"thread_id": "t", "run_id": "r", "statuses": [["failed", 0]]}, timeout=5
        ).json()
        assert requests.get(f"{url}/threads/t/runs/r", timeout=5).json() == added
        assert added["status"] == "failed"
        requests.post(f"{control}/faults", json={"status": 418, "path": "*/models"}, timeout=5)
        assert requests.get(f"{url}/models", timeout=5).status_code == 418
        recorded = requests.get(f"{control}/requests", timeout=5).json()
    assert [request["path"] for request in recorded] == [
        "/v1/threads/thread_demo/runs/run_demo",
        "/v1/threads/t/runs/r",
        "/v1/models",
    ]


def test_a_script_that_makes_no_sense_is_refused() -> None:
    with PortkeyMockServer() as mock_server:
        for room, body in (
            ("faults", '{"stauts": 500}'),
            ("faults", '{"times": 0}'),
            ("faults", "nonsense"),
            ("runs", "{}"),
            ("runs", '{"thread_id": "t", "statuses": []}'),
        ):
            url = f"{mock_server.url.removesuffix('/v1')}/_mock_server/{room}"
            refused = requests.post(url, data=body, timeout=5)
            assert refused.status_code == 400, body
            assert refused.json()["error"]["type"] == "invalid_request_error"
        assert mock_server.requests == []


def test_importing_the_package_brings_no_server_and_no_airflow() -> None:
    program = (
        "import sys, airflow_provider_portkey.testing as testing\n"
        "assert not {'uvicorn', 'starlette', 'pytest'} & set(sys.modules)\n"
        "testing.PortkeyMockServer, testing.Fault\n"
        "assert 'uvicorn' in sys.modules and not {'airflow', 'pytest'} & set(sys.modules)\n"
        "others = {name for name in sys.modules if name.startswith('airflow_provider_portkey.')}\n"
        "assert all(name.startswith('airflow_provider_portkey.testing') for name in others), others\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=20)
