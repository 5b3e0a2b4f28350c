"""Make a response in the background, and keep what it said and what it was given."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from airflow_provider_portkey.operators.response import PortkeyCreateResponseOperator, PortkeyResponseItemsOperator
from airflow_provider_portkey.transfers.response_items_to_object_storage import (
    PortkeyResponseItemsToObjectStorageOperator,
)

with DAG(
    dag_id="portkey_response",
    schedule=None,
    doc_md=__doc__,
    tags=["portkey", "example"],
    params={
        "model": Param("gpt-5-mini", type="string"),
        "question": Param("What did the sales of last week look like?", type="string"),
        "path": Param("/tmp/portkey/response.jsonl", type="string", description="Any path of ObjectStoragePath"),  # noqa: S108
    },
):
    ask = PortkeyCreateResponseOperator(
        task_id="ask",
        model="{{ params.model }}",
        input="{{ params.question }}",
        deferrable=True,
        poke_interval=5,
        timeout=timedelta(hours=1),
    )
    answer = PortkeyResponseItemsOperator(task_id="answer", response_id="{{ ti.xcom_pull('ask')['id'] }}")
    keep = PortkeyResponseItemsToObjectStorageOperator(
        task_id="keep",
        response_id="{{ ti.xcom_pull('ask')['id'] }}",
        path="{{ params.path }}",
        include_input=True,
    )
    ask >> [answer, keep]
