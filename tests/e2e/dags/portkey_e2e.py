"""DAGs for the tests of what happens when a part of Airflow is killed or a user steps in."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from airflow_provider_portkey.operators.batch import PortkeyCreateBatchOperator
from airflow_provider_portkey.operators.job import PortkeyCreateResponseOperator
from airflow_provider_portkey.sensors.run import PortkeyRunSensor
from airflow_provider_portkey.transfers.batch_output_to_object_storage import (
    PortkeyBatchOutputToObjectStorageOperator,
)
from airflow_provider_portkey.transfers.logs_to_object_storage import PortkeyLogsToObjectStorageOperator
from airflow_provider_portkey.transfers.steps_to_object_storage import PortkeyRunStepsToObjectStorageOperator

IDS = {"thread_id": "{{ params.thread_id }}", "run_id": "{{ params.run_id }}"}
PARAMS = {"thread_id": Param(type="string"), "run_id": Param(type="string")}

with DAG(dag_id="wait_deferred", schedule=None, params=PARAMS):
    PortkeyRunSensor(task_id="wait", deferrable=True, poke_interval=0.5, timeout=300, cancel_on_kill=True, **IDS)

with DAG(dag_id="wait_rescheduled", schedule=None, params=PARAMS):
    PortkeyRunSensor(task_id="wait", mode="reschedule", deferrable=False, poke_interval=6, timeout=300, **IDS)

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
            task_id="create_response",
            model="gpt-5-mini",
            input="{{ params.question }}",
            poke_interval=6,
            timeout=300,
            retries=3,
            retry_delay=timedelta(seconds=1),
            **how,
        )

AGAIN = {"retries": 3, "retry_delay": timedelta(seconds=1)}

with DAG(dag_id="batch", schedule=None, params={"input": Param(type="string"), "output": Param(type="string")}):
    make = PortkeyCreateBatchOperator(
        task_id="make", input_path="{{ params.input }}", poke_interval=1, timeout=300, deferrable=False, **AGAIN
    )
    output = PortkeyBatchOutputToObjectStorageOperator(
        task_id="output",
        batch_id="{{ ti.xcom_pull('make')['id'] }}",
        path="{{ params.output }}",
        input_path="{{ params.input }}",
        **AGAIN,
    )
    make >> output

WINDOW = {name: Param(type="string") for name in ("start", "end", "path")}

with DAG(dag_id="logs", schedule=None, params=WINDOW):
    PortkeyLogsToObjectStorageOperator(
        task_id="export",
        window_start="{{ params.start }}",
        window_end="{{ params.end }}",
        path="{{ params.path }}",
        portkey_conn_id="portkey_direct",  # the open-source gateway knows no PUT
        poke_interval=1,
        timeout=300,
        deferrable=False,
        **AGAIN,
    )
