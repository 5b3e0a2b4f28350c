"""DAGs for the tests of what happens when a part of Airflow is killed or a user steps in."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from airflow_provider_portkey.operators.response import PortkeyCreateResponseOperator
from airflow_provider_portkey.sensors.run import PortkeyRunSensor
from airflow_provider_portkey.transfers.steps_to_object_storage import PortkeyRunStepsToObjectStorageOperator

IDS = {"thread_id": "{{ params.thread_id }}", "run_id": "{{ params.run_id }}"}
PARAMS = {"thread_id": Param(type="string"), "run_id": Param(type="string")}

with DAG(dag_id="wait_deferred", schedule=None, params=PARAMS):
    PortkeyRunSensor(task_id="wait", deferrable=True, poke_interval=0.5, timeout=300, cancel_on_kill=True, **IDS)

with DAG(dag_id="wait_rescheduled", schedule=None, params=PARAMS):
    PortkeyRunSensor(task_id="wait", mode="reschedule", deferrable=False, poke_interval=4, timeout=300, **IDS)

with DAG(dag_id="export", schedule=None, params={**PARAMS, "path": Param(type="string")}):
    PortkeyRunStepsToObjectStorageOperator(
        task_id="export", path="{{ params.path }}", retries=3, retry_delay=timedelta(seconds=1), **IDS
    )

for mode, how in {
    "poked": {"deferrable": False},
    "rescheduled": {"deferrable": False, "mode": "reschedule"},
    "deferred": {"deferrable": True},
}.items():
    with DAG(dag_id=f"response_{mode}", schedule=None, params={"question": Param(type="string")}):
        PortkeyCreateResponseOperator(
            task_id="ask",
            model="gpt-5-mini",
            input="{{ params.question }}",
            poke_interval=4,
            timeout=300,
            retries=3,
            retry_delay=timedelta(seconds=1),
            **how,
        )
