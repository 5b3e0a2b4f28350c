"""Jobs that a task submits, on a real scheduler and triggerer: once, whatever happens to the worker."""

from __future__ import annotations

import json

import pytest

from tests.e2e.waiting import succeed


def responses(provider, question: str) -> int:
    posts = [request for request in provider.requests if (request.method, request.path) == ("POST", "/v1/responses")]
    return sum(json.loads(request.body)["input"] == question for request in posts)


@pytest.mark.parametrize("mode", ["poked", "rescheduled", "deferred"])
def test_a_response_is_created_once_and_waited_for(airflow, provider, mode):
    provider.plan("responses", statuses=[("queued", 0), ("in_progress", 1), ("completed", 6)])
    dag_run_id = airflow.api.trigger(f"response_{mode}", {"question": f"Why {mode}?"})
    succeed(airflow, f"response_{mode}", dag_run_id)
    assert airflow.api.xcom(f"response_{mode}", dag_run_id, "create_response")["status"] == "completed"
    assert responses(provider, f"Why {mode}?") == 1


def test_a_killed_worker_does_not_create_a_second_response(airflow, provider):
    provider.plan("responses", statuses=[("in_progress", 0), ("completed", 15)])
    dag_run_id = airflow.api.trigger("response_poked", {"question": "Still there?"})
    airflow.wait_for(lambda: responses(provider, "Still there?"), "response")
    earlier = len(provider.requests)
    airflow.wait_for(lambda: len(provider.requests) > earlier, "poll of the response")
    airflow.kill("task")
    succeed(airflow, "response_poked", dag_run_id)
    assert airflow.api.task_instances("response_poked", dag_run_id)["create_response"]["try_number"] == 2
    assert responses(provider, "Still there?") == 1
    assert "Continuing with response" in airflow.api.log("response_poked", dag_run_id, "create_response", 2)


def count(provider, method: str, part: str, *, since: int) -> int:
    """Count the requests after the first ``since`` ones."""
    return sum(request.method == method and part in request.path for request in provider.requests[since:])


def test_a_batch_survives_the_death_of_its_worker(airflow, provider, tmp_path):
    source, target = tmp_path / "requests.jsonl", tmp_path / "output.jsonl"
    line = {"method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-5-mini", "messages": []}}
    source.write_text("".join(json.dumps({"custom_id": f"request-{number}", **line}) + "\n" for number in range(300)))
    earlier = len(provider.requests)
    provider.plan("batches", statuses=[("validating", 0), ("in_progress", 2), ("completed", 14)])
    dag_run_id = airflow.api.trigger("batch", {"input": str(source), "output": str(target)})
    airflow.wait_for(lambda: count(provider, "GET", "/v1/batches/", since=earlier), "poll of the batch")
    airflow.kill("task")
    succeed(airflow, "batch", dag_run_id)
    assert count(provider, "POST", "/v1/files", since=earlier) == 1
    assert count(provider, "POST", "/v1/batches", since=earlier) == 1
    manifest = airflow.api.xcom("batch", dag_run_id, "output")
    assert (manifest["requests"], manifest["succeeded"], manifest["missing"]) == (300, 300, 0)
    assert len(target.read_text().splitlines()) == 300


def test_log_exports_survive_the_death_of_their_worker(airflow, provider, tmp_path):
    start, end = "2026-11-01T00:00:00+00:00", "2026-11-02T00:00:00+00:00"
    earlier = len(provider.requests)
    provider.add_logs(60_000, start, end)
    provider.plan("log_exports", times=None, statuses=[("in_progress", 0), ("success", 12)])
    path = tmp_path / "logs.jsonl"
    dag_run_id = airflow.api.trigger("logs", {"start": start, "end": end, "path": str(path)})
    airflow.wait_for(lambda: count(provider, "POST", "/start", since=earlier) >= 2, "start of both parts")
    airflow.kill("task")
    succeed(airflow, "logs", dag_run_id)
    assert count(provider, "POST", "/start", since=earlier) == 2
    rows = [json.loads(line)["id"] for line in path.read_text().splitlines()]
    assert len(rows) == len(set(rows)) == 60_000
    keys = {"authorization", "x-portkey-api-key"}
    assert provider.storage_requests
    assert not any(keys & request.headers.keys() for request in provider.storage_requests)
