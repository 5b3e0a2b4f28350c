"""Windows of one day each, exported from a mock server."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_portkey.testing import AssetStateStore, Clock, PortkeyMockServer
from airflow_provider_portkey.transfers.steps_to_object_storage import PortkeyThreadStepsToObjectStorageOperator

NIGHT = datetime(2025, 11, 21, tzinfo=UTC)
DAY = timedelta(days=1)


class Nights:
    """The windows, by the number of the night: 0 is :data:`NIGHT`."""

    start = NIGHT
    day = DAY

    @staticmethod
    def operator(path: object, **arguments: Any) -> PortkeyThreadStepsToObjectStorageOperator:
        given = {
            "task_id": "export",
            "path": str(path),
            "window_start": NIGHT,
            "window_end": NIGHT + DAY,
            **({} if "thread_ids_path" in arguments else {"thread_ids": ["thread_1"]}),
        }
        return PortkeyThreadStepsToObjectStorageOperator(**{**given, **arguments})

    def export(
        self, path: object, *, night: int = 0, context: dict[str, Any] | None = None, **arguments: Any
    ) -> dict[str, Any]:
        """Export the window of a night and return the manifest."""
        start = NIGHT + night * DAY
        window = {"window_start": start, "window_end": start + DAY}
        return self.operator(path, **{**window, **arguments}).execute(context or {})

    @staticmethod
    def folder(path: Path, night: int = 0, *, kind: str = "") -> Path:
        """Return the folder of a night's files; of one kind, where both kinds are written."""
        return path / kind / f"window_start={NIGHT + night * DAY:%Y%m%dT%H%M%SZ}"

    def run_ids(self, path: Path, night: int = 0, *, thread_id: str = "thread_1") -> list[str]:
        """Return the runs of a thread's file in the order of its rows, each once."""
        lines = (self.folder(path, night) / f"{thread_id}.jsonl").read_text().splitlines()
        return list(dict.fromkeys(json.loads(line)["run_id"] for line in lines))

    @staticmethod
    def files(path: Path) -> dict[str, bytes]:
        """Return every file of the windows."""
        found = path.rglob("window_start=*/*")
        return {str(file.relative_to(path)): file.read_bytes() for file in found if file.is_file()}

    @staticmethod
    def rows(path: Path) -> list[dict[str, Any]]:
        """Return the rows of all jsonl files below a folder."""
        lines = [line for file in sorted(path.rglob("*.jsonl")) for line in file.read_text().splitlines()]
        return [json.loads(line) for line in lines]

    def steps(self, path: Path) -> Counter[tuple[str, str]]:
        """Count the rows of each step."""
        return Counter((row["run_id"], row["id"]) for row in self.rows(path) if "run_id" in row)


@pytest.fixture
def nights() -> Nights:
    return Nights()


@pytest.fixture
def clock() -> Clock:
    """The mock server's clock: five minutes after the night."""
    return Clock((NIGHT + DAY + timedelta(minutes=5)).timestamp())


@pytest.fixture
def mock_server(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Iterator[PortkeyMockServer]:
    with PortkeyMockServer(clock=clock) as mock_server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(mock_server.connection()))
        yield mock_server


@pytest.fixture
def add(mock_server: PortkeyMockServer) -> Callable[..., dict[str, Any]]:
    """Add a run of ``thread_1`` with two steps that is created at an hour of a night."""

    def add_run(run_id: str, *, night: int = 0, hour: float = 12, **run: Any) -> dict[str, Any]:
        created_at = int((NIGHT + night * DAY + timedelta(hours=hour)).timestamp())
        return mock_server.add_run(
            **{"thread_id": "thread_1", "run_id": run_id, "steps": 2, "created_at": created_at, **run}
        )

    return add_run


@pytest.fixture(params=["file", "asset"])
def context(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The place of the records: files, or the state store of an asset."""
    return {} if request.param == "file" else {"asset_state_store": AssetStateStore()}
