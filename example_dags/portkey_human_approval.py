"""A person approves the function call of a run before the call is made. Needs Airflow 3.1 or newer."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param, task
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS

from airflow_provider_portkey.operators.run import PortkeyCreateRunOperator, PortkeySubmitToolOutputsOperator
from airflow_provider_portkey.sensors.run import PortkeyRunSensor
from airflow_provider_portkey.transfers.steps_to_object_storage import PortkeyRunStepsToObjectStorageOperator

#: The run expires about ten minutes after it was started; the rest of the time is for the tasks before and after.
APPROVAL_TIMEOUT = timedelta(seconds=float(os.environ.get("PORTKEY_EXAMPLE_APPROVAL_SECONDS", "420")))

REFUND = {
    "type": "function",
    "function": {
        "name": "refund",
        "description": "Refund an order. A person approves each refund.",
        "parameters": {
            "type": "object",
            "properties": {"order": {"type": "string"}, "amount": {"type": "number"}},
            "required": ["order", "amount"],
        },
    },
}

# Indented, so that Markdown shows the model's text as code and not as links or pictures.
BODY = """
{% for call in ti.xcom_pull('start_run')['required_action']['submit_tool_outputs']['tool_calls'] %}
    {{ call['function']['name'] }} {{ call['function']['arguments'].split() | join(' ') }}
{% endfor %}
"""


def refund(order: str, amount: float) -> dict[str, Any]:
    """Stand for the request to the shop. A retry may make it twice: send an idempotency key, such as the call's id."""
    return {"order": order, "refunded": amount}


if AIRFLOW_V_3_1_PLUS:  # older versions have no human-in-the-loop operators
    from airflow.providers.standard.operators.hitl import HITLOperator

    with DAG(
        dag_id="portkey_human_approval",
        schedule=None,
        # A killed worker fails a task without retries.
        default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
        doc_md=__doc__,
        tags=["portkey", "example"],
        params={
            "assistant_id": Param("asst_demo", type="string", title="Assistant", description="The id of the assistant"),
            "thread_id": Param("thread_demo", type="string", title="Thread", description="The id of the thread"),
            "question": Param(
                "Order A-1 arrived broken.", type="string", title="Question", description="The question for the model"
            ),
            "path": Param(
                "/tmp/portkey/steps.jsonl",  # noqa: S108
                type="string",
                title="File",
                description="Any path of ObjectStoragePath",
            ),
        },
    ):
        start_run = PortkeyCreateRunOperator(
            task_id="start_run",
            assistant_id="{{ params.assistant_id }}",
            thread_id="{{ params.thread_id }}",
            additional_messages=[{"role": "user", "content": "{{ params.question }}"}],
            tools=[REFUND],
            on_requires_action="return",
            deferrable=True,
            timeout=timedelta(minutes=10),
        )

        @task.branch
        def is_action_required(run: dict) -> str:
            """Pass over the question where the model called no function."""
            return "approve" if run["status"] == "requires_action" else "export_steps"

        approve = HITLOperator(
            task_id="approve",
            subject="Approve what run {{ ti.xcom_pull('start_run')['id'] }} calls for?",
            body=BODY,
            options=["Approve", "Reject"],
            params={"comment": Param("", type="string", title="Comment", description="The model reads it")},
            defaults="Reject",  # where nobody responds in time
            response_timeout=APPROVAL_TIMEOUT,
        )

        @task
        def outputs(run: dict, response: dict) -> dict[str, Any]:
            """Make the calls that a person approved, and return what the run gets for each call."""
            calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
            if response["chosen_options"] != ["Approve"]:
                comment = response["params_input"].get("comment", "")
                rejected = {"error": "A person did not approve the call.", "comment": comment}
                return {call["id"]: rejected for call in calls}
            return {call["id"]: refund(**json.loads(call["function"]["arguments"])) for call in calls}

        submit_outputs = PortkeySubmitToolOutputsOperator(
            task_id="submit_outputs",
            thread_id="{{ ti.xcom_pull('start_run')['thread_id'] }}",
            run_id="{{ ti.xcom_pull('start_run')['id'] }}",
            tool_outputs="{{ ti.xcom_pull('outputs') | tojson }}",
        )
        wait_for_run = PortkeyRunSensor(
            task_id="wait_for_run",
            thread_id="{{ ti.xcom_pull('start_run')['thread_id'] }}",
            run_id="{{ ti.xcom_pull('start_run')['id'] }}",
            deferrable=True,
            timeout=timedelta(minutes=10),
        )
        export_steps = PortkeyRunStepsToObjectStorageOperator(
            task_id="export_steps",
            thread_id="{{ ti.xcom_pull('start_run')['thread_id'] }}",
            run_id="{{ ti.xcom_pull('start_run')['id'] }}",
            path="{{ params.path }}",
            include_messages=True,
            trigger_rule="none_failed_min_one_success",
        )

        is_action_required(start_run.output) >> [approve, export_steps]
        outputs(start_run.output, approve.output) >> submit_outputs >> wait_for_run >> export_steps
