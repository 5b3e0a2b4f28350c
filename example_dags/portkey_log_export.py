"""Every hour, export the hour's logs of Portkey to a compressed file of JSON lines."""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, task
from airflow.timetables.trigger import CronTriggerTimetable

from airflow_provider_portkey.transfers.logs_to_object_storage import PortkeyLogsToObjectStorageOperator

EXPORTS = os.environ.get("PORTKEY_EXAMPLE_EXPORTS", "/tmp/portkey/exports")  # noqa: S108

with DAG(
    dag_id="portkey_log_export",
    # Ten minutes after the hour, so that its last logs have arrived. Without an interval a run of Airflow 3 has none.
    schedule=CronTriggerTimetable("10 * * * *", timezone="UTC", interval=timedelta(hours=1)),
    start_date=datetime(2026, 1, 1),
    catchup=False,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5)},
    doc_md=__doc__,
    tags=["portkey", "example"],
):
    export_logs = PortkeyLogsToObjectStorageOperator(
        task_id="export_logs",
        window_start="{{ data_interval_start - macros.timedelta(minutes=10) }}",
        window_end="{{ data_interval_end - macros.timedelta(minutes=10) }}",
        path=EXPORTS
        + "/logs/{{ (data_interval_start - macros.timedelta(minutes=10)).strftime('%Y-%m-%dT%H') }}.jsonl.gz",
        compression="gzip",
        deferrable=True,
        timeout=timedelta(hours=2),
    )

    @task
    def report(manifest: dict) -> str:
        """Say in one line what was exported."""
        line = f"{manifest['rows']} logs from {manifest['window_start']} on, in {len(manifest['parts'])} exports"
        print(line)
        return line

    report(export_logs.output)
