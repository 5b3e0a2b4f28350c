"""Wait until a run has finished, then export its steps to a file."""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_portkey.sensors.run import PortkeyRunSensor
from airflow_provider_portkey.transfers.steps_to_object_storage import PortkeyRunStepsToObjectStorageOperator

with DAG(
    dag_id="portkey_gate_and_export",
    schedule=None,
    # A killed worker fails a task without retries.
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["portkey", "example"],
    params={
        "thread_id": Param("thread_demo", type="string", title="Thread", description="The id of the thread"),
        "run_id": Param("run_demo", type="string", title="Run", description="The id of a run on the thread"),
        "path": Param(
            "/tmp/portkey/steps.jsonl",  # noqa: S108
            type="string",
            title="File",
            description="Any path of ObjectStoragePath",
        ),
    },
):
    wait_for_run = PortkeyRunSensor(
        task_id="wait_for_run",
        thread_id="{{ params.thread_id }}",
        run_id="{{ params.run_id }}",
        deferrable=True,
        timeout=timedelta(hours=1),
    )
    export_steps = PortkeyRunStepsToObjectStorageOperator(
        task_id="export_steps",
        thread_id="{{ params.thread_id }}",
        run_id="{{ params.run_id }}",
        path="{{ params.path }}",
        include_messages=True,
    )
    wait_for_run >> export_steps
