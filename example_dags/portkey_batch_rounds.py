"""A table through up to three rounds of batches: a later round has only the rows without a success so far."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param, task_group

from airflow_provider_portkey.operators.batch import PortkeyCreateBatchOperator
from airflow_provider_portkey.operators.batch_input import PortkeyBatchInputOperator, PortkeyBatchRetryInputOperator
from airflow_provider_portkey.transfers.batch_output_to_object_storage import (
    PortkeyBatchMergeOperator,
    PortkeyBatchOutputToObjectStorageOperator,
)

_ANY_PATH = "Any path of ObjectStoragePath"
ROUNDS = 3
LABEL = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": ["complaint", "question", "praise"]}},
    "required": ["label"],
    "additionalProperties": False,
}

with DAG(
    dag_id="portkey_batch_rounds",
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
        model="gpt-4.1-mini",
        messages="Label the message of a customer: {{ note }}",
        response_format={"type": "json_schema", "json_schema": {"name": "label", "strict": True, "schema": LABEL}},
    )

    inputs = make_input.output
    outcomes: list[Any] = []
    for number in range(1, ROUNDS + 1):
        if number > 1:
            inputs = PortkeyBatchRetryInputOperator(
                task_id=f"make_input_{number}",
                inputs=make_input.output,
                outcomes=list(outcomes),
                path=f"{{{{ params.folder }}}}/requests-{number}.jsonl",
                excluded_error_codes=["content_filter"],  # the same request would be refused again
                trigger_rule="all_done",  # also where a part failed, or nothing was left for the round before
            ).output

        @task_group(group_id=f"round_{number}")
        def process_part(input_path: str, number: int) -> Any:
            """One batch and its table: a part that fails leaves the others alone."""
            create = PortkeyCreateBatchOperator(
                task_id="create",
                input_path=input_path,
                on_failed="return",  # a batch that expired has outcomes as well
                deferrable=True,
                timeout=timedelta(hours=25),
            )
            batch_id = f"ti.xcom_pull('round_{number}.create', map_indexes=ti.map_index)['id']"
            export = PortkeyBatchOutputToObjectStorageOperator(
                task_id="export",
                batch_id=f"{{{{ {batch_id} }}}}",
                input_path=input_path,
                path=f"{{{{ params.folder }}}}/outcomes-{number}-{{{{ ti.map_index }}}}.parquet",
                layout="table",
                file_format="parquet",
                json_schema=LABEL,
                max_failure_ratio=None,
            )
            create >> export
            return export.output

        outcomes.append(process_part.partial(number=number).expand(input_path=inputs))

    PortkeyBatchMergeOperator(
        task_id="merge",
        inputs=make_input.output,
        outcomes=outcomes,
        path="{{ params.folder }}/labels.parquet",
        max_failure_ratio=0.05,
        trigger_rule="all_done",
    )
