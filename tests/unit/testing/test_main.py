"""The mock server as a process, controlled from outside."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from airflow_provider_portkey import testing
from airflow_provider_portkey.testing import Clock, PortkeyMockServer
from airflow_provider_portkey.testing.__main__ import add_demo_jobs, parse_options

ROOT = Path(testing.__file__).parents[2]
KEY = {"Authorization": "x"}


@contextmanager
def process(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the mock server, and return the process and its URL."""
    command = [sys.executable, "-m", "airflow_provider_portkey.testing", *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True) as running:
        try:
            assert running.stdout is not None
            yield running, running.stdout.readline().split()[-1]
        finally:
            running.kill()


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_its_url_and_stops_at_a_signal(end: signal.Signals) -> None:
    with process("--thread", "t/1", "--run", "r", "--seconds", "0", "--steps", "3") as (running, url):
        run = requests.get(f"{url}/threads/t%2F1/runs/r", headers=KEY, timeout=5).json()
        assert (run["status"], run["usage"]["total_tokens"]) == ("completed", 75)
        running.send_signal(end)
        out, err = running.communicate(timeout=10)
    assert (running.returncode, out, err) == (0, "", "")


def test_another_process_may_control_it() -> None:
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


def test_the_demo_has_jobs_of_several_kinds(mock_server: PortkeyMockServer, call: Any, clock: Clock) -> None:
    add_demo_jobs(mock_server, parse_options(["--seconds", "4"]))
    paths = ("/threads/thread_demo/runs/run_demo", "/responses/response_demo", "/batches/batch_demo")
    paths += ("/fine_tuning/jobs/job_demo",)
    statuses = [call("GET", path)["status"] for path in paths]
    assert statuses == ["queued", "queued", "validating", "validating_files"]
    clock.now += 4
    assert [call("GET", path)["status"] for path in paths] == ["completed", "completed", "completed", "succeeded"]


def run_to_its_end(*arguments: str) -> tuple[int, str, list[str]]:
    """Run a process that must not keep running; return its exit code, its output and the lines of its errors."""
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr.splitlines()


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, output, errors = run_to_its_end("-m", "airflow_provider_portkey.testing", "--port", str(port))
    assert (code, output) == (1, "")
    assert errors == [f"Port {port} of 127.0.0.1 cannot be used: Address already in use."]


@pytest.mark.parametrize("module", ["uvicorn", "starlette", "python_multipart"])
def test_a_missing_extra_is_named(module: str) -> None:
    program = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from airflow_provider_portkey.testing.__main__ import main\n"
        "main([])"
    )
    code, output, errors = run_to_its_end("-c", program)
    assert (code, output) == (1, "")
    assert errors == [f"The module {module} is missing: pip install 'airflow-provider-portkey[testing]' brings it."]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--prot", "1"], "unrecognized arguments: --prot 1"),
        (["--port", "65536"], "--port has to be 0 to 65535, and --seconds and --steps 0 or more"),
        (["--port", "http"], "argument --port: invalid int value: 'http'"),
        (["--seconds", "-1"], "--port has to be 0 to 65535, and --seconds and --steps 0 or more"),
        (["--seconds", "nan"], "--port has to be 0 to 65535, and --seconds and --steps 0 or more"),
        (["--steps", "1.5"], "argument --steps: invalid int value: '1.5'"),
        (["--start", "later"], "argument --start: invalid choice: 'later'"),
    ],
)
def test_an_invalid_option_is_named(capsys: pytest.CaptureFixture[str], options: list[str], error: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse_options(options)
    (line,) = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2
    assert line.startswith(f"python -m airflow_provider_portkey.testing: error: {error}")


def test_importing_the_package_brings_no_server_and_no_airflow() -> None:
    program = (
        "import sys, airflow_provider_portkey.testing as testing\n"
        "assert not {'uvicorn', 'starlette', 'pytest'} & set(sys.modules)\n"
        "testing.fake_context(), testing.Clock()\n"
        "assert not {'uvicorn', 'starlette', 'pytest'} & set(sys.modules)\n"
        "testing.PortkeyMockServer, testing.Fault\n"
        "assert 'uvicorn' in sys.modules and not {'airflow', 'pytest'} & set(sys.modules)\n"
        "others = {name for name in sys.modules if name.startswith('airflow_provider_portkey.')}\n"
        "assert all(name.startswith('airflow_provider_portkey.testing') for name in others), others\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=20)
