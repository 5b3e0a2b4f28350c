"""Runs that a task starts, on a real scheduler and triggerer: once, with tool outputs, and cancelled with the task."""

from __future__ import annotations

import json

import pytest

from tests.e2e.waiting import succeed

ACTIVE = [("queued", 0), ("in_progress", 1)]


def posts(provider, thread_id: str, end: str) -> list[dict]:
    path = f"/v1/threads/{thread_id}/runs"
    found = [one for one in provider.requests if one.method == "POST" and one.path.startswith(path)]
    return [json.loads(one.body or "{}") for one in found if one.path.endswith(end)]


def polls(provider, thread_id: str) -> int:
    path = f"/v1/threads/{thread_id}/runs"
    return sum(one.method == "GET" and one.path.startswith(path) for one in provider.requests)


def start(airflow, provider, mode: str, thread_id: str) -> str:
    airflow.wait_for_dag(f"run_{mode}")
    provider.add_messages(thread_id=thread_id, texts=["Why?"])
    return airflow.api.trigger(f"run_{mode}", {"thread_id": thread_id})


@pytest.mark.parametrize("mode", ["poked", "rescheduled", "deferred"])
def test_the_output_of_a_function_call_is_submitted_in_every_mode(airflow, provider, mode):
    thread_id = f"thread_calls_{mode}"
    again = {"id": "call_again", "type": "function", "function": {"name": "look_up", "arguments": '{"question": "2"}'}}
    provider.plan("runs", statuses=[*ACTIVE, ("requires_action", 2)], further_tool_calls=[[again]])
    dag_run_id = start(airflow, provider, mode, thread_id)
    succeed(airflow, f"run_{mode}", dag_run_id)
    run = airflow.api.xcom(f"run_{mode}", dag_run_id, "create_run")
    assert (run["status"], run["thread_id"]) == ("completed", thread_id)
    assert len(posts(provider, thread_id, "/runs")) == 1
    outputs = [body["tool_outputs"] for body in posts(provider, thread_id, "/submit_tool_outputs")]
    assert [[json.loads(one["output"]) for one in each] for each in outputs] == [
        [{"found": "mock-server"}],
        [{"found": "2"}],
    ]


def test_a_killed_worker_does_not_start_a_second_run(airflow, provider):
    thread_id = "thread_killed"
    provider.plan("runs", statuses=[*ACTIVE, ("completed", 15)])
    dag_run_id = start(airflow, provider, "poked", thread_id)
    airflow.wait_for(lambda: posts(provider, thread_id, "/runs"), "run")
    airflow.wait_for(lambda: polls(provider, thread_id), "poll of the run")
    airflow.kill("task")
    succeed(airflow, "run_poked", dag_run_id)
    assert airflow.api.task_instances("run_poked", dag_run_id)["create_run"]["try_number"] == 2
    assert len(posts(provider, thread_id, "/runs")) == 1
    assert posts(provider, thread_id, "/cancel") == []
    assert "Continuing with run" in airflow.api.log("run_poked", dag_run_id, "create_run", 2)


def test_a_deferred_task_that_is_marked_failed_cancels_its_run_once(airflow, provider):
    thread_id = "thread_marked"
    provider.plan("runs", statuses=ACTIVE)
    dag_run_id = start(airflow, provider, "deferred", thread_id)
    # The worker polls once; every later poll is the triggerer's.
    airflow.wait_for(lambda: polls(provider, thread_id) >= 3, "poll by the triggerer")
    assert airflow.api.task_instances("run_deferred", dag_run_id)["create_run"]["state"] == "deferred"
    airflow.api.set_task_state("run_deferred", dag_run_id, "create_run", "failed")
    airflow.wait_for(lambda: posts(provider, thread_id, "/cancel"), "cancel")
    airflow.wait_for_run("run_deferred", dag_run_id)
    assert len(posts(provider, thread_id, "/cancel")) == 1
    assert len(posts(provider, thread_id, "/runs")) == 1
