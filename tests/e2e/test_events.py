"""Asset events for finished runs, while the triggerer is killed again and again."""

from __future__ import annotations

import os
import random
import time
from collections import Counter

import pytest

#: How often the triggerer is killed. Forty take a quarter of an hour.
RESTARTS = int(os.environ.get("E2E_KILLS", "3"))


def emitted(airflow) -> list[str]:
    """Return the runs of all asset events so far, none while Airflow does not respond."""
    events: list[str] = []
    while True:
        path = f"/assets/events?name_pattern=finished_runs_e2e&limit=100&offset={len(events)}&order_by=timestamp"
        page = (airflow.api.try_get(path) or {"asset_events": []})["asset_events"]
        events += [event["extra"]["payload"]["id"] for event in page]
        if len(page) < 100:
            return events


def handled(airflow) -> list[str]:
    """Return the runs that the DAG's tasks have got so far."""
    dag_runs = airflow.api.get("/dags/on_run_finished/dagRuns", limit=100)["dag_runs"]
    ended = [each["dag_run_id"] for each in dag_runs if each["state"] == "success"]
    return [run_id for dag_run_id in ended for run_id in airflow.api.xcom("on_run_finished", dag_run_id, "keep")]


@pytest.fixture
def watched(airflow, provider):
    """Have the DAG's watcher poll its thread, and wait for the first event."""
    provider.add_run(thread_id="thread_events", run_id="run_before")
    airflow.wait_for_dag("on_run_finished")
    airflow.api.unpause("on_run_finished")
    probes: list[str] = []

    def first_event() -> bool:
        probes.append(provider.add_run(thread_id="thread_events")["id"])
        time.sleep(2)
        return bool(emitted(airflow))

    airflow.wait_for(first_event, "event")
    # Runs that had finished before the first poll emit no event, all later ones do.
    airflow.wait_for(lambda: probes[-1] in emitted(airflow), "event of the last run")
    yield probes[probes.index(emitted(airflow)[0]) :]
    airflow.api.call("PATCH", "/dags/on_run_finished", {"is_paused": True})


def test_no_run_is_lost_however_often_the_triggerer_is_killed(airflow, provider, watched):
    chance = random.Random(1)
    ended = list(watched)

    def begin(latest_end: float) -> str:
        statuses = [("queued", 0), (chance.choice(["completed", "failed", "cancelled"]), chance.uniform(0, latest_end))]
        ended.append(provider.add_run(thread_id="thread_events", statuses=statuses)["id"])
        return ended[-1]

    for _ in range(RESTARTS):
        for latest_end in (1, 3, 6):
            begin(latest_end)
        time.sleep(chance.uniform(0.5, 4))
        airflow.kill("triggerer")
        # A run that finishes while no triggerer polls is emitted as well.
        begin(2)
        airflow.start_component("triggerer")
        last = begin(4)
        airflow.wait_for(lambda last=last: last in emitted(airflow), "event after the restart")
    airflow.wait_for(lambda: set(emitted(airflow)) >= set(ended), "event of every run")
    # A kill between the two transactions, of an event and of the state, repeats the events of that delivery only.
    events = Counter(emitted(airflow))
    repeated = [run_id for run_id, times in events.items() if times > 1]
    print(f"{RESTARTS} kills, {len(ended)} runs, {len(repeated)} emitted twice: {repeated}")
    assert set(events) == set(ended)
    assert sum(events.values()) - len(ended) <= RESTARTS
    airflow.wait_for(lambda: handled(airflow), "DAG run for an event")
    assert set(handled(airflow)) <= set(ended)
