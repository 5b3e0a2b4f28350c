"""The whole path for real: the mock server as provider, Portkey's own gateway, Airflow with scheduler and triggerer."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_portkey.testing import PortkeyMockServer
from dev.gateway import Gateway
from dev.waiting import DEFAULT_TIMEOUT
from tests import services
from tests.e2e.breakable import BreakableAirflow

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
#: Seconds that one wait may last although everything lives and moves.
TIMEOUT = float(os.environ.get("E2E_TIMEOUT", DEFAULT_TIMEOUT))
#: Unlike every other string in a log or a database.
PORTKEY_KEY = "pk-e2e-7f3a9c51d2e84b06"
PROVIDER_KEY = "sk-e2e-c0ffee5e17beef42"
#: What the nightly example exports; its first run is older than every night of the tests.
NIGHTLY_THREAD = "thread_nightly"
NIGHTLY_THREAD_SINCE = 1_700_000_000
#: A batch that was created twenty hours ago, before all others, and is active.
OLD_BATCH = "batch_of_twenty_hours"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of these tests are slow. Their waits have their own limits; a far longer one ends a wait that has none."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(6 * TIMEOUT))
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="package")
def provider() -> Iterator[PortkeyMockServer]:
    with PortkeyMockServer() as provider:
        created_at = int(time.time()) - 20 * 3600
        provider.add_batch(
            batch_id=OLD_BATCH, created_at=created_at, statuses="in_progress", metadata={"test": "events"}
        )
        yield provider


@pytest.fixture(scope="package")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(log=tmp_path_factory.mktemp("gateway") / "gateway.log", timeout=TIMEOUT) as gateway:
        yield gateway


@pytest.fixture(scope="package")
def connection(provider: PortkeyMockServer, gateway: Gateway) -> dict[str, Any]:
    """The connection to the provider through the gateway."""
    extra = {"provider": "openai", "provider_api_key": PROVIDER_KEY, "custom_host": provider.url}
    return {"conn_type": "portkey", "host": gateway.url, "password": PORTKEY_KEY, "extra": extra}


@pytest.fixture(scope="package")
def postgresql() -> Iterator[str]:
    with services.postgresql() as address:
        yield address


@pytest.fixture(scope="package")
def airflow(
    connection: dict[str, Any], provider: PortkeyMockServer, postgresql: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BreakableAirflow]:
    folder = tmp_path_factory.mktemp("airflow")
    # The nightly example exports the last night as soon as Airflow has parsed it.
    provider.add_run(thread_id=NIGHTLY_THREAD, created_at=NIGHTLY_THREAD_SINCE)
    dags = folder / "dags"
    # Without the scheduled one, which would start at once.
    shutil.copytree(ROOT / "example_dags", dags, ignore=shutil.ignore_patterns("*scheduled*"))
    shutil.copytree(HERE / "dags", dags, dirs_exist_ok=True)
    # Seconds after which Airflow believes that a part is gone; its own defaults are made for slow networks.
    settings = {
        # A SQLite that is locked ends the scheduler.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{postgresql}",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "10",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "2",
        # Each step of a task waits for the scheduler's next loop.
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6",
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
        # How long a person may think, and how often the scheduler checks that time.
        "PORTKEY_EXAMPLE_APPROVAL_SECONDS": "90",
        "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "2",
        "PORTKEY_EXAMPLE_THREAD_ID": NIGHTLY_THREAD,
        "PORTKEY_EXAMPLE_EXPORTS": str(folder / "exports"),
    }
    home = folder / "home"
    connections = {"portkey_default": connection, "portkey_direct": connection | {"host": provider.url}}
    with BreakableAirflow(
        home, dags_folder=dags, connections=connections, settings=settings, timeout=TIMEOUT, grace=3.0
    ) as airflow:
        for dag_id in ("portkey_gate_and_export", "portkey_steps_to_xcom", "wait_deferred", "export", "response_poked"):
            airflow.wait_for_dag(dag_id)
        yield airflow
