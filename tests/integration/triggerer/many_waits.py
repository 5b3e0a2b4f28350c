"""Defers a thousand waits, and one that polls in threads, for test_many_deferred_waits.py: a process with Airflow."""

from __future__ import annotations

import sys
import time

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.triggers.base import BaseTrigger
from threaded_trigger import ThreadedTrigger

with DAG("many_waits", schedule=None) as many_waits:
    waiting = EmptyOperator(task_id="waiting")


def defer(url: str, waits: int, interval: float, seconds: float) -> None:
    """
    Defer a task in Airflow's database as often as there are waits, each for a run on a thread of its own.

    Once more for the trigger that polls in threads, with the next number.

    :param url: Of ``benchmarks.provider``.
    :param waits: How many.
    :param interval: Seconds between two polls of each.
    :param seconds: Seconds from now until the runs have completed: one after the other in the last third.
    """
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.trigger import Trigger
    from airflow.settings import Session
    from sqlalchemy import select

    from airflow_provider_portkey.polling.wait_state import WaitState
    from airflow_provider_portkey.triggers.run import PortkeyRunTrigger

    many_waits.test()
    now = time.time()

    def trigger_of(number: int) -> BaseTrigger:
        if number == waits:
            return ThreadedTrigger(f"{url}/threads/thread_{number}/runs/run_until_{now + seconds}", interval)
        return PortkeyRunTrigger(
            thread_id=f"thread_{number}",
            run_id=f"run_until_{now + seconds * (2 + number / waits) / 3}",
            # As the task leaves it after its own poll.
            wait_state=WaitState(
                started_at=now, deadline=now + 3600, poll_interval=interval, status="in_progress"
            ).to_dict(),
        )

    session = Session()
    first = session.scalars(select(TaskInstance)).one()
    for number in range(waits + 1):
        session.add(trigger := Trigger.from_object(trigger_of(number)))
        session.flush()
        deferred = TaskInstance(
            waiting, dag_version_id=first.dag_version_id, run_id=first.run_id, state="deferred", map_index=number
        )
        deferred.trigger_id, deferred.next_method, deferred.next_kwargs = trigger.id, "execute_complete", {}
        session.add(deferred)
    session.commit()


if __name__ == "__main__":
    defer(sys.argv[1], *map(int, sys.argv[2:]))
