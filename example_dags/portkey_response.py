"""Create a response in the background, and export its input and output items."""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_portkey.operators.job import PortkeyCreateResponseOperator, PortkeyResponseItemsOperator
from airflow_provider_portkey.transfers.lists_to_object_storage import (
    PortkeyResponseItemsToObjectStorageOperator,
)

with DAG(
    dag_id="portkey_response",
    schedule=None,
    # A killed worker fails a task without retries.
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["portkey", "example"],
    params={
        "model": Param("gpt-5-mini", type="string", title="Model", description="The model that responds"),
        "question": Param(
            "What did the sales of last week look like?",
            type="string",
            title="Question",
            description="The question for the model",
        ),
        "path": Param(
            "/tmp/portkey/response.jsonl",  # noqa: S108
            type="string",
            title="File",
            description="Any path of ObjectStoragePath",
        ),
    },
):
    create_response = PortkeyCreateResponseOperator(
        task_id="create_response",
        model="{{ params.model }}",
        input="{{ params.question }}",
        deferrable=True,
        timeout=timedelta(hours=1),
    )
    get_items = PortkeyResponseItemsOperator(
        task_id="get_items", response_id="{{ ti.xcom_pull('create_response')['id'] }}"
    )
    export_items = PortkeyResponseItemsToObjectStorageOperator(
        task_id="export_items",
        response_id="{{ ti.xcom_pull('create_response')['id'] }}",
        path="{{ params.path }}",
        include_input=True,
    )
    create_response >> [get_items, export_items]
