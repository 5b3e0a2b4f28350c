"""Start a run on a thread, handle the function call of the run, and export the run's steps."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_portkey.operators.run import PortkeyCreateRunOperator
from airflow_provider_portkey.transfers.steps_to_object_storage import PortkeyRunStepsToObjectStorageOperator

_STOCK = {"A-1": 12, "B-7": 0}


def in_stock(article: str) -> dict[str, Any]:
    """Return what the run calls for; a handler may be called twice, so it changes nothing."""
    return {"article": article, "quantity": _STOCK.get(article, 0)}


IN_STOCK = {
    "type": "function",
    "function": {
        "name": "in_stock",
        "description": "The quantity of an article in stock.",
        "parameters": {
            "type": "object",
            "properties": {"article": {"type": "string"}},
            "required": ["article"],
        },
    },
}

with DAG(
    dag_id="portkey_create_run",
    schedule=None,
    # A killed worker fails a task without retries.
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["portkey", "example"],
    params={
        "assistant_id": Param("asst_demo", type="string", title="Assistant", description="The id of the assistant"),
        "thread_id": Param("thread_demo", type="string", title="Thread", description="The id of the thread"),
        "question": Param(
            "Which articles are sold out?", type="string", title="Question", description="The question for the model"
        ),
        "path": Param(
            "/tmp/portkey/steps.jsonl",  # noqa: S108
            type="string",
            title="File",
            description="Any path of ObjectStoragePath",
        ),
    },
):
    start_run = PortkeyCreateRunOperator(
        task_id="start_run",
        assistant_id="{{ params.assistant_id }}",
        thread_id="{{ params.thread_id }}",
        additional_messages=[{"role": "user", "content": "{{ params.question }}"}],
        tools=[IN_STOCK],
        tool_handlers={"in_stock": in_stock},
        deferrable=True,
        timeout=timedelta(minutes=10),
    )
    export_steps = PortkeyRunStepsToObjectStorageOperator(
        task_id="export_steps",
        thread_id="{{ ti.xcom_pull('start_run')['thread_id'] }}",
        run_id="{{ ti.xcom_pull('start_run')['id'] }}",
        path="{{ params.path }}",
        include_messages=True,
    )
    start_run >> export_steps
