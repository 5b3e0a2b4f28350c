"""Export of a window: runs of many threads, one page of steps each, with several requests in flight."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from benchmarks.meter import meter
from benchmarks.row import Bar, Growth, Metric, Row, Setting

#: Seconds until the server responds.
DELAY = 0.05
STEPS = 50
RUNS_OF_A_THREAD = 5


def _connect(setting: Setting, delay: float) -> None:
    extra = {"provider": "openai", "provider_api_key": "key"}
    connection = {"conn_type": "portkey", "host": setting.base_url(delay=delay), "password": "key", "extra": extra}
    os.environ["AIRFLOW_CONN_PORTKEY_DEFAULT"] = json.dumps(connection)


def _measured(setting: Setting, make: Any) -> Mapping[str, float]:
    """Export one run for the warm-up, and all for the measurement."""
    _connect(setting, 0)
    make("warm", 1).execute({})
    _connect(setting, DELAY)
    task = make("rows", setting.size)
    with meter() as used:
        manifest = task.execute({})
    rows = setting.size * STEPS
    assert manifest["rows"] == rows, manifest
    return {
        "seconds": used.seconds,
        "row_us": 1e6 * used.cpu / rows,
        "cpu_s": used.cpu,
        "memory_mb": used.memory_mb,
    }


def _window(setting: Setting, *, in_flight: int) -> Mapping[str, float]:
    from airflow_provider_portkey.transfers.steps_to_object_storage import PortkeyThreadStepsToObjectStorageOperator

    def make(name: str, runs: int) -> PortkeyThreadStepsToObjectStorageOperator:
        runs_of_a_thread = min(runs, RUNS_OF_A_THREAD)
        threads = [f"steps_{STEPS}_{number}_{runs_of_a_thread}" for number in range(runs // runs_of_a_thread)]
        return PortkeyThreadStepsToObjectStorageOperator(
            task_id=name,
            thread_ids=threads,
            path=str(setting.folder / name),
            max_concurrent_requests=in_flight,
            window_start="2026-01-01T00:00:00Z",
            window_end="2026-07-01T00:00:00Z",
        )

    return _measured(setting, make)


def _plain(setting: Setting) -> Mapping[str, float]:
    """Export all steps as those of one run."""
    from airflow_provider_portkey.jobs import RUN_STEPS
    from airflow_provider_portkey.transfers.lists_to_object_storage import PortkeyListToObjectStorageOperator

    def make(name: str, runs: int) -> PortkeyListToObjectStorageOperator:
        return PortkeyListToObjectStorageOperator(
            task_id=name,
            list_spec=RUN_STEPS,
            ids={"thread_id": "thread_1", "run_id": f"run_{runs * STEPS}"},
            path=str(setting.folder / f"{name}.jsonl"),
        )

    return _measured(setting, make)


ROW = Row(
    title="Export of a window",
    what=f"Runs with {STEPS} steps each, {RUNS_OF_A_THREAD} in a thread, every response after {DELAY * 1000:.0f} ms: "
    "8 requests at once, 16, or one. The plain export writes as many steps of one run, 100 a page.",
    unit="runs",
    size=200,
    contenders={
        "8 in flight": partial(_window, in_flight=8),
        "16 in flight": partial(_window, in_flight=16),
        "one by one": partial(_window, in_flight=1),
        "plain export": _plain,
    },
    metrics={
        "seconds": Metric("seconds", 2),
        "row_us": Metric("CPU a row, µs", 1),
        "cpu_s": Metric("CPU, s"),
        "memory_mb": Metric("memory over the start, MB", 1),
    },
    bars=(
        Bar("seconds", "one by one", at_most=1 / 7, quick=1 / 3),
        Bar("seconds", "one by one", ours="16 in flight", at_most=1 / 13),
        Bar("row_us", "plain export", at_most=1.3, quick=2.5),
        Bar("row_us", "plain export", ours="16 in flight", at_most=1.3),
    ),
    quick_size=50,
    growth=Growth("cpu_s", (100, 1_000, 10_000), quick=(50, 200)),
    notes="The window costs more requests than the plain export: one for each run, one for the list of each "
    "thread. Most of its CPU is that of the requests; rows are written a page at a time. Two runs are prefetched "
    "for each request that may be in flight, so that a slow response keeps no other one waiting.",
)
