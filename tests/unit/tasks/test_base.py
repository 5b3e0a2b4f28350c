"""Parameters of every task: templated, checked when the DAG is parsed and after rendering; and the trace id."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, BaseOperator, literal

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.get_provider_info import get_provider_info
from airflow_provider_portkey.links import trace_id_of
from airflow_provider_portkey.operators.job import PortkeyCreateResponseOperator, PortkeyResponseItemsOperator
from airflow_provider_portkey.operators.run import PortkeyCreateRunOperator
from airflow_provider_portkey.sensors.run import PortkeyThreadRunsSensor
from airflow_provider_portkey.tasks.wait import BasePortkeyWaitOperator

#: Parameters that no template can set, and why.
NOT_TEMPLATED = {
    "deferrable": "Airflow's own sensors and operators do not template it either",
    "poke_interval": "Airflow's own sensors do not template it either",
    "wait_for_completion": "the constructor checks other arguments against it",
    "cancel_on_kill": "a task may be killed before its templates are rendered",
    "tool_handlers": "functions",
    "job_spec": "a declaration in code",
    "list_spec": "a declaration in code",
    "json_schema": "a declaration in code, checked where the DAG is parsed",
    "columns": "the constructor checks other arguments against it",
    "scorer": "a function",
    "follow_task_ids_if_true": "names of tasks of the DAG",
    "follow_task_ids_if_false": "names of tasks of the DAG",
}
#: Classes that read and write files, and send nothing to Portkey.
WITHOUT_CONNECTION = {
    "PortkeyBatchCheckOperator",
    "PortkeyBatchInputOperator",
    "PortkeyBatchMergeOperator",
    "PortkeyBatchRetryInputOperator",
}
#: Parameters whose templates are rendered for each row of a table, and not by Airflow.
RENDERED_FOR_ROWS = {"PortkeyBatchInputOperator": {"model", "messages", "input", "response_format", "extra_body"}}
#: Classes whose job may require action.
ACTING = {
    "PortkeyRunSensor",
    "PortkeyThreadRunsSensor",
    "PortkeyCustomJobSensor",  # as far as the declaration has such a status
    "PortkeyCreateRunOperator",
    "PortkeyCreateCustomJobOperator",
}
#: Classes for which a job that failed cannot be a result.
ALWAYS_FAILING = {"PortkeyLogsToObjectStorageOperator", "PortkeyCancelRunOperator"}
#: Classes that wait and do not return one job.
WITHOUT_FIELDS = {"PortkeyLogsToObjectStorageOperator", "PortkeyThreadRunsSensor"}


def task_classes() -> list[type[BaseOperator]]:
    info = get_provider_info()
    names = [name for kind in ("sensors", "operators") for entry in info[kind] for name in entry["python-modules"]]
    names += [entry["python-module"] for entry in info["transfers"]]
    return [
        value
        for name in names
        for value in vars(importlib.import_module(name)).values()
        if inspect.isclass(value) and value.__module__ == name and issubclass(value, BaseOperator)
        if value.__name__.startswith("Portkey")
    ]


def parameters_of(cls: type[BaseOperator]) -> set[str]:
    """Return the names of a class's own parameters, without those of Airflow's classes."""
    own = [one for one in cls.__mro__ if one.__module__.startswith("airflow_provider_portkey")]
    return {
        name
        for one in own
        if "__init__" in vars(one)
        for name, parameter in inspect.signature(one.__init__).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }


every_class = pytest.mark.parametrize("cls", task_classes(), ids=lambda cls: cls.__name__)


@every_class
def test_every_parameter_is_templated_unless_there_is_a_reason(cls: type[BaseOperator]) -> None:
    assert ("portkey_conn_id" in cls.template_fields) == (cls.__name__ not in WITHOUT_CONNECTION)
    others = NOT_TEMPLATED.keys() | RENDERED_FOR_ROWS.get(cls.__name__, set())
    assert parameters_of(cls) - others - set(cls.template_fields) == set()
    assert NOT_TEMPLATED.keys() & set(cls.template_fields) == set()


@every_class
def test_on_requires_action_exists_only_where_a_job_can_require_action(cls: type[BaseOperator]) -> None:
    assert ("on_requires_action" in parameters_of(cls)) == (cls.__name__ in ACTING)
    if cls.__name__ in ACTING and hasattr(cls, "job"):  # others are declared by the DAG author
        assert cls.job.action_required_statuses  # type: ignore[attr-defined]


@every_class
def test_a_class_that_waits_may_return_a_failed_job_and_more_fields(cls: type[BaseOperator]) -> None:
    waits = issubclass(cls, BasePortkeyWaitOperator)
    assert ("on_failed" in parameters_of(cls)) == (waits and cls.__name__ not in ALWAYS_FAILING)
    assert ("include_fields" in parameters_of(cls)) == (waits and cls.__name__ not in WITHOUT_FIELDS)


@every_class
def test_renderers_and_files_are_those_of_templated_fields(cls: type[BaseOperator]) -> None:
    assert cls.template_fields_renderers.keys() <= set(cls.template_fields)
    assert all(isinstance(name, str) for name in cls.template_fields)
    assert len(cls.template_fields) == len(set(cls.template_fields))


def test_prompts_may_be_files() -> None:
    for cls, prompts in (
        (PortkeyCreateRunOperator, {"instructions", "additional_instructions"}),
        (PortkeyCreateResponseOperator, {"input", "instructions"}),
    ):
        assert {".json", ".md", ".txt"} == set(cls.template_ext)
        assert {name for name, renderer in cls.template_fields_renderers.items() if renderer == "md"} == prompts


def test_a_file_below_the_dags_folder_becomes_the_prompt(
    tmp_path: Path, task_context: Callable[..., dict[str, Any]]
) -> None:
    (tmp_path / "prompt.md").write_text("# Reports\n\nBe {{ tone }}.")
    (tmp_path / "thread.json").write_text('{"messages": [{"role": "user", "content": {{ question | tojson }}}]}')
    (tmp_path / "input.txt").write_text("{{ question }}")
    (tmp_path / "dag.py").write_text("")
    with DAG("files", schedule=None) as dag:
        run = PortkeyCreateRunOperator(
            task_id="run", assistant_id="asst_1", thread="thread.json", instructions="prompt.md"
        )
        response = PortkeyCreateResponseOperator(task_id="response", model="m", input="input.txt")
    dag.fileloc = str(tmp_path / "dag.py")
    for operator in (run, response):
        operator.render_template_fields(task_context() | {"tone": "short", "question": 'Say "why".'})

    body = run._body("key")
    assert body["instructions"] == "# Reports\n\nBe short."
    assert body["thread"] == {"messages": [{"role": "user", "content": 'Say "why".'}]}
    assert response.request_body()["input"] == 'Say "why".'


def test_a_literal_string_is_no_file(task_context: Callable[..., dict[str, Any]]) -> None:
    with DAG("literal", schedule=None):
        run = PortkeyCreateRunOperator(
            task_id="run",
            assistant_id="a",
            thread_id="t",
            instructions=literal("Read report.md"),
            metadata={"file": literal("report.json")},
        )
    run.render_template_fields(task_context())
    body = run._body("key")
    assert (body["instructions"], body["metadata"]["file"]) == ("Read report.md", "report.json")


def test_json_strings_are_sent_as_what_they_hold() -> None:
    values = {
        "tools": [{"type": "code_interpreter"}],
        "metadata": {"team": "data"},
        "additional_messages": [{"role": "user", "content": "Why?"}],
        "extra_body": {"temperature": 0.5},
    }
    strings = {name: json.dumps(value) for name, value in values.items()}
    bodies = [
        PortkeyCreateRunOperator(task_id="run", assistant_id="a", thread_id="t", **given)._body("key")
        for given in (values, strings)
    ]
    assert bodies[0] == bodies[1]
    assert bodies[1]["temperature"] == 0.5
    assert bodies[1]["metadata"] == {"team": "data", "airflow_idempotency_key": "key"}
    run = PortkeyCreateRunOperator(task_id="run", assistant_id="a", thread='{"messages": []}')
    assert run._body("key")["thread"] == {"messages": []}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ('[{"role": "user", "content": "Why?"}]', [{"role": "user", "content": "Why?"}]),
        ([{"role": "user", "content": "Why?"}], [{"role": "user", "content": "Why?"}]),
        ("[1, 2] is a list", "[1, 2] is a list"),
        ('["a", "b"]', '["a", "b"]'),
        ("[]", "[]"),
        ('{"a": 1}', '{"a": 1}'),
    ],
)
def test_only_a_json_list_of_items_is_no_plain_input(given: Any, sent: Any) -> None:
    response = PortkeyCreateResponseOperator(
        task_id="response", model="m", input=given, metadata='{"a": "b"}', extra_body='{"store": true}'
    )
    expected = {"model": "m", "input": sent, "metadata": {"a": "b"}, "store": True, "background": True}
    assert response.request_body() == expected


class Reference:
    """Stands for the output of another task."""

    def iter_references(self) -> list[Any]:
        return []


@pytest.mark.parametrize("template", ["{{ params.size }}", "{% if big %}9{% endif %}", Reference()])
def test_a_template_is_checked_after_rendering_only(template: Any, task_context: Callable[..., dict[str, Any]]) -> None:
    operator = PortkeyResponseItemsOperator(task_id="items", response_id="r", max_bytes=template)
    operator.max_bytes = "0"  # type: ignore[assignment]
    with pytest.raises(PortkeyInvalidArgumentError, match=r"^max_bytes='0'"):
        operator._begin(task_context())
    operator.max_bytes = "2000"  # type: ignore[assignment]
    operator._begin(task_context())
    assert operator.max_bytes == 2000


def test_the_output_of_a_task_may_be_any_parameter() -> None:
    with DAG("dag", schedule=None):
        limits = PortkeyResponseItemsOperator(task_id="limits", response_id="r")
        sensor = PortkeyThreadRunsSensor(
            task_id="wait", thread_id="t", max_failed_runs=limits.output, run_ids=limits.output
        )
    assert sensor.upstream_task_ids == {"limits"}


@pytest.mark.parametrize("wrong", [0, -1, True, "x", 1.5, None])
def test_a_literal_is_checked_when_the_dag_is_parsed(wrong: Any) -> None:
    with pytest.raises(PortkeyInvalidArgumentError, match=r"^max_bytes="):
        PortkeyResponseItemsOperator(task_id="items", response_id="r", max_bytes=wrong)


def test_rendered_values_stay_out_of_the_stored_dag(
    stored_dag: Callable[[Any], Any], task_context: Callable[..., dict[str, Any]]
) -> None:
    with DAG("dag", schedule=None) as dag:
        PortkeyThreadRunsSensor(task_id="wait", thread_id="t", max_failed_runs="{{ n }}", created_within="{{ n }}")
    running = dag.get_task("wait").prepare_for_execution()
    running.render_template_fields(task_context() | {"n": 5})
    running._begin(task_context())
    assert (running.max_failed_runs, running.created_within) == (5, 5.0)

    assert dag.get_task("wait").max_failed_runs == "{{ n }}"
    stored = stored_dag(dag).get_task("wait")
    assert (stored.max_failed_runs, stored.created_within) == ("{{ n }}", "{{ n }}")


def test_each_try_has_a_trace_id_and_a_hook_of_its_own(task_context: Callable[..., dict[str, Any]]) -> None:
    operator = PortkeyResponseItemsOperator(task_id="items", response_id="r", portkey_conn_id="other")
    assert (operator.hook.trace_id, operator.hook.portkey_conn_id) == (None, "other")
    context = task_context()
    operator._begin(context)
    hook = operator.hook
    assert hook.trace_id == trace_id_of(context["ti"])
    operator._begin(context)
    assert operator.hook is hook
    context["ti"].try_number += 1
    operator._begin(context)
    assert operator.hook.trace_id == trace_id_of(context["ti"]) != hook.trace_id
