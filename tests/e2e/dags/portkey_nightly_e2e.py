"""The nightly export, its window given, for the test of what happens when parts of Airflow are killed."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from airflow_provider_portkey.transfers.steps_to_object_storage import PortkeyThreadStepsToObjectStorageOperator

PARAMS = {name: Param(type="string") for name in ("start", "end", "path")}

with DAG(dag_id="nightly", schedule=None, max_active_runs=1, params={**PARAMS, "thread_ids": Param(type="array")}):
    PortkeyThreadStepsToObjectStorageOperator(
        task_id="export",
        thread_ids="{{ params.thread_ids | tojson }}",
        window_start="{{ params.start }}",
        window_end="{{ params.end }}",
        path="{{ params.path }}",
        on_unfinished="skip",
        retries=100,
        retry_delay=timedelta(seconds=1),
    )
