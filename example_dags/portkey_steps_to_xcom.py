"""Hand the few steps of a short run to the next task through XCom."""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_portkey.operators.lists import PortkeyRunStepsOperator
from airflow_provider_portkey.sensors.run import PortkeyRunSensor

with DAG(
    dag_id="portkey_steps_to_xcom",
    schedule=None,
    # A killed worker fails a task without retries.
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["portkey", "example"],
    params={
        "thread_id": Param("thread_demo", type="string", title="Thread", description="The id of the thread"),
        "run_id": Param("run_demo", type="string", title="Run", description="The id of a run on the thread"),
    },
):
    wait_for_run = PortkeyRunSensor(
        task_id="wait_for_run",
        thread_id="{{ params.thread_id }}",
        run_id="{{ params.run_id }}",
        mode="reschedule",
        timeout=600,
    )
    get_steps = PortkeyRunStepsOperator(
        task_id="get_steps",
        thread_id="{{ params.thread_id }}",
        run_id="{{ params.run_id }}",
    )

    @task
    def count_tool_calls(steps: list[dict]) -> int:
        """Count the calls of tools in all steps."""
        return sum(len(step["step_details"].get("tool_calls", ())) for step in steps)

    wait_for_run >> get_steps
    count_tool_calls(get_steps.output)
