"""Nightly runs and steps of every thread: all runs of the day before, whole, and their steps beside them."""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, Asset, task
from airflow.timetables.interval import CronDataIntervalTimetable

from airflow_provider_portkey.transfers.steps_to_object_storage import PortkeyThreadStepsToObjectStorageOperator

THREAD_IDS = os.environ.get("PORTKEY_EXAMPLE_THREAD_ID", "thread_demo")
EXPORTS = os.environ.get("PORTKEY_EXAMPLE_EXPORTS", "/tmp/portkey/exports")  # noqa: S108

with DAG(
    dag_id="portkey_nightly_export",
    # "@daily" alone gives a run of Airflow 3 no data interval.
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1),
    catchup=False,
    # One night after the other: runs that have not ended are carried over to the next one.
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5)},
    doc_md=__doc__,
    tags=["portkey", "example"],
):

    @task
    def threads() -> list[str]:
        """Return the ids of the threads; a real DAG would request them from the application that creates them."""
        return THREAD_IDS.split(",")

    # Steps are in EXPORTS/steps, runs in EXPORTS/runs, one folder a day in each; run_id of a step is id of its run.
    export_steps = PortkeyThreadStepsToObjectStorageOperator(
        task_id="export_steps",
        thread_ids=threads(),
        path=EXPORTS,
        include_runs=True,
        max_concurrent_requests=8,
        # Airflow 3.3 keeps with this asset which runs are carried over; before, that is in a file beside the steps.
        outlets=[Asset("portkey_steps")],
    )

    @task
    def report(manifest: dict) -> str:
        """Return in one line what was exported."""
        counts = ", ".join(f"{count} {status}" for status, count in manifest["status_counts"].items()) or "none"
        carried_over = manifest["runs"]["skipped"]
        line = f"runs: {counts}; {manifest['rows']} steps; runs carried over to the next night: {carried_over}"
        print(line)
        return line

    report(export_steps.output)
