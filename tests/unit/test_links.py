from __future__ import annotations

import importlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, BaseOperator, TaskInstanceKey

from airflow_provider_portkey import links
from airflow_provider_portkey.get_provider_info import get_provider_info
from airflow_provider_portkey.links import (
    TRACE_URL,
    PortkeyDocsLink,
    PortkeyTraceLink,
    task_links,
    trace_id,
    trace_id_of,
)
from airflow_provider_portkey.sensors.run import PortkeyRunSensor

KEY = TaskInstanceKey("reports", "wait", "manual__2026-11-22", 2, -1)
ID = "515f1b00ef4e1c2002c9febc63aee584"


def task_classes() -> list[type[BaseOperator]]:
    info = get_provider_info()
    names = [name for kind in ("sensors", "operators") for entry in info[kind] for name in entry["python-modules"]]
    modules = [importlib.import_module(name) for name in (*names, *(one["python-module"] for one in info["transfers"]))]
    return [
        value
        for module in modules
        for name, value in vars(module).items()
        if name.startswith("Portkey")
        and value.__module__ == module.__name__
        and issubclass(value, BaseOperator)
        and "portkey_conn_id" in value.template_fields  # others send no request
    ]


def test_a_trace_id_is_the_same_at_each_call() -> None:
    assert trace_id("reports", "manual__2026-11-22", "wait", -1, 2) == ID
    assert trace_id_of(KEY) == ID


@pytest.mark.parametrize(
    "other", [{"dag_id": "d"}, {"run_id": "r"}, {"task_id": "t"}, {"map_index": 0}, {"try_number": 1}]
)
def test_each_try_of_each_task_has_its_own_trace_id(other: dict[str, Any]) -> None:
    assert trace_id_of(KEY._replace(**other)) != ID


@pytest.mark.parametrize("ti", [None, SimpleNamespace(task_id="wait", try_number=1)])
def test_an_object_that_is_no_task_instance_has_no_trace_id(ti: Any) -> None:
    assert trace_id_of(ti) is None


def link(**key: Any) -> str:
    return PortkeyTraceLink().get_link(BaseOperator(task_id="wait"), ti_key=KEY._replace(**key))


def test_the_default_link_is_portkeys_own_dashboard() -> None:
    assert link() == f"https://app.portkey.ai/logs?trace_id={ID}" == TRACE_URL.format(trace_id=ID)


def test_the_setting_replaces_the_url_of_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__PORTKEY__TRACE_URL", "https://portkey.test/{workspace}/traces/{trace_id}?x={trace_id}")

    assert link() == f"https://portkey.test/{{workspace}}/traces/{ID}?x={ID}"


def test_an_empty_setting_means_no_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__PORTKEY__TRACE_URL", "")

    assert link() == ""


def test_airflow_knows_the_link_and_the_setting() -> None:
    from airflow.configuration import conf
    from airflow.providers_manager import ProvidersManager

    assert "airflow_provider_portkey.links.PortkeyTraceLink" in ProvidersManager().extra_links_class_names
    assert "portkey" in dict(ProvidersManager().provider_configs)["airflow-provider-portkey"]
    assert conf.get("portkey", "trace_url", fallback="unset") == "unset"


@pytest.mark.parametrize("cls", task_classes())
def test_every_task_has_the_link(cls: type[BaseOperator]) -> None:
    assert [type(one) for one in cls.operator_extra_links] == [PortkeyTraceLink]


@pytest.mark.parametrize("mapped", [False, True])
def test_the_link_survives_serialisation(mapped: bool, stored_dag: Callable[[Any], Any]) -> None:
    from airflow_provider_portkey.sensors.run import PortkeyRunSensor
    from airflow_provider_portkey.transfers.steps_to_object_storage import PortkeyRunStepsToObjectStorageOperator

    with DAG("reports") as dag:
        if mapped:
            PortkeyRunSensor.partial(task_id="wait", thread_id="t").expand(run_id=["1", "2"])
            keep = PortkeyRunStepsToObjectStorageOperator.partial(task_id="keep", thread_id="t", run_id="r")
            keep.expand(path=["/a"])
        else:
            PortkeyRunSensor(task_id="wait", thread_id="t", run_id="r")
            PortkeyRunStepsToObjectStorageOperator(task_id="keep", thread_id="t", run_id="r", path="/a")
    found = stored_dag(dag)

    for task_id in ("wait", "keep"):
        (one,) = found.get_task(task_id).operator_extra_links
        assert one.name == "Portkey trace"
        # Airflow 2 restores the link itself, Airflow 3 a reader of the XCom that the worker has written.
        assert isinstance(one, PortkeyTraceLink) or one.xcom_key == PortkeyTraceLink().xcom_key
        assert found.get_task(task_id).extra_links == ["Portkey trace"]


def named(monkeypatch: pytest.MonkeyPatch, *urls: str) -> None:
    """Let the installed distribution name these addresses."""
    found = SimpleNamespace(get_all=lambda name: list(urls) or None)
    monkeypatch.setattr("importlib.metadata.metadata", lambda name: found)


class Own(PortkeyRunSensor):
    """A class of a user."""


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("https://docs.example.com/portkey/", "https://docs.example.com/portkey/classes/PortkeyRunSensor.html"),
        (
            "https://git.example.com/a/b/tree/v1/docs",
            "https://git.example.com/a/b/blob/v1/docs/classes/PortkeyRunSensor.md",
        ),
    ],
)
@pytest.mark.parametrize("cls", [PortkeyRunSensor, Own])
def test_a_task_links_to_the_page_of_its_class(
    cls: type[PortkeyRunSensor], url: str, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    named(monkeypatch, "Source, https://git.example.com/a/b", f"Documentation, {url}")
    task = cls(task_id="wait", thread_id="thread_1", run_id="run_1")
    assert PortkeyDocsLink().get_link(task, ti_key=KEY) == page
    assert [type(link) for link in task_links()] == [PortkeyTraceLink, PortkeyDocsLink]


def test_without_an_address_a_task_has_no_link_to_the_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    named(monkeypatch)
    assert links.documentation_url() is None
    assert [type(link) for link in task_links()] == [PortkeyTraceLink]
