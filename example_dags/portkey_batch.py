"""Create a batch from a file of requests, wait for the batch, and write the outcome of each request to a file."""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_portkey.operators.batch import PortkeyCreateBatchOperator
from airflow_provider_portkey.transfers.batch_output_to_object_storage import PortkeyBatchOutputToObjectStorageOperator

_ANY_PATH = "Any path of ObjectStoragePath"

with DAG(
    dag_id="portkey_batch",
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
            description=_ANY_PATH,
        ),
        "output_path": Param(
            "/tmp/portkey/output.jsonl",  # noqa: S108
            type="string",
            title="Outcomes",
            description=_ANY_PATH,
        ),
        "error_path": Param(
            "/tmp/portkey/errors.jsonl",  # noqa: S108
            type="string",
            title="Errors",
            description=_ANY_PATH,
        ),
    },
):
    create = PortkeyCreateBatchOperator(
        task_id="create",
        input_path="{{ params.input_path }}",
        endpoint="/v1/chat/completions",
        metadata={"dag_run": "{{ run_id }}"},
        deferrable=True,
        timeout=timedelta(hours=25),
    )
    export = PortkeyBatchOutputToObjectStorageOperator(
        task_id="export",
        batch_id="{{ ti.xcom_pull('create')['id'] }}",
        path="{{ params.output_path }}",
        error_path="{{ params.error_path }}",
        input_path="{{ params.input_path }}",
        max_failure_ratio=0.01,  # one request in a hundred may fail; by default none may
    )
    create >> export
