"""Wait for many runs of one thread: in one task, and in a mapped task for each run."""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG, Param, task

from airflow_provider_portkey.hooks.portkey import PortkeyHook
from airflow_provider_portkey.sensors.run import PortkeyRunSensor, PortkeyThreadRunsSensor

with DAG(
    dag_id="portkey_many_runs",
    schedule=None,
    # A killed worker fails a task without retries.
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["portkey", "example"],
    params={
        "thread_id": Param("thread_demo", type="string", title="Thread", description="The id of the thread"),
        "runs": Param(
            200, type="integer", title="Runs", minimum=1, description="How many runs: the latest of the thread"
        ),
    },
):

    @task
    def latest_runs(params: dict) -> list[str]:
        """Return the ids of the thread's latest runs."""
        runs = PortkeyHook().iter_runs(params["thread_id"], max_items=params["runs"])
        return [run["id"] for run in runs]

    run_ids = latest_runs()

    # One task for all: two hundred runs cost two requests a poll. XCom is a summary of the runs.
    wait_for_all = PortkeyThreadRunsSensor(
        task_id="wait_for_all",
        thread_id="{{ params.thread_id }}",
        run_ids=run_ids,
        max_failed_runs=5,
        deferrable=True,
        timeout=timedelta(hours=1),
    )

    # A task for each run, where each run has work of its own afterwards. The triggerer polls all of them together.
    PortkeyRunSensor.partial(
        task_id="wait_for_each",
        thread_id="{{ params.thread_id }}",
        deferrable=True,
        timeout=timedelta(hours=1),
    ).expand(run_id=run_ids)

    @task
    def report(summary: dict) -> str:
        """Return the runs' statuses and tokens in one line."""
        counts = ", ".join(f"{count} {status}" for status, count in summary["status_counts"].items())
        line = f"{summary['total']} runs: {counts}; {summary['usage']['total_tokens']} tokens"
        print(line)
        return line

    report(wait_for_all.output)
