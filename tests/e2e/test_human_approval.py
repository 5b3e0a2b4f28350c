"""A person who approves, rejects or says nothing: the run gets its outputs, and continues."""

from __future__ import annotations

import json

import pytest
import requests
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS

from tests.e2e.test_create_run import posts
from tests.e2e.waiting import succeed

pytestmark = pytest.mark.skipif(not AIRFLOW_V_3_1_PLUS, reason="Airflow 3.1 has the operators")

DAG_ID = "portkey_human_approval"
CALL = {
    "id": "call_refund",
    "type": "function",
    "function": {"name": "refund", "arguments": '{"order": "A-1", "amount": 12.5}'},
}
REQUIRED = ("requires_action", 1)
REJECTED = "A person did not approve the call."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("approval")


@pytest.fixture(scope="module")
def start(airflow, provider, folder):
    """Start the example on a thread of its own, whose runs call the function."""

    def start(name: str, *statuses: tuple[str, float]) -> tuple[str, str]:
        airflow.wait_for_dag(DAG_ID)
        thread_id = f"thread_approval_{name}"
        provider.add_messages(thread_id=thread_id, texts=["Order A-1 arrived broken."])
        provider.plan("runs", statuses=[("queued", 0), *statuses], tool_calls=[CALL], steps=3)
        path = str(folder / f"{name}.jsonl")
        conf = {"thread_id": thread_id, "path": path}
        dag_run_id = airflow.api.trigger(DAG_ID, conf)
        airflow.wait_for(lambda: posts(provider, thread_id, "/runs"), "run")
        return thread_id, dag_run_id

    return start


@pytest.fixture(scope="module", autouse=True)
def silent(start) -> tuple[str, str]:
    """Start the run to which nobody responds: its time passes while the other tests run."""
    return start("silent", REQUIRED)


def details(dag_run_id: str) -> str:
    return f"/dags/{DAG_ID}/dagRuns/{dag_run_id}/taskInstances/approve/-1/hitlDetails"


def respond(airflow, dag_run_id: str, option: str, comment: str) -> None:
    # The question is stored before the task waits, and the task waits before the scheduler has the end of its process:
    # the scheduler tries the task again where a response comes between. A person is slower.
    end = f"TaskInstance Finished: dag_id={DAG_ID}, task_id=approve, run_id={dag_run_id},"
    airflow.wait_for(lambda: end in airflow.log_text(), "question to a person")
    question = airflow.api.get(details(dag_run_id))
    assert question["subject"].startswith("Approve what run run_")
    assert question["body"].strip() == CALL["function"]["name"] + " " + CALL["function"]["arguments"]
    assert question["options"] == ["Approve", "Reject"]
    # On Airflow 3.1 the DAG's params are part of the form, and a response has them all.
    values = {name: param["value"] for name, param in question["params"].items()}
    body = {"chosen_options": [option], "params_input": values | {"comment": comment}}
    airflow.wait_for(lambda: airflow.api.call("PATCH", details(dag_run_id), body), "receipt of the response")


def submitted(provider, thread_id: str) -> list[dict]:
    (body,) = posts(provider, thread_id, "/submit_tool_outputs")
    return [json.loads(one["output"]) for one in body["tool_outputs"]]


def latest_run(provider, thread_id: str) -> dict:
    headers = {"Authorization": "Bearer sk", "OpenAI-Beta": "assistants=v2"}
    response = requests.get(f"{provider.url}/threads/{thread_id}/runs", headers=headers, timeout=10)
    return dict(response.json()["data"][0])


def states(airflow, dag_run_id: str) -> dict[str, str]:
    return {name: task["state"] for name, task in airflow.api.task_instances(DAG_ID, dag_run_id).items()}


def test_the_run_continues_whatever_the_person_does(airflow, provider, start, folder):
    approved_thread, approved = start("approved", REQUIRED)
    respond(airflow, approved, "Approve", "Fine.")
    rejected_thread, rejected = start("rejected", REQUIRED)
    respond(airflow, rejected, "Reject", "Too much.")

    succeed(airflow, DAG_ID, approved)
    assert set(states(airflow, approved).values()) == {"success"}
    assert submitted(provider, approved_thread) == [{"order": "A-1", "refunded": 12.5}]
    assert len((folder / "approved.jsonl").read_text().splitlines()) == 3

    succeed(airflow, DAG_ID, rejected)
    assert set(states(airflow, rejected).values()) == {"success"}
    assert submitted(provider, rejected_thread) == [{"error": REJECTED, "comment": "Too much."}]


def test_a_run_that_calls_nothing_needs_nobody(airflow, provider, start):
    thread_id, dag_run_id = start("nothing", ("completed", 1))
    succeed(airflow, DAG_ID, dag_run_id)
    skipped = {name for name, state in states(airflow, dag_run_id).items() if state == "skipped"}
    assert skipped == {"approve", "outputs", "submit_outputs", "wait_for_run"}
    assert posts(provider, thread_id, "/submit_tool_outputs") == []


def test_a_run_that_expires_while_the_person_thinks_fails_with_that_reason(airflow, provider, start):
    thread_id, dag_run_id = start("expired", ("requires_action", 1), ("expired", 30))
    airflow.wait_for(lambda: latest_run(provider, thread_id)["status"] == "expired", "end of the run")
    respond(airflow, dag_run_id, "Reject", "Too late.")
    assert airflow.wait_for_run(DAG_ID, dag_run_id) == "failed"
    found = states(airflow, dag_run_id)
    assert (found["submit_outputs"], found["wait_for_run"]) == ("failed", "upstream_failed")
    assert posts(provider, thread_id, "/submit_tool_outputs") == []
    assert "finished as expired" in airflow.api.log(DAG_ID, dag_run_id, "submit_outputs")


def test_the_default_rejects_where_the_person_says_nothing(airflow, provider, silent):
    thread_id, dag_run_id = silent
    succeed(airflow, DAG_ID, dag_run_id)
    assert submitted(provider, thread_id) == [{"error": REJECTED, "comment": ""}]
    assert airflow.api.get(details(dag_run_id))["responded_by_user"] is None
