"""Every night, export the steps of the latest run of a thread to one parquet file a day."""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_portkey.hooks.portkey import PortkeyHook
from airflow_provider_portkey.sensors.run import PortkeyRunSensor
from airflow_provider_portkey.transfers.steps_to_object_storage import PortkeyRunStepsToObjectStorageOperator

THREAD_ID = os.environ.get("PORTKEY_EXAMPLE_THREAD_ID", "thread_demo")
EXPORTS = os.environ.get("PORTKEY_EXAMPLE_EXPORTS", "/tmp/portkey/exports")  # noqa: S108

with DAG(
    dag_id="portkey_scheduled_export",
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5)},
    doc_md=__doc__,
    tags=["portkey", "example"],
):

    @task
    def latest_run() -> str:
        """Return the id of the thread's latest run."""
        return next(PortkeyHook().iter_runs(THREAD_ID, order="desc", max_items=1))["id"]

    run_id = latest_run()
    wait_for_run = PortkeyRunSensor(
        task_id="wait_for_run",
        thread_id=THREAD_ID,
        run_id=run_id,
        deferrable=True,
        timeout=timedelta(hours=2),
    )
    export_steps = PortkeyRunStepsToObjectStorageOperator(
        task_id="export_steps",
        thread_id=THREAD_ID,
        run_id=run_id,
        path=EXPORTS + "/{{ ds }}/steps.parquet",
        file_format="parquet",
    )
    wait_for_run >> export_steps
