"""A batch's results reach the next task only where they are good enough; otherwise a person is called."""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_portkey.operators.batch import PortkeyBatchCheckOperator

TABLE = os.environ.get("PORTKEY_EXAMPLE_TABLE", "/tmp/portkey/exports/table.parquet")  # noqa: S108

with DAG(
    dag_id="portkey_batch_gate",
    schedule=None,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["portkey", "example"],
    params={
        "table": Param(TABLE, type="string", title="Table", description="The joined table of a batch."),
        "min_success_ratio": Param(
            0.95, type="number", minimum=0, maximum=1, title="Least share of successes", description="0 to 1."
        ),
        "min_score": Param(0.7, type="number", title="Least mean score", description="Of the field score."),
    },
):
    check = PortkeyBatchCheckOperator(
        task_id="check",
        path="{{ params.table }}",
        min_success_ratio="{{ params.min_success_ratio }}",
        min_valid_ratio=0.98,
        score_field="score",
        min_score="{{ params.min_score }}",
        follow_task_ids_if_true="publish",
        follow_task_ids_if_false="call_someone",
    )

    @task
    def publish(figures: dict) -> str:
        """Say what is published."""
        return f"{figures['rows']} rows, mean score {figures['mean_score']}"

    @task
    def call_someone(figures: dict) -> str:
        """Say why nothing is published."""
        return figures["summary"]

    publish(check.output)
    call_someone(check.output)
