"""DAGs for the tests of runs that a task starts."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from airflow_provider_portkey.operators.run import PortkeyCreateRunOperator

for mode, how in {
    "poked": {"deferrable": False},
    "rescheduled": {"deferrable": False, "mode": "reschedule"},
    "deferred": {"deferrable": True},
}.items():
    with DAG(dag_id=f"run_{mode}", schedule=None, params={"thread_id": Param(type="string")}):
        PortkeyCreateRunOperator(
            task_id="create_run",
            assistant_id="asst_1",
            thread_id="{{ params.thread_id }}",
            tool_handlers={"look_up": lambda question: {"found": question}},
            poke_interval=6 if mode == "rescheduled" else 1,
            timeout=300,
            retries=3,
            retry_delay=timedelta(seconds=1),
            **how,
        )
