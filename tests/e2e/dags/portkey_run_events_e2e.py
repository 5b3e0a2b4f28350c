"""A DAG that starts when runs finish, for the test of what happens when the triggerer is killed."""

from __future__ import annotations

from airflow.sdk import DAG, Asset, AssetWatcher, task

from airflow_provider_portkey.triggers.run_event import PortkeyRunEventTrigger

RUNS = Asset(
    "finished_runs_e2e",
    watchers=[
        AssetWatcher(name="finished", trigger=PortkeyRunEventTrigger(thread_id="thread_events", poll_interval=0.5)),
    ],
)

with DAG(dag_id="on_run_finished", schedule=[RUNS], is_paused_upon_creation=True, max_active_runs=1):

    @task
    def keep(triggering_asset_events) -> list[str]:
        """Return the runs whose events started the DAG run."""
        return [event.extra["payload"]["id"] for event in triggering_asset_events[RUNS]]

    keep()
