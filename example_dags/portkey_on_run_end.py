"""Start a DAG whenever a run of a thread has ended, and hand it the run. Needs Airflow 3.0 or newer."""

from __future__ import annotations

import os

from airflow.sdk import DAG, Asset, AssetWatcher, task

from airflow_provider_portkey.triggers.run_event import PortkeyRunEventTrigger

THREAD_ID = os.environ.get("PORTKEY_EXAMPLE_THREAD_ID", "thread_demo")

ended_runs = Asset(
    "portkey_ended_runs",
    watchers=[
        AssetWatcher(
            name="ended_runs",
            trigger=PortkeyRunEventTrigger(thread_id=THREAD_ID, statuses=["completed", "failed"], poll_interval=30),
        )
    ],
)

with DAG(
    dag_id="portkey_on_run_end",
    schedule=[ended_runs],
    catchup=False,
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
