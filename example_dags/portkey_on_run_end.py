"""Start a DAG whenever a run of a thread has ended, and hand it the run. Needs Airflow 3.0 or newer."""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG, Asset, task
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

THREAD_ID = os.environ.get("PORTKEY_EXAMPLE_THREAD_ID", "thread_demo")

if AIRFLOW_V_3_0_PLUS:  # Airflow 2 has no asset watchers
    from airflow.sdk import AssetWatcher

    from airflow_provider_portkey.triggers.run_event import PortkeyRunEventTrigger

    trigger = PortkeyRunEventTrigger(thread_id=THREAD_ID, statuses=["completed", "failed"], poll_interval=30)
    ended_runs = Asset("portkey_ended_runs", watchers=[AssetWatcher(name="ended_runs", trigger=trigger)])

    with DAG(
        dag_id="portkey_on_run_end",
        schedule=[ended_runs],
        catchup=False,
        # A killed worker fails a task without retries.
        default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
        # While the DAG is paused, the thread is not polled.
        is_paused_upon_creation=True,
        doc_md=__doc__,
        tags=["portkey", "example"],
    ):

        @task
        def handle(triggering_asset_events) -> list[str]:
            """Return what happened; several runs that ended about the same time come in one DAG run."""
            runs = [event.extra["payload"] for event in triggering_asset_events[ended_runs]]
            return [f"{run['id']} {run['status']}" for run in runs]

        handle()
