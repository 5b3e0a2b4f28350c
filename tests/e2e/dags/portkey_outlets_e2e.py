"""From a table to a table with outlet assets, for the test of what Airflow's REST API says of their events."""

from __future__ import annotations

import os

from airflow.sdk import DAG, Asset

from airflow_provider_portkey.operators.batch import PortkeyCreateBatchOperator
from airflow_provider_portkey.operators.batch_input import PortkeyBatchInputOperator
from airflow_provider_portkey.operators.report import PortkeyBatchReportOperator
from airflow_provider_portkey.transfers.batch_output_to_object_storage import (
    PortkeyBatchMergeOperator,
    PortkeyBatchOutputToObjectStorageOperator,
)

FOLDER = os.environ["PORTKEY_EXAMPLE_EXPORTS"] + "/outlets"

with DAG(dag_id="outlets", schedule=None):
    make = PortkeyBatchInputOperator(
        task_id="make",
        rows=[{"ticket": f"t-{number}", "note": "Why?"} for number in range(3)],
        key_columns="ticket",
        model="mock-model",
        messages="{{ note }}",
        path=f"{FOLDER}/requests.jsonl",
        outlets=[Asset("outlets_requests")],
    )
    create = PortkeyCreateBatchOperator(
        task_id="create", input_path=f"{FOLDER}/requests-00001.jsonl", poke_interval=1, outlets=[Asset("outlets_batch")]
    )
    table = PortkeyBatchOutputToObjectStorageOperator(
        task_id="table",
        batch_id="{{ ti.xcom_pull(task_ids='create')['id'] }}",
        layout="table",
        path=f"{FOLDER}/table.jsonl",
        max_failure_ratio=None,
        outlets=[Asset("outlets_table")],
    )
    merge = PortkeyBatchMergeOperator(
        task_id="merge",
        inputs=make.output,
        outcomes=table.output,
        path=f"{FOLDER}/merged.parquet",
        max_failure_ratio=None,
        outlets=[Asset("outlets_merged")],
    )
    page = PortkeyBatchReportOperator(
        task_id="page",
        batch_id="{{ ti.xcom_pull(task_ids='create')['id'] }}",
        output_path=f"{FOLDER}/table.jsonl",
        path=f"{FOLDER}/page.html",
        outlets=[Asset("outlets_page")],
    )
    make >> create >> table >> [merge, page]
