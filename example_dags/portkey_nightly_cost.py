"""Every night, export what the day cost: by team, by user, and in the columns of FOCUS for a FinOps tool."""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG
from airflow.timetables.interval import CronDataIntervalTimetable

from airflow_provider_portkey.transfers.analytics_to_object_storage import PortkeyAnalyticsToObjectStorageOperator

EXPORTS = os.environ.get("PORTKEY_EXAMPLE_EXPORTS", "/tmp/portkey/exports")  # noqa: S108
WORKSPACE = os.environ.get("PORTKEY_EXAMPLE_WORKSPACE", "ws-demo")

with DAG(
    dag_id="portkey_nightly_cost",
    # Ten minutes after midnight, so that the last requests of the day are counted.
    schedule=CronDataIntervalTimetable("10 0 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1),
    catchup=False,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5)},
    doc_md=__doc__,
    tags=["portkey", "example"],
):
    day = {
        "workspace_slug": WORKSPACE,
        "window_start": "{{ data_interval_start - macros.timedelta(minutes=10) }}",
        "window_end": "{{ data_interval_end - macros.timedelta(minutes=10) }}",
    }
    date = "{{ (data_interval_start - macros.timedelta(minutes=10)) | ds }}"

    cost_by_team = PortkeyAnalyticsToObjectStorageOperator(
        task_id="cost_by_team",
        report="cost",
        group_by="metadata.team",
        interval="day",
        path=f"{EXPORTS}/cost_by_team/date={date}/cost.parquet",
        file_format="parquet",
        **day,
    )
    tokens_by_user = PortkeyAnalyticsToObjectStorageOperator(
        task_id="tokens_by_user",
        report="tokens",
        group_by="user",
        interval="day",
        path=f"{EXPORTS}/tokens_by_user/date={date}/tokens.parquet",
        file_format="parquet",
        **day,
    )
    focus = PortkeyAnalyticsToObjectStorageOperator(
        task_id="focus",
        report="cost",
        group_by="metadata.team",
        columns="focus",
        path=f"{EXPORTS}/focus/date={date}/cost.csv",
        file_format="csv",
        **day,
    )
