"""A worker that runs the tasks of a table's rounds one by one, until it is killed; the next one continues."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow_provider_portkey.operators.batch import PortkeyCreateBatchOperator
from airflow_provider_portkey.operators.batch_input import PortkeyBatchInputOperator, PortkeyBatchRetryInputOperator
from airflow_provider_portkey.testing import TaskStateStore, fake_context
from airflow_provider_portkey.transfers.batch_output_to_object_storage import (
    PortkeyBatchMergeOperator,
    PortkeyBatchOutputToObjectStorageOperator,
)

SCHEMA = {"type": "object", "required": ["label"], "properties": {"label": {"enum": ["good", "bad"]}}}
ROUNDS = 3


class Worker:
    """Runs each task once to its end, in as many tries as it takes; what a task returned is in a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, task_id: str, make: Callable[[], Any]) -> Any:
        result = self.folder / f"{task_id}.xcom.json"
        if result.exists():
            return json.loads(result.read_text())["return_value"]
        tries = self.folder / f"{task_id}.try"
        try_number = 1 + int(tries.read_text() if tries.exists() else 0)
        replace(tries, str(try_number))
        store = TaskStateStore(path=self.folder / f"{task_id}.state.json")
        context = fake_context(task_id=task_id, try_number=try_number, task_state_store=store)
        returned = make().execute(context)
        replace(result, json.dumps({"return_value": returned, **context["ti"].xcoms}))
        return returned


def replace(path: Path, content: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(content)
    part.replace(path)


def run(folder: Path, rows_path: str, max_requests: int) -> None:
    worker = Worker(folder)
    first = worker.run(
        "make",
        lambda: PortkeyBatchInputOperator(
            task_id="make",
            rows_path=rows_path,
            path=str(folder / "requests.jsonl"),
            key_columns=["ticket"],
            model="mock-model",
            messages="Is this good or bad? {{ note }}",
            max_requests=max_requests,
        ),
    )
    inputs, tables = first, []
    for number in range(1, ROUNDS + 1):
        if number > 1:
            done = list(tables)
            inputs = worker.run(
                f"retry_{number}",
                lambda number=number, done=done: PortkeyBatchRetryInputOperator(
                    task_id="retry",
                    inputs=first,
                    outcomes=done,
                    path=str(folder / f"requests-{number}.jsonl"),
                    max_requests=max_requests,
                ),
            )
        for part, path in enumerate(inputs):
            batch = worker.run(
                f"create_{number}_{part}",
                lambda path=path: PortkeyCreateBatchOperator(
                    task_id="create", input_path=path, poke_interval=0.05, timeout=60
                ),
            )
            tables.append(
                worker.run(
                    f"export_{number}_{part}",
                    lambda number=number, part=part, path=path, batch=batch: PortkeyBatchOutputToObjectStorageOperator(
                        task_id="export",
                        batch_id=batch["id"],
                        input_path=path,
                        path=str(folder / f"outcomes-{number}-{part}.parquet"),
                        layout="table",
                        file_format="parquet",
                        json_schema=SCHEMA,
                        max_failure_ratio=None,
                    ),
                )
            )
    worker.run(
        "merge",
        lambda: PortkeyBatchMergeOperator(
            task_id="merge",
            inputs=first,
            outcomes=tables,
            path=str(folder / "final.parquet"),
            max_failure_ratio=None,
        ),
    )


def peak_kilobytes() -> int:
    """Return the largest resident size of this process so far; ``ru_maxrss`` begins with that of the parent."""
    (line,) = (one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM"))
    return int(line.split()[1])


def main() -> None:
    folder, rows_path, max_requests, seconds = sys.argv[1:]
    import jsonschema  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    before = peak_kilobytes()
    used = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    if float(seconds):
        # The default action of this signal ends the process on the spot, wherever it is after so much CPU time.
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, float(seconds))
    run(Path(folder), rows_path, int(max_requests))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    replace(
        Path(folder) / f"usage-{os.getpid()}.json",
        json.dumps({"grown": peak_kilobytes() - before, "cpu": usage.ru_utime - used}),
    )


if __name__ == "__main__":
    main()
