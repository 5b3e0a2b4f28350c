"""DAGs that start when runs, and batches, finish, for the test of what happens when the triggerer is killed."""

from __future__ import annotations

from airflow.sdk import DAG, Asset, AssetWatcher, task

from airflow_provider_portkey.triggers.run_event import PortkeyBatchEventTrigger, PortkeyRunEventTrigger

TRIGGERS = {
    "run": PortkeyRunEventTrigger(thread_id="thread_events", poll_interval=0.5),
    "batch": PortkeyBatchEventTrigger(metadata={"test": "events"}, poll_interval=0.5),
}

for kind, trigger in TRIGGERS.items():
    asset = Asset(f"finished_e2e_{kind}", watchers=[AssetWatcher(name=f"finished_{kind}", trigger=trigger)])

    with DAG(dag_id=f"on_{kind}_finished", schedule=[asset], is_paused_upon_creation=True, max_active_runs=1) as dag:

        @task
        def keep(triggering_asset_events) -> list[str]:
            """Return the jobs whose events started the DAG run."""
            return [event.extra["payload"]["id"] for events in triggering_asset_events.values() for event in events]

        keep()
    globals()[dag.dag_id] = dag
