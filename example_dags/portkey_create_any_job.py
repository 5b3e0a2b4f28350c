"""Create a job of a kind that the provider package does not know, and branch on how the job finished."""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_portkey.jobs import JobSpec
from airflow_provider_portkey.operators.job import PortkeyCreateCustomJobOperator

FILE_BATCH = JobSpec(
    kind="file batch",
    path="/vector_stores/{vector_store_id}/file_batches/{batch_id}",
    active_statuses=["in_progress"],
    success_statuses=["completed"],
    failure_statuses=["failed", "cancelled"],
    progress_field="file_counts",
    create_path="/vector_stores/{vector_store_id}/file_batches",
    cancel_path="/vector_stores/{vector_store_id}/file_batches/{batch_id}/cancel",
)

with DAG(
    dag_id="portkey_create_any_job",
    schedule=None,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["portkey", "example"],
    params={
        "vector_store_id": Param(
            "vs_demo", type="string", title="Vector store", description="The id of the vector store"
        ),
        "file_ids": Param(["file_1", "file_2"], type="array", title="Files", description="The ids of uploaded files"),
    },
):
    index_files = PortkeyCreateCustomJobOperator(
        task_id="index_files",
        job_spec=FILE_BATCH,
        ids={"vector_store_id": "{{ params.vector_store_id }}"},
        body='{"file_ids": {{ params.file_ids | tojson }}}',
        on_failed="return",
        deferrable=True,
        timeout=timedelta(hours=1),
    )

    @task.branch
    def has_every_file(batch: dict) -> str:
        """Return the task to continue with."""
        whole = batch["status"] == "completed" and not batch["file_counts"]["failed"]
        return "use_files" if whole else "report"

    @task
    def use_files(batch: dict) -> int:
        """Return the number of files that can be searched now."""
        return batch["file_counts"]["completed"]

    @task
    def report(batch: dict) -> str:
        """Return in one line what is missing."""
        counts = batch["file_counts"]
        return f"{counts['failed']} of {counts['total']} files failed: {batch.get('error_message', 'see the files')}"

    batch = index_files.output
    has_every_file(batch) >> [use_files(batch), report(batch)]
