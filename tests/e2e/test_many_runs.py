"""More deferred waits on one thread than a page has runs, on a real triggerer."""

from __future__ import annotations

import time

from airflow_provider_portkey.links import trace_id
from tests.e2e.waiting import succeed

#: As in the example DAG.
INTERVAL = 5.0
#: More than a page has.
RUNS = 110


def test_waits_on_one_thread_share_their_polls(airflow, provider):
    runs = [run["id"] for run in provider.add_runs(thread_id="thread_many", count=RUNS, statuses="in_progress")]
    dag_run_id = airflow.api.trigger("portkey_many_runs", {"thread_id": "thread_many", "runs": RUNS})

    def wait_for_tasks(count: int, state: str) -> None:
        path = f"/dags/portkey_many_runs/dagRuns/{dag_run_id}/taskInstances"
        what = f"{count} tasks in state {state}"
        airflow.wait_for(lambda: airflow.api.get(path, state=state, limit=1)["total_entries"] >= count, what)

    # Four tasks at a time poll once and defer: each of these waits is a short one.
    for count in [*range(20, RUNS, 20), RUNS + 1]:
        wait_for_tasks(count, "deferred")
    # The triggerer starts the last ones within seconds; from their second poll on all share their requests.
    airflow.wait_for(lambda: per_interval(provider) <= 6, "shared polls")
    requests = per_interval(provider)
    print(f"{RUNS} mapped waits and one sensor for {RUNS} runs: {requests:.1f} requests in {INTERVAL:g} s")
    for run_id in runs:
        provider.set_run_statuses(thread_id="thread_many", run_id=run_id, statuses="completed")
    for count in range(20, RUNS, 20):
        wait_for_tasks(count, "success")
    succeed(airflow, "portkey_many_runs", dag_run_id)
    summary = airflow.api.xcom("portkey_many_runs", dag_run_id, "wait_for_all")
    assert (summary["total"], summary["status_counts"]) == (RUNS, {"completed": RUNS})
    links = airflow.api.links("portkey_many_runs", dag_run_id, "wait_for_each", map_index=7)
    assert trace_id("portkey_many_runs", dag_run_id, "wait_for_each", 7, 1) in links["Portkey trace"]


def per_interval(provider, intervals: int = 2) -> float:
    """Count the requests for the thread, now and for some intervals."""
    before = len(provider.requests)
    time.sleep(intervals * INTERVAL)
    return sum("/thread_many/" in request.path for request in provider.requests[before:]) / intervals
