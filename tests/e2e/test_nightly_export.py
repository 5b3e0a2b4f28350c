"""Nights exported one after the other, while parts of Airflow are killed."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import requests

from tests.e2e.waiting import succeed, until

#: Each costs some twenty seconds until Airflow has noticed; more of them by hand.
KILLS = int(os.environ.get("E2E_KILLS", "4"))
VICTIMS = ("task", "scheduler", "triggerer")
THREADS = ["nightly_a", "nightly_b", "nightly_c"]
FIRST_NIGHT = datetime(2026, 10, 1, tzinfo=UTC)


def add_night(provider, night: datetime, *, unfinished_for: float) -> None:
    """Each thread gets four runs that have ended, and one that has not yet."""
    for thread_id in THREADS:
        for hour in range(0, 20, 5):
            created_at = int((night + timedelta(hours=hour)).timestamp())
            provider.add_run(thread_id=thread_id, created_at=created_at, statuses="completed", steps=150)
        provider.add_run(
            thread_id=thread_id,
            created_at=int((night + timedelta(hours=23, minutes=59)).timestamp()),
            statuses=[("in_progress", 0), ("completed", unfinished_for)],
            steps=40,
        )


def steps_of(provider, thread_id: str) -> set[str]:
    """Ask the provider itself for the ids of all steps."""
    keys = {"Authorization": "Bearer stand-in-provider-key"}

    def ids(path: str) -> list[str]:
        found: list[str] = []
        while True:
            after = {"after": found[-1]} if found else {}
            page = requests.get(
                f"{provider.url}{path}", params={"limit": 100, **after}, headers=keys, timeout=10
            ).json()
            found += [item["id"] for item in page["data"]]
            if not page["has_more"]:
                return found

    runs = ids(f"/threads/{thread_id}/runs")
    return {step for run in runs for step in ids(f"/threads/{thread_id}/runs/{run}/steps")}


def landed(path: Path) -> Counter[str]:
    return Counter(json.loads(line)["id"] for file in path.rglob("*.jsonl") for line in file.read_text().splitlines())


def test_every_step_stands_exactly_once_whatever_was_killed(airflow, provider, tmp_path):
    chance = random.Random(20261001)
    provider.fault(delay=0.3, path="*/threads/nightly_*", times=None)
    kills = Counter[str]()
    night, path, dag_run_id = FIRST_NIGHT, tmp_path / "steps", None

    def export(night: datetime) -> str:
        start, end = (each.isoformat() for each in (night, night + timedelta(days=1)))
        return airflow.api.trigger("nightly", {"start": start, "end": end, "path": str(path), "thread_ids": THREADS})

    def asked() -> int:
        return sum("/threads/nightly_" in request.path for request in provider.requests)

    def over() -> bool:
        return airflow.api.run_state("nightly", dag_run_id) == "success"

    while kills.total() < KILLS:
        if dag_run_id is None or over():
            add_night(provider, night, unfinished_for=60)
            dag_run_id, night = export(night), night + timedelta(days=1)
        moment = asked() + chance.randint(1, 40)
        until(lambda at=moment: asked() >= at or over(), 120, "next moment")
        victim = VICTIMS[kills.total() % len(VICTIMS)]
        if airflow.processes_of(victim):
            airflow.kill(victim)
            kills[victim] += 1
            if victim != "task":
                airflow.start_component(victim)
    succeed(airflow, "nightly", dag_run_id, seconds=300)
    # Two nights more: the first of them has nothing but what the night before had left unfinished.
    until(lambda: all(b'"in_progress"' not in listing(provider, each) for each in THREADS), 120, "end of every run")
    succeed(airflow, "nightly", export(night), seconds=300)
    truth = Counter({step: 1 for thread_id in THREADS for step in steps_of(provider, thread_id)})
    assert truth.total() > 0
    assert landed(path) == truth
    assert not list(path.rglob("*.part"))


def listing(provider, thread_id: str) -> bytes:
    keys = {"Authorization": "Bearer stand-in-provider-key"}
    return requests.get(f"{provider.url}/threads/{thread_id}/runs?limit=100", headers=keys, timeout=10).content
