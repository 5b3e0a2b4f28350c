"""Export the runs of a thread, the events of a fine-tuning job, and a list that this file declares."""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_portkey.jobs import FINE_TUNING_EVENTS, ListSpec
from airflow_provider_portkey.operators.lists import PortkeyThreadRunsOperator
from airflow_provider_portkey.transfers.lists_to_object_storage import (
    PortkeyListToObjectStorageOperator,
    PortkeyThreadRunsToObjectStorageOperator,
)

FINE_TUNING_JOBS = ListSpec(
    kind="fine-tuning jobs",
    path="/fine_tuning/jobs",
    columns={
        "id": "text",
        "created_at": "integer",
        "model": "text",
        "fine_tuned_model": "text",
        "status": "text",
        "trained_tokens": "integer",
        "error": "json",
    },
    parameters=("limit", "after"),
)

# A triggered run may have no logical date.
NOW = "{{ (dag_run.logical_date or dag_run.run_after) | ts_nodash }}"

with DAG(
    dag_id="portkey_export_lists",
    schedule=None,
    # A killed worker fails a task without retries.
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["portkey", "example"],
    params={
        "thread_id": Param("thread_demo", type="string", title="Thread", description="The id of the thread"),
        "fine_tuning_job_id": Param(
            "ftjob_demo", type="string", title="Fine-tuning job", description="The id of the fine-tuning job"
        ),
        "folder": Param(
            "/tmp/portkey",  # noqa: S108
            type="string",
            title="Folder",
            description="A folder or a URL such as s3://bucket/lists",
        ),
    },
):
    latest_runs = PortkeyThreadRunsOperator(
        task_id="latest_runs", thread_id="{{ params.thread_id }}", order="desc", limit=5
    )
    export_runs = PortkeyThreadRunsToObjectStorageOperator(
        task_id="export_runs",
        thread_id="{{ params.thread_id }}",
        path="{{ params.folder }}/" + NOW + "/runs.parquet",
        file_format="parquet",
    )
    export_events = PortkeyListToObjectStorageOperator(
        task_id="export_events",
        list_spec=FINE_TUNING_EVENTS,
        ids={"fine_tuning_job_id": "{{ params.fine_tuning_job_id }}"},
        path="{{ params.folder }}/" + NOW + "/events.jsonl",
    )
    export_jobs = PortkeyListToObjectStorageOperator(
        task_id="export_jobs",
        list_spec=FINE_TUNING_JOBS,
        path="{{ params.folder }}/" + NOW + "/fine_tuning_jobs.csv",
        file_format="csv",
    )
