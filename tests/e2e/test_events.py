"""Asset events for finished runs and batches, while the triggerer is killed again and again."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from airflow_provider_portkey.hooks.portkey import PortkeyHook
from tests.e2e.conftest import OLD_BATCH

#: How often the triggerer is killed. Forty take a quarter of an hour.
RESTARTS = int(os.environ.get("E2E_KILLS", "3"))


@dataclass
class Watched:
    """Jobs of one kind, and what Airflow knows of those that finished."""

    kind: str
    airflow: Any
    provider: Any
    #: The jobs whose events are due.
    ended: list[str] = field(default_factory=list)

    @property
    def dag_id(self) -> str:
        return f"on_{self.kind}_finished"

    def begin(self, statuses: Any = "completed") -> str:
        """Add a job, and return its id."""
        if self.kind == "run":
            job = self.provider.add_run(thread_id="thread_events", statuses=statuses)
        else:
            job = self.provider.add_batch(statuses=statuses, metadata={"test": "events"})
        self.ended.append(job["id"])
        return self.ended[-1]

    def emitted(self) -> list[str]:
        """Return the jobs of all asset events so far, none while Airflow does not respond."""
        events: list[str] = []
        while True:
            path = f"/assets/events?name_pattern=finished_e2e_{self.kind}&limit=100&offset={len(events)}"
            page = (self.airflow.api.try_get(f"{path}&order_by=timestamp") or {"asset_events": []})["asset_events"]
            events += [event["extra"]["payload"]["id"] for event in page]
            if len(page) < 100:
                return events

    def handled(self) -> list[str]:
        """Return the jobs that the DAG's tasks have got so far."""
        dag_runs = self.airflow.api.get(f"/dags/{self.dag_id}/dagRuns", limit=100)["dag_runs"]
        ended = [each["dag_run_id"] for each in dag_runs if each["state"] == "success"]
        return [job for dag_run_id in ended for job in self.airflow.api.xcom(self.dag_id, dag_run_id, "keep")]

    def state(self) -> dict[str, Any]:
        """Return the state in the asset state store."""
        (asset,) = self.airflow.api.get("/assets", name_pattern=f"finished_e2e_{self.kind}")["assets"]
        (stored,) = self.airflow.api.get(f"/assets/{asset['id']}/state-store")["asset_state_store"]
        assert stored["key"].startswith(f"portkey_{self.kind}_events_")
        return dict(stored["value"])

    def wait_for(self, *jobs: str) -> None:
        self.airflow.wait_for(lambda: set(self.emitted()) >= set(jobs), "event of every job")


@pytest.fixture(params=["run", "batch"])
def watched(request: pytest.FixtureRequest, airflow: Any, provider: Any) -> Iterator[Watched]:
    """Have the DAG's watcher poll its list, and wait for the first event."""
    watched = Watched(request.param, airflow, provider)
    before = watched.begin()
    airflow.wait_for_dag(watched.dag_id)
    airflow.api.start_watchers(watched.dag_id)

    def first_event() -> bool:
        watched.begin()
        time.sleep(2)
        return bool(watched.emitted())

    airflow.wait_for(first_event, "event")
    # Jobs that had finished before the first poll emit no event, all later ones do.
    watched.wait_for(watched.ended[-1])
    watched.ended = watched.ended[watched.ended.index(watched.emitted()[0]) :]
    assert before not in watched.ended
    yield watched
    airflow.api.call("PATCH", f"/dags/{watched.dag_id}", {"is_paused": True})


def test_no_job_is_lost_however_often_the_triggerer_is_killed(airflow, watched, connection, monkeypatch):
    chance = random.Random(1)

    def begin(latest_end: float) -> str:
        return watched.begin(
            [("in_progress", 0), (chance.choice(["completed", "failed", "cancelled"]), chance.uniform(0, latest_end))]
        )

    for _ in range(RESTARTS):
        for latest_end in (1, 3, 6):
            begin(latest_end)
        time.sleep(chance.uniform(0.5, 4))
        airflow.kill("triggerer")
        # A job that finishes while no triggerer polls is emitted as well.
        begin(2)
        airflow.start_component("triggerer")
        watched.wait_for(begin(4))
    watched.wait_for(*watched.ended)
    if watched.kind == "batch":
        # The state knows what is active, also after the restarts: a batch of many hours ago finishes now.
        assert OLD_BATCH in watched.state()["pending"]
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(connection))
        PortkeyHook().cancel_batch(OLD_BATCH)
        watched.ended.append(OLD_BATCH)
        watched.wait_for(OLD_BATCH)
    airflow.wait_for(lambda: watched.state()["pending"] == [], "state without active jobs")
    # A kill between the two transactions, of an event and of the state, repeats the events of that delivery only.
    events = Counter(watched.emitted())
    repeated = [job for job, times in events.items() if times > 1]
    print(f"{RESTARTS} kills, {len(watched.ended)} {watched.kind} events, {len(repeated)} twice: {repeated}")
    assert set(events) == set(watched.ended)
    assert sum(events.values()) - len(watched.ended) <= RESTARTS
    assert events[OLD_BATCH] == (watched.kind == "batch")
    airflow.wait_for(watched.handled, "DAG run for an event")
    assert set(watched.handled()) <= set(watched.ended)
