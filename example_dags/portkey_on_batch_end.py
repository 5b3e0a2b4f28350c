"""Start a DAG whenever a batch has ended, and hand it the batch. Needs Airflow 3.0 or newer."""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG, Asset, task
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

if AIRFLOW_V_3_0_PLUS:  # Airflow 2 has no asset watchers
    from airflow.sdk import AssetWatcher

    from airflow_provider_portkey.triggers.run_event import PortkeyBatchEventTrigger

    trigger = PortkeyBatchEventTrigger(statuses=["completed", "failed"])
    ended_batches = Asset("portkey_ended_batches", watchers=[AssetWatcher(name="ended_batches", trigger=trigger)])

    with DAG(
        dag_id="portkey_on_batch_end",
        schedule=[ended_batches],
        catchup=False,
        # A killed worker fails a task without retries.
        default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
        # While the DAG is paused, the batches are not polled.
        is_paused_upon_creation=True,
        doc_md=__doc__,
        tags=["portkey", "example"],
    ):

        @task
        def handle(triggering_asset_events) -> list[str]:
            """Return what happened; several batches that ended about the same time come in one DAG run."""
            batches = [event.extra["payload"] for event in triggering_asset_events[ended_batches]]
            return [f"{batch['id']} {batch['status']}" for batch in batches]

        handle()
