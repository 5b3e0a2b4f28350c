"""A thousand deferred waits in a real triggerer, beside a trigger that polls in threads."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS, AIRFLOW_V_3_1_PLUS

HERE = Path(__file__).parent
#: The triggerer of Airflow 3.0 hands back about one event a second.
WAITS = 1000 if AIRFLOW_V_3_1_PLUS else 100
#: Seconds between two polls, and until the runs have completed.
INTERVAL, SECONDS = 10, 45


@pytest.fixture
def provider() -> Iterator[str]:
    """URL of a provider in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.provider"]
    with subprocess.Popen(command, cwd=HERE.parents[1], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


@pytest.fixture
def airflow(provider: str, tmp_path: Path) -> dict[str, str]:
    """The environment of an Airflow of its own."""
    extra = {"provider": "openai", "provider_api_key": "provider-key"}
    connection = {"conn_type": "portkey", "host": f"{provider}/v1", "password": "portkey-key", "extra": extra}
    settings = {
        "CORE__DAGS_FOLDER": str(HERE / "triggerer"),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__UNIT_TEST_MODE": "False",
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db",
        "API_AUTH__JWT_SECRET": "x" * 64,
    }
    return {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path),
        "PYTHONPATH": str(HERE / "triggerer"),
        "AIRFLOW_CONN_PORTKEY_DEFAULT": json.dumps(connection),
        **{f"AIRFLOW__{name}": value for name, value in settings.items()},
    }


def events_by_number(database: Path) -> dict[int, str]:
    """Return the events of the waits that the triggerer has handed back to the scheduler, by their numbers."""
    with closing(sqlite3.connect(database, timeout=60)) as connection:
        rows = connection.execute("SELECT map_index, next_kwargs FROM task_instance WHERE state = 'scheduled'")
        return dict(rows)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not AIRFLOW_V_3_0_PLUS, reason="the tasks are put into the database as Airflow 3 has them there")
def test_a_real_triggerer_serves_a_thousand_waits(airflow: dict[str, str], provider: str, tmp_path: Path) -> None:
    for command in (
        ["-m", "airflow", "db", "migrate"],
        [str(HERE / "triggerer" / "many_waits.py"), provider, str(WAITS), str(INTERVAL), str(SECONDS)],
    ):
        done = subprocess.run([sys.executable, *command], env=airflow, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    log = tmp_path / "triggerer.log"
    command = [sys.executable, "-m", "airflow", "triggerer", "--skip-serve-logs", "--capacity", str(WAITS + 1)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=airflow, stdout=output, stderr=output, start_new_session=True)
    try:
        while len(served := events_by_number(tmp_path / "airflow.db")) < WAITS + 1:
            assert process.poll() is None, log.read_text()
            time.sleep(0.5)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    assert "completed" in served.pop(WAITS)
    assert all("succeeded" in kwargs for kwargs in served.values())
