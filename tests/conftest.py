"""What all tests share. Airflow reads its environment when it is imported, so its home is made first."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

_HOME = tempfile.mkdtemp(prefix="portkey-tests-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
for _name in [name for name in os.environ if name.startswith(("AIRFLOW", "PORTKEY"))]:
    del os.environ[_name]
os.environ.update(
    AIRFLOW_HOME=_HOME,
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    # No process lingers after its deferral here.
    AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL="0",
    AIRFLOW__CORE__DAGS_FOLDER=str(Path(__file__).parents[1] / "example_dags"),
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{_HOME}/airflow.db",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-docs", action="store_true", help="write the pages that are made from the code")
    parser.addoption("--update-screenshots", action="store_true", help="write the pictures of the docs")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser without a window; of Playwright."""
    # For one file at a time: while it is open, its event loop runs in the thread of the tests.
    from tests.chromium import open_chromium

    with open_chromium() as browser:
        yield browser


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests for several processes."""
    from tests.scheduling import long_first

    long_first(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Assign whole files to the processes of ``-n``."""
    from tests.scheduling import FileScheduling

    return FileScheduling(config, log)


@pytest.fixture(scope="session")
def airflow_home() -> str:
    """The temporary folder that Airflow takes for its home."""
    return _HOME


@pytest.fixture
def portkey_connection(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set the connection ``portkey_default`` at once; call the fixture with other fields to set another."""

    def set_to(*, extra: dict[str, Any] | None = None, **fields: Any) -> None:
        connection = {"conn_type": "portkey", "host": "https://portkey.test/v1", "password": "pk-test-secret"}
        connection |= {"extra": {"provider": "@openai-prod"} if extra is None else extra} | fields
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(connection))

    set_to()
    return set_to


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits before the retries of the sync client; none of them is slept."""
    requested: list[float] = []
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=requested.append))
    return requested


@pytest.fixture
def serve_list(requests_mock: Any) -> Callable[..., Any]:
    """Serve items, given oldest first, below ``https://portkey.test/v1`` and page them as Portkey does."""

    def serve(path: str, items: list[dict[str, Any]]) -> Any:
        def respond(request: Any, context: Any) -> dict[str, Any]:
            query = parse_qs(urlsplit(request.url).query)
            ordered = items if query.get("order") == ["asc"] else items[::-1]
            ids = [item["id"] for item in ordered]
            start = ids.index(query["after"][0]) + 1 if "after" in query else 0
            page = ordered[start : start + int(query["limit"][0])]
            return {
                "object": "list",
                "data": page,
                "first_id": page[0]["id"] if page else None,
                "last_id": page[-1]["id"] if page else None,
                "has_more": start + len(page) < len(items),
            }

        return requests_mock.get(f"https://portkey.test/v1{path}", json=respond)

    return serve


@pytest.fixture
def task_context() -> Callable[..., dict[str, Any]]:
    """Make the context of a task, with a task state store as on Airflow 3.3 and newer, or without one."""

    from airflow_provider_portkey.testing import TaskStateStore

    def make(*, store: bool = True, **changes: Any) -> dict[str, Any]:
        values = {"dag_id": "dag", "task_id": "task", "run_id": "run", "map_index": -1, "try_number": 1, "max_tries": 2}
        ti = SimpleNamespace(**(values | changes), get_first_reschedule_date=lambda context: None)
        return {"ti": ti, "task_state_store": TaskStateStore()} if store else {"ti": ti}

    return make


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Airflow's Variables, as far as they are used: the JSON of each by its key."""
    from airflow.providers.common.compat.sdk import Variable

    found: dict[str, str] = {}

    def get(key: str, default: Any, deserialize_json: bool) -> Any:
        assert deserialize_json
        return json.loads(found[key]) if key in found else default

    def put(key: str, value: Any, serialize_json: bool) -> None:
        assert serialize_json
        found[key] = json.dumps(value)

    monkeypatch.setattr(Variable, "get", get)
    monkeypatch.setattr(Variable, "set", put)
    monkeypatch.setattr(Variable, "delete", lambda key: found.pop(key, None))
    return found


@pytest.fixture
def without_reschedules(monkeypatch: pytest.MonkeyPatch) -> None:
    """No task was rescheduled before; Airflow 2 would query its database."""
    from airflow.providers.common.compat.sdk import BaseSensorOperator

    for name in ("_orig_start_date", "_is_metadatabase_mysql"):
        monkeypatch.setattr(f"{BaseSensorOperator.__module__}.{name}", lambda **_: None, raising=False)


@pytest.fixture
def stored_dag(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
    """Write a DAG as Airflow's database holds it, and read it as a web server does."""
    try:
        from airflow.serialization.serialized_objects import DagSerialization
    except ImportError:  # before Airflow 3.2
        from airflow.serialization.serialized_objects import SerializedDAG as DagSerialization

    # Airflow turns this off for the whole process when anything in it clears a task; a web server has it on.
    monkeypatch.setattr(DagSerialization, "_load_operator_extra_links", True)
    return lambda dag: DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag))))


@pytest.fixture
def memory_store() -> Iterator[str]:
    """The URL of an object store in memory, for ``ObjectStoragePath``; emptied afterwards."""
    from fsspec.implementations.memory import MemoryFileSystem

    try:
        from airflow.sdk.io import attach
    except ImportError:
        from airflow.io.store import attach

    attach("memory", fs=MemoryFileSystem())
    yield "memory://portkey-tests"
    MemoryFileSystem.store.clear()
