"""Wait for a kind of job that the provider package does not know: the indexing of files in a vector store."""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_portkey.jobs import JobSpec
from airflow_provider_portkey.sensors.job import PortkeyCustomJobSensor

FILE_BATCH = JobSpec(
    kind="file batch",
    path="/vector_stores/{vector_store_id}/file_batches/{batch_id}",
    active_statuses=["in_progress"],
    success_statuses=["completed"],
    failure_statuses=["failed", "cancelled"],
    progress_field="file_counts",
    cancel_path="/vector_stores/{vector_store_id}/file_batches/{batch_id}/cancel",
)

with DAG(
    dag_id="portkey_any_job",
    schedule=None,
    # A killed worker fails a task without retries.
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["portkey", "example"],
    params={
        "vector_store_id": Param(
            "vs_demo", type="string", title="Vector store", description="The id of the vector store"
        ),
        "batch_id": Param(
            "vsfb_demo", type="string", title="File batch", description="The id of the vector store's file batch"
        ),
    },
):
    PortkeyCustomJobSensor(
        task_id="wait_for_files",
        job_spec=FILE_BATCH,
        ids={"vector_store_id": "{{ params.vector_store_id }}", "batch_id": "{{ params.batch_id }}"},
        deferrable=True,
        timeout=3600,
    )
