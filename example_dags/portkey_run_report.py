"""Wait until a run has finished, and write the run as a page that the task's tab shows."""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_portkey.operators.report import PortkeyRunReportOperator
from airflow_provider_portkey.sensors.run import PortkeyRunSensor

with DAG(
    dag_id="portkey_run_report",
    schedule=None,
    # A killed worker fails a task without retries.
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    doc_md=__doc__,
    tags=["portkey", "example"],
    params={
        "thread_id": Param("thread_demo", type="string", title="Thread", description="The id of the run's thread"),
        "run_id": Param("run_demo", type="string", title="Run", description="The id of the run"),
        "path": Param(
            "/tmp/portkey/run.html",  # noqa: S108
            type="string",
            title="Page",
            description="Where the page is written: any path of ObjectStoragePath that the API server can read",
        ),
    },
):
    wait_for_run = PortkeyRunSensor(
        task_id="wait_for_run",
        thread_id="{{ params.thread_id }}",
        run_id="{{ params.run_id }}",
        on_failed="return",  # a run that failed has a report, too
        deferrable=True,
        timeout=timedelta(hours=1),
    )
    report = PortkeyRunReportOperator(
        task_id="report",
        thread_id="{{ params.thread_id }}",
        run_id="{{ params.run_id }}",
        path="{{ params.path }}",
    )
    wait_for_run >> report
