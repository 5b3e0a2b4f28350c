"""Create a batch, write the outcome of each request to a file, and write the batch as a page for people."""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_portkey.operators.batch import PortkeyCreateBatchOperator
from airflow_provider_portkey.operators.report import PortkeyBatchReportOperator
from airflow_provider_portkey.transfers.batch_output_to_object_storage import PortkeyBatchOutputToObjectStorageOperator

with DAG(
    dag_id="portkey_batch_report",
    schedule=None,
    # A killed worker fails a task without retries.
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["portkey", "example"],
    params={
        "input_path": Param(
            "/tmp/portkey/requests.jsonl",  # noqa: S108
            type="string",
            title="Requests",
            description="Any path of ObjectStoragePath",
        ),
        "folder": Param(
            "/tmp/portkey/batch",  # noqa: S108
            type="string",
            title="Folder",
            description="Where the outcomes and the page are written: a path that the API server can read",
        ),
    },
):
    create = PortkeyCreateBatchOperator(
        task_id="create",
        input_path="{{ params.input_path }}",
        on_failed="return",  # a batch that expired has outcomes, and a report, too
        deferrable=True,
        timeout=timedelta(hours=25),
    )
    export = PortkeyBatchOutputToObjectStorageOperator(
        task_id="export",
        batch_id="{{ ti.xcom_pull('create')['id'] }}",
        path="{{ params.folder }}/output.jsonl",
        error_path="{{ params.folder }}/errors.jsonl",
        max_failure_ratio=None,  # the page shows them
    )
    report = PortkeyBatchReportOperator(
        task_id="report",
        batch_id="{{ ti.xcom_pull('create')['id'] }}",
        output_path="{{ params.folder }}/output.jsonl",
        error_path="{{ params.folder }}/errors.jsonl",
        path="{{ params.folder }}/batch.html",
    )
    create >> export >> report
