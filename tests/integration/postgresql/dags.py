"""The DAGs of test_postgresql.py, and what it does with them in a process whose Airflow is on PostgreSQL."""

from __future__ import annotations

import json
import os

from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS
from airflow.sdk import DAG, Asset, AssetWatcher, task

from airflow_provider_portkey.operators.lists import PortkeyRunStepsOperator
from airflow_provider_portkey.operators.run import PortkeyCancelRunOperator
from airflow_provider_portkey.sensors.run import PortkeyRunSensor
from airflow_provider_portkey.transfers.steps_to_object_storage import PortkeyRunStepsToObjectStorageOperator
from airflow_provider_portkey.triggers.run_event import PortkeyRunEventTrigger

RUN = {"thread_id": "thread_1", "run_id": "run_1"}

with DAG("odd_values", schedule=None) as odd_values:
    PortkeyRunSensor(task_id="poked", **RUN, poke_interval=1)
    PortkeyRunSensor(task_id="deferred", **RUN, deferrable=True, poke_interval=1)
    PortkeyCancelRunOperator(task_id="cancelled", **RUN)
    PortkeyRunStepsOperator(task_id="steps", **RUN)
    PortkeyRunStepsToObjectStorageOperator(task_id="exported", **RUN, path=os.environ["EXPORTED"])

    @task
    def remember(**context) -> None:
        """Keep odd values as a task keeps the job that it submitted."""
        from airflow_provider_portkey.state.task import TaskState

        known = {"ids": {"run_id": "run\0\ud83d"}, "since": float("nan")}
        TaskState(context).write(known)
        assert TaskState(context).read() == {"ids": {"run_id": "run\\u0000\\ud83d"}, "since": None}
        without_store = {"ti": context["ti"]}
        TaskState(without_store).write(known)
        assert TaskState(without_store).read() == {"ids": {"run_id": "run\\u0000\\ud83d"}, "since": None}

    remember()

trigger = PortkeyRunEventTrigger(thread_id="thread_2", poll_interval=1)
with DAG(
    "on_run_end",
    schedule=[Asset("ended_runs", watchers=[AssetWatcher(name="ended_runs", trigger=trigger)])],
    is_paused_upon_creation=False,
):

    @task
    def handle() -> None:
        """Do nothing."""

    handle()


def run() -> None:
    """Run the DAG, print its XComs by task, and defer two of its tasks again."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.trigger import Trigger
    from airflow.settings import Session
    from sqlalchemy import select

    from airflow_provider_portkey.polling.wait_state import WaitState
    from airflow_provider_portkey.triggers.run import PortkeyRunTrigger

    if not AIRFLOW_V_3_1_PLUS:  # later versions store the DAGs of the folder when one of them is tested
        from airflow.dag_processing.bundles.manager import DagBundlesManager
        from airflow.models.dagbag import DagBag

        DagBundlesManager().sync_bundles_to_db()
        for _ in range(2):  # a watcher is stored with the first parse after that of its DAG
            DagBag(__file__).sync_to_db(bundle_name="dags-folder", bundle_version=None)
    dag_run = odd_values.test()
    tasks = {one.task_id: one for one in dag_run.get_task_instances()}
    print(json.dumps({name: [str(one.state), one.xcom_pull(task_ids=name)] for name, one in tasks.items()}))
    session = Session()
    for task_id, run_id in (("poked", "run_odd"), ("deferred", "run_fine")):
        state = WaitState(started_at=0, deadline=2**33, poll_interval=1)
        trigger = Trigger.from_object(
            PortkeyRunTrigger(thread_id="thread_1", run_id=run_id, wait_state=state.to_dict())
        )
        session.add(trigger)
        session.flush()
        query = select(TaskInstance).where(TaskInstance.task_id == task_id)
        one = session.scalars(query).one()
        one.state, one.trigger_id, one.next_method, one.next_kwargs = "deferred", trigger.id, "execute_complete", {}
    session.commit()


if __name__ == "__main__":
    run()
