"""Every night, export the steps of all runs that some threads had on the day before, one folder a day."""

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

    export_steps = PortkeyThreadStepsToObjectStorageOperator(
        task_id="export_steps",
        thread_ids=threads(),
        path=EXPORTS + "/steps",
        max_concurrent_requests=8,
        # Airflow 3.3 keeps with this asset which runs are carried over; before, that is in a file beside the steps.
        outlets=[Asset("portkey_steps")],
    )

    @task
    def report(manifest: dict) -> str:
        """Say in one line what was exported."""
        runs = manifest["runs"]
        line = f"{runs['exported']} runs with {manifest['rows']} steps, {runs['skipped']} left to the next night"
        print(line)
        return line

    report(export_steps.output)
