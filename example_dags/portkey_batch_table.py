"""From a table to a table: a request for each row, in batches, and the outcomes joined to the rows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param, task_group

from airflow_provider_portkey.operators.batch import PortkeyCreateBatchOperator
from airflow_provider_portkey.operators.batch_input import PortkeyBatchInputOperator
from airflow_provider_portkey.transfers.batch_output_to_object_storage import (
    PortkeyBatchMergeOperator,
    PortkeyBatchOutputToObjectStorageOperator,
)

_ANY_PATH = "Any path of ObjectStoragePath"
LABEL = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": ["complaint", "question", "praise"]}},
    "required": ["label"],
    "additionalProperties": False,
}

with DAG(
    dag_id="portkey_batch_table",
    schedule=None,
    # A killed worker fails a task without retries.
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["portkey", "example"],
    params={
        "rows_path": Param("/tmp/portkey/tickets.parquet", type="string", title="Rows", description=_ANY_PATH),  # noqa: S108
        "folder": Param("/tmp/portkey/labels", type="string", title="Folder", description=_ANY_PATH),  # noqa: S108
    },
):
    make_input = PortkeyBatchInputOperator(
        task_id="make_input",
        rows_path="{{ params.rows_path }}",
        path="{{ params.folder }}/requests.jsonl",
        key_columns=["ticket"],
        # Airflow renders this, and the row's columns are rendered below. A triggered run may have no logical date.
        variables={"day": "{{ (dag_run.logical_date or dag_run.run_after) | ds }}"},
        model="gpt-4.1-mini",
        messages=[
            {"role": "system", "content": "Label the message of a customer. Today is {{ day }}."},
            {"role": "user", "content": "{{ note }}"},
        ],
        response_format={"type": "json_schema", "json_schema": {"name": "label", "strict": True, "schema": LABEL}},
    )

    @task_group
    def process_part(input_path: str) -> Any:
        """One batch and its table: a part that fails leaves the others alone."""
        create = PortkeyCreateBatchOperator(
            task_id="create",
            input_path=input_path,
            on_failed="return",  # a batch that expired has outcomes as well
            deferrable=True,
            timeout=timedelta(hours=25),
        )
        export = PortkeyBatchOutputToObjectStorageOperator(
            task_id="export",
            batch_id="{{ ti.xcom_pull('process_part.create', map_indexes=ti.map_index)['id'] }}",
            input_path=input_path,
            path="{{ params.folder }}/outcomes-{{ ti.map_index }}.parquet",
            layout="table",
            file_format="parquet",
            json_schema=LABEL,
            max_failure_ratio=None,
        )
        create >> export
        return export.output

    PortkeyBatchMergeOperator(
        task_id="merge",
        inputs=make_input.output,
        outcomes=process_part.expand(input_path=make_input.output),
        path="{{ params.folder }}/labels.parquet",
        max_failure_ratio=0.05,  # one row in twenty may have no label; by default none may
        trigger_rule="all_done",  # the outcomes of the other parts are there
    )
