"""What this provider gives Airflow to store, in a real PostgreSQL, with a real triggerer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_portkey.jobs.run import RUN
from airflow_provider_portkey.json_values import storable
from airflow_provider_portkey.polling.events import FAILED, make_event
from airflow_provider_portkey.testing import PortkeyMockServer

DAGS = Path(__file__).parent / "postgresql"

#: As servers sent them; the shapes are those of public bug reports.
TEXT = "bad byte \0 and half an emoji \ud83d in the tool's output"
SHOWN = "bad byte \\u0000 and half an emoji \\ud83d in the tool's output"
ODD_RUN = {
    "id": "run_odd",
    "object": "thread.run",
    "thread_id": "thread_1",
    "assistant_id": "asst_1",
    "status": "failed",
    "created_at": 1_763_900_000,
    "last_error": {"code": "server_error", "message": TEXT},
    "metadata": {"note": "a\0b", "\ud83d": "key"},
    "temperature": float("nan"),
    "top_p": float("inf"),
}
STEPS = {
    "object": "list",
    "data": [
        {
            "id": "step_1",
            "object": "thread.run.step",
            "type": "tool_calls",
            "status": "completed",
            "step_details": {"type": "tool_calls", "scores": [float("nan"), float("-inf"), 0.5], "text": TEXT},
        }
    ],
    "first_id": "step_1",
    "last_id": "step_1",
    "has_more": False,
}


@pytest.fixture
def query(postgresql: str) -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
    """Run a statement."""
    import psycopg2

    connection = psycopg2.connect(f"postgresql://{postgresql}")
    connection.autocommit = True

    def run(statement: str, *values: object) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    yield run
    connection.close()


@pytest.mark.parametrize(
    "value", ["\0", "\ud83d", "\ude00\ud83d", float("nan"), float("inf"), float("-inf"), {"\0": 1}]
)
def test_what_jsonb_refuses_it_takes_after_storable(query: Any, value: Any) -> None:
    import psycopg2

    with pytest.raises(psycopg2.DatabaseError):
        query("SELECT %s::jsonb", json.dumps([value]))

    ((stored,),) = query("SELECT %s::jsonb", json.dumps(storable([value])))

    assert stored == storable([value])


def test_an_event_of_an_odd_run_is_stored_with_a_readable_reason(query: Any) -> None:
    event = make_event(RUN, FAILED, f"It failed: {TEXT}", "failed", ODD_RUN, None)

    ((stored,),) = query("SELECT %s::jsonb", json.dumps(event))

    assert stored == event
    assert SHOWN in stored["message"]
    assert stored["job"]["metadata"] == {"note": "a\\u0000b", "\\ud83d": "key"}
    ((text,),) = query("SELECT %s::text", event["message"])
    assert text == event["message"]


@pytest.fixture
def mock_server() -> Iterator[PortkeyMockServer]:
    with PortkeyMockServer() as mock_server:
        mock_server.add_run(thread_id="thread_1", run_id="run_fine", statuses="completed")
        completed = ODD_RUN | {"id": "run_1", "status": "completed"}
        listed = {"object": "list", "first_id": "run_2", "last_id": "run_2", "has_more": False}
        active, failed = (
            {**ODD_RUN, "id": "run_2", "thread_id": "thread_2", "created_at": int(time.time())} for _ in "ab"
        )
        active["status"] = "in_progress"
        for path, body, times in (
            ("*/runs/run_1/steps", STEPS, None),
            ("*/runs/run_1", completed, None),
            ("*/runs/run_odd", ODD_RUN, None),
            ("*/threads/thread_2/runs", {**listed, "data": [active]}, 1),
            ("*/threads/thread_2/runs", {**listed, "data": [failed]}, None),
        ):
            mock_server.fault(body=json.dumps(body), content_type="application/json", path=path, times=times)
        yield mock_server


@pytest.fixture
def airflow(postgresql: str, mock_server: PortkeyMockServer, tmp_path: Path) -> dict[str, str]:
    """The environment of an Airflow whose metadata database is PostgreSQL."""
    settings = {
        "CORE__DAGS_FOLDER": str(DAGS),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__UNIT_TEST_MODE": "False",
        "DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{postgresql}",
        "API_AUTH__JWT_SECRET": "x" * 64,
        "TRIGGERER__DEFAULT_CAPACITY": "10",
    }
    return {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path),
        "EXPORTED": str(tmp_path / "steps.jsonl"),
        "AIRFLOW_CONN_PORTKEY_DEFAULT": json.dumps(mock_server.connection()),
        **{f"AIRFLOW__{name}": value for name, value in settings.items()},
    }


def airflow_run(env: dict[str, str], *arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def triggerer(airflow: dict[str, str], tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Start a triggerer; afterwards end it."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        with (tmp_path / "triggerer.log").open("wb") as log:
            command = [sys.executable, "-m", "airflow", "triggerer", "--skip-serve-logs"]
            process = subprocess.Popen(command, env=airflow, stdout=log, stderr=log, start_new_session=True)
        started.append(process)
        return process

    yield start
    for process in started:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.skipif(not AIRFLOW_V_3_0_PLUS, reason="one of its DAGs has an asset watcher, which Airflow 2 has not")
@pytest.mark.timeout(600)
def test_airflow_on_postgresql_stores_odd_values_and_its_triggerer_continues(
    airflow: dict[str, str], query: Any, triggerer: Any, tmp_path: Path
) -> None:
    airflow_run(airflow, "-m", "airflow", "db", "migrate")
    *_, printed = airflow_run(airflow, str(DAGS / "dags.py")).splitlines()

    states, xcoms = {}, {}
    for name, (state, value) in json.loads(printed).items():
        states[name], xcoms[name] = state.rpartition(".")[2].lower(), value
    assert set(states.values()) == {"success"}, states
    for name in ("poked", "deferred", "cancelled"):
        assert xcoms[name]["last_error"]["message"] == SHOWN, name
        assert (xcoms[name]["metadata"]["note"], xcoms[name]["temperature"]) == ("a\\u0000b", None)
    assert xcoms["steps"][0]["step_details"] == {"type": "tool_calls", "scores": [None, None, 0.5], "text": SHOWN}
    assert xcoms["exported"]["non_finite_values"] == 2

    process = triggerer()

    def resumed() -> dict[str, Any]:
        rows = query("SELECT task_id, next_kwargs::text FROM task_instance WHERE state = 'scheduled'")
        return dict(rows)

    def events() -> list[tuple[Any, ...]]:
        return query("SELECT extra::text FROM asset_event")

    while len(resumed()) < 2 or not events():
        assert process.poll() is None, (tmp_path / "triggerer.log").read_text()
        time.sleep(0.5)
    assert "\\\\u0000" in resumed()["poked"]
    assert "run_fine" in resumed()["deferred"]
    ((event,),) = events()
    assert json.loads(event)["payload"]["last_error"]["message"] == SHOWN
    assert process.poll() is None
