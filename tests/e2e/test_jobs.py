"""Jobs that a task submits, on a real scheduler and triggerer: once, whatever happens to the worker."""

from __future__ import annotations

import json

import pytest

from tests.e2e.waiting import succeed, until


def responses(provider, question: str) -> int:
    posts = [request for request in provider.requests if (request.method, request.path) == ("POST", "/v1/responses")]
    return sum(json.loads(request.body)["input"] == question for request in posts)


@pytest.mark.parametrize("mode", ["poked", "rescheduled", "deferred"])
def test_a_response_is_made_once_and_waited_for(airflow, provider, mode):
    provider.plan("responses", statuses=[("queued", 0), ("in_progress", 1), ("completed", 6)])
    dag_run_id = airflow.api.trigger(f"response_{mode}", {"question": f"Why {mode}?"})
    succeed(airflow, f"response_{mode}", dag_run_id)
    assert airflow.api.xcom(f"response_{mode}", dag_run_id, "ask")["status"] == "completed"
    assert responses(provider, f"Why {mode}?") == 1


def test_a_killed_worker_does_not_make_a_second_response(airflow, provider):
    provider.plan("responses", statuses=[("in_progress", 0), ("completed", 15)])
    dag_run_id = airflow.api.trigger("response_poked", {"question": "Still there?"})
    until(lambda: responses(provider, "Still there?"), 60, "response")
    looks = len(provider.requests)
    until(lambda: len(provider.requests) > looks, 60, "look at it")
    airflow.kill("task")
    succeed(airflow, "response_poked", dag_run_id)
    assert airflow.api.task_instances("response_poked", dag_run_id)["ask"]["try_number"] == 2
    assert responses(provider, "Still there?") == 1
    assert "Going on with response" in airflow.api.log("response_poked", dag_run_id, "ask", 2)
