"""Nights exported one after the other: backfilled, cleared, and while parts of Airflow are killed."""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from tests.e2e.waiting import succeed

VICTIMS = ("task", "scheduler", "triggerer")
#: Each costs some twenty seconds until Airflow has noticed; more of them by hand.
KILLS = int(os.environ.get("E2E_KILLS", len(VICTIMS)))
THREADS = ["nightly_a", "nightly_b", "nightly_c"]
FIRST_NIGHT = datetime(2026, 10, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def fetch(provider, path: str, **query: Any) -> dict[str, Any]:
    """Request something of the provider, past the gateway."""
    keys = {"Authorization": "Bearer mock-provider-key"}
    return requests.get(f"{provider.url}{path}", params=query, headers=keys, timeout=10).json()


def items_of(provider, path: str) -> list[dict[str, Any]]:
    """Request every item of a list of the provider, past the gateway."""
    found: list[dict[str, Any]] = []
    more = True
    while more:
        page = fetch(provider, path, limit=100, **({"after": found[-1]["id"]} if found else {}))
        found += page["data"]
        more = page["has_more"]
    return found


def steps_of(provider, thread_id: str, *, since: datetime) -> set[str]:
    """Return the ids of all steps that a thread has got since."""
    runs = [run for run in items_of(provider, f"/threads/{thread_id}/runs") if run["created_at"] >= since.timestamp()]
    return {step["id"] for run in runs for step in items_of(provider, f"/threads/{thread_id}/runs/{run['id']}/steps")}


def exported_steps(folder: Path) -> Counter[str]:
    """Return how often each step is in the files."""
    return Counter(json.loads(line)["id"] for file in folder.rglob("*.jsonl") for line in file.open())


def content(folder: Path) -> dict[str, bytes]:
    """Return the files of a window."""
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_week_is_backfilled_and_a_cleared_night_is_the_same(airflow, provider):
    for night in (FIRST_NIGHT + day * DAY for day in range(7)):
        for hour in (1, 13):
            created_at = int((night + timedelta(hours=hour)).timestamp())
            provider.add_run(thread_id="thread_nightly", created_at=created_at, statuses="completed", steps=120)
    airflow.wait_for_dag("portkey_nightly_export")
    week = {"from_date": FIRST_NIGHT.isoformat(), "to_date": (FIRST_NIGHT + 6 * DAY).isoformat()}
    body = {"dag_id": "portkey_nightly_export", **week, "max_active_runs": 1}
    backfill = airflow.api.call("POST", "/backfills", body)["id"]
    airflow.wait_for(lambda: airflow.api.get(f"/backfills/{backfill}")["completed_at"], "end of the backfill")

    steps = airflow.folder.parent / "exports" / "steps"
    nights = [steps / f"window_start={FIRST_NIGHT + day * DAY:%Y%m%dT%H%M%SZ}" for day in range(7)]
    for night in nights:
        manifest = json.loads((night / "_manifest.json").read_text())
        assert (manifest["runs"]["seen"], manifest["runs"]["exported"], manifest["rows"]) == (2, 2, 240)
    truth = steps_of(provider, "thread_nightly", since=FIRST_NIGHT)
    exported = exported_steps(steps)
    assert truth <= exported.keys()
    assert set(exported.values()) == {1}

    before = content(nights[3])
    runs = airflow.api.get("/dags/portkey_nightly_export/dagRuns", limit=100)["dag_runs"]
    (cleared,) = (run["dag_run_id"] for run in runs if run["data_interval_start"] == f"{nights_start(3)}")
    airflow.api.call(
        "POST",
        "/dags/portkey_nightly_export/clearTaskInstances",
        {"dry_run": False, "only_failed": False, "dag_run_id": cleared},
    )
    succeed(airflow, "portkey_nightly_export", cleared)
    assert airflow.api.task_instances("portkey_nightly_export", cleared)["export_steps"]["try_number"] == 2
    assert content(nights[3]) == before


def nights_start(day: int) -> str:
    """Return the beginning of a night as Airflow's API writes it."""
    return f"{FIRST_NIGHT + day * DAY:%Y-%m-%dT%H:%M:%SZ}"


def add_night(provider, night: datetime, *, unfinished_for: float) -> None:
    """Give each thread four runs that have ended, and one that has not yet."""
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


def test_every_step_is_exported_exactly_once_whatever_was_killed(airflow, provider, tmp_path):
    chance = random.Random(20261001)
    # Otherwise a night would be over before anything is killed.
    provider.fault(delay=0.2, path="*/threads/nightly_*", times=None)
    folder, night, dag_run_id = tmp_path / "steps", FIRST_NIGHT, None
    kills = Counter[str]()

    def export(night: datetime) -> str:
        window = {"start": night.isoformat(), "end": (night + DAY).isoformat()}
        conf: Mapping[str, Any] = {**window, "path": str(folder), "thread_ids": THREADS}
        return airflow.api.trigger("nightly", conf)

    def sent() -> int:
        return sum("/threads/nightly_" in request.path for request in provider.requests)

    def is_over() -> bool:
        return (airflow.api.try_get(f"/dags/nightly/dagRuns/{dag_run_id}") or {"state": None})["state"] == "success"

    while kills.total() < KILLS:
        if dag_run_id is None or is_over():
            add_night(provider, night, unfinished_for=60)
            dag_run_id, night = export(night), night + DAY
        threshold = sent() + chance.randint(1, 40)
        airflow.wait_for(lambda at=threshold: sent() >= at or is_over(), "next kill")
        victim = VICTIMS[kills.total() % len(VICTIMS)]
        if airflow.processes_of(victim):
            airflow.kill(victim)
            kills[victim] += 1
            if victim != "task":
                airflow.start_component(victim)
    succeed(airflow, "nightly", dag_run_id)

    def all_ended() -> bool:
        listings = [fetch(provider, f"/threads/{thread_id}/runs", limit=100) for thread_id in THREADS]
        return all(run["status"] == "completed" for listing in listings for run in listing["data"])

    airflow.wait_for(all_ended, "end of every run")
    # A night without runs of its own, for the runs that the last one carries over.
    succeed(airflow, "nightly", export(night))
    truth = Counter(step for thread_id in THREADS for step in steps_of(provider, thread_id, since=FIRST_NIGHT))
    print(f"{kills.total()} kills, {(night - FIRST_NIGHT).days} nights, {truth.total()} steps")
    assert exported_steps(folder) == truth
    assert not list(folder.rglob("*.part"))
