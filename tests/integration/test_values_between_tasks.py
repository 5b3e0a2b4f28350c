"""Values between tasks: native rendering, and single items of a result."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS, AIRFLOW_V_3_1_PLUS

from airflow_provider_portkey.testing import PortkeyMockServer


@pytest.fixture
def mock_server(monkeypatch: pytest.MonkeyPatch):
    with PortkeyMockServer() as mock_server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(mock_server.connection()))
        yield mock_server


def run(parse_dags, monkeypatch: pytest.MonkeyPatch, folder: Path, code: str, **conf):
    """Run a DAG that a file of its own defines, and return its XComs."""
    file = folder / "flow.py"
    file.write_text(dedent(code))
    monkeypatch.setattr("airflow.settings.DAGS_FOLDER", str(folder))
    dag_run = parse_dags(file)["flow"].test(run_conf=conf)
    tasks = {task.task_id: task for task in dag_run.get_task_instances()}
    assert {name: str(task.state) for name, task in tasks.items()} == dict.fromkeys(tasks, "success")
    return {name: task.xcom_pull(task_ids=name) for name, task in tasks.items()}


HEAD = """
from airflow.providers.common.compat.sdk import DAG, task
from airflow_provider_portkey.operators.job import PortkeyCreateResponseOperator, PortkeyResponseItemsOperator
from airflow_provider_portkey.operators.run import PortkeyCreateRunOperator
from airflow_provider_portkey.operators.lists import PortkeyRunStepsOperator
from airflow_provider_portkey.sensors.run import PortkeyRunSensor, PortkeyThreadRunsSensor
from airflow_provider_portkey.transfers.steps_to_object_storage import PortkeyRunStepsToObjectStorageOperator
"""


@pytest.mark.skipif(
    AIRFLOW_V_3_0_PLUS and not AIRFLOW_V_3_1_PLUS,
    reason="Airflow 3.0 stores no XCom that is null, so a task with multiple_outputs fails where one item is null",
)
@pytest.mark.parametrize("deferrable", [False, True])
def test_single_items_of_a_result_are_outputs_of_their_own(parse_dags, mock_server, monkeypatch, tmp_path, deferrable):
    code = f"""{HEAD}
with DAG("flow", schedule=None):
    create = PortkeyCreateResponseOperator(
        task_id="create", model="m", input="42", multiple_outputs=True, deferrable={deferrable}, poke_interval=0.2
    )
    PortkeyResponseItemsOperator(task_id="items", response_id=create.output["id"])

    @task
    def report(response: dict) -> str:
        return response["status"]

    report(create.output)
"""
    xcoms = run(parse_dags, monkeypatch, tmp_path, code)

    assert (xcoms["report"], xcoms["create"]["status"]) == ("completed", "completed")
    assert xcoms["items"]


def test_ids_inputs_and_metadata_of_digits_with_native_rendering(parse_dags, mock_server, monkeypatch, tmp_path):
    for run_id in ("1", "22"):
        mock_server.add_run(thread_id="123", run_id=run_id, statuses="completed", steps=2)
    code = f"""{HEAD}
params = {{"thread": "123", "run": "22", "runs": "1, 22", "number": "42"}}
one = {{"thread_id": "{{{{ params.thread }}}}", "run_id": "{{{{ params.run }}}}"}}
with DAG("flow", schedule=None, render_template_as_native_obj=True, params=params):
    PortkeyRunSensor(task_id="wait", **one)
    PortkeyThreadRunsSensor(task_id="wait_for_both", thread_id=one["thread_id"], run_ids="{{{{ params.runs }}}}")
    PortkeyRunStepsOperator(task_id="steps", **one, max_bytes="{{{{ 10000 }}}}")
    PortkeyRunStepsToObjectStorageOperator(task_id="export", **one, path="{tmp_path}/{{{{ params.number }}}}.jsonl")
    PortkeyCreateResponseOperator(
        task_id="response",
        model="m",
        input="{{{{ params.number }}}}",
        metadata={{"order": "{{{{ params.number }}}}"}},
        poke_interval=0.2,
    )
    PortkeyCreateRunOperator(
        task_id="start",
        assistant_id="{{{{ params.number }}}}",
        thread_id=one["thread_id"],
        additional_messages=[{{"role": "user", "content": "{{{{ params.number }}}}"}}],
        metadata={{"order": "{{{{ params.number }}}}"}},
        poke_interval=0.2,
    )
"""
    xcoms = run(parse_dags, monkeypatch, tmp_path, code)

    assert (xcoms["wait"]["id"], xcoms["wait_for_both"]["total"]) == ("22", 2)
    assert (len(xcoms["steps"]), xcoms["export"]["rows"], xcoms["export"]["run_id"]) == (2, 2, "22")
    assert xcoms["start"]["metadata"]["order"] == "42"
    bodies = {
        request.path.rpartition("/")[2]: json.loads(request.body)
        for request in mock_server.requests
        if request.method == "POST"
    }
    assert (bodies["responses"]["input"], bodies["responses"]["metadata"]) == ("42", {"order": "42"})
    assert bodies["runs"]["assistant_id"] == "42"
    assert bodies["runs"]["additional_messages"] == [{"role": "user", "content": "42"}]
