"""Requests, seconds and peak memory for long lists of the mock server: python benchmarks/lists.py --help."""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--file-format", default="jsonl", choices=["jsonl", "json", "csv", "parquet"])
    options = parser.parse_args()

    from airflow_provider_portkey.jobs import RUN_STEPS, RUNS
    from airflow_provider_portkey.testing import PortkeyMockServer
    from airflow_provider_portkey.transfers.lists_to_object_storage import PortkeyListToObjectStorageOperator

    with PortkeyMockServer() as server, tempfile.TemporaryDirectory() as folder:
        os.environ["AIRFLOW_CONN_PORTKEY_DEFAULT"] = json.dumps(server.connection())
        server.add_runs(thread_id="thread_1", count=options.runs, statuses="completed")
        server.add_run(thread_id="thread_2", run_id="run_1", statuses="completed", steps=options.steps)
        lists: list[tuple[Any, dict[str, str]]] = [
            (RUNS, {"thread_id": "thread_1"}),
            (RUN_STEPS, {"thread_id": "thread_2", "run_id": "run_1"}),
        ]
        for list_spec, ids in lists:
            for order in ("asc", "desc"):
                path = str(Path(folder) / "rows")
                given = {"list_spec": list_spec, "ids": ids, "order": order, "file_format": options.file_format}
                task = PortkeyListToObjectStorageOperator(task_id="rows", path=path, **given)
                before, begun = len(server.requests), time.monotonic()
                manifest = task.execute({})
                requests, seconds = len(server.requests) - before, time.monotonic() - begun
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
                print(
                    f"{list_spec.kind} {order}: {manifest['rows']:,} rows, {requests:,} requests, {seconds:.1f} s, "
                    f"{manifest['bytes']:,} bytes, peak of the process with the mock server {peak} MiB"
                )


if __name__ == "__main__":
    main()
