"""The example of an event-driven DAG on a real metadata database: its watcher, and the events of its task."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

EXAMPLE = Path(__file__).parents[2] / "example_dags" / "portkey_on_run_end.py"

pytestmark = pytest.mark.skipif(not AIRFLOW_V_3_0_PLUS, reason="Airflow 2 has no asset watchers")


@pytest.fixture(scope="module")
def dag(parse_dags):
    return parse_dags(EXAMPLE)["portkey_on_run_end"]


def test_a_dag_run_by_hand_has_no_event(dag):
    dag_run = dag.test()
    (task_instance,) = dag_run.get_task_instances()
    assert task_instance.state == "success"
    assert task_instance.xcom_pull(task_ids="handle") == []


def test_the_watcher_survives_the_trip_through_the_database(dag):
    from airflow.models.trigger import Trigger

    try:
        from airflow.serialization.encoders import encode_trigger
    except ImportError:  # before Airflow 3.2
        from airflow.serialization.serialized_objects import _encode_trigger as encode_trigger

    from airflow_provider_portkey.triggers.run_event import PortkeyRunEventTrigger

    (asset,) = dag.schedule
    (watcher,) = asset.watchers
    row = encode_trigger(watcher.trigger)
    stored = Trigger(classpath=row["classpath"], kwargs=row["kwargs"])
    again = PortkeyRunEventTrigger(**stored.kwargs)
    assert again.serialize() == watcher.trigger.serialize()
