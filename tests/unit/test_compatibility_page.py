"""What ``docs/compatibility.md`` says about features is true of the Airflow that runs the tests."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow import __version__
from airflow.exceptions import AirflowException
from airflow.plugins_manager import AirflowPlugin
from airflow.triggers.base import BaseTrigger

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"


def find(path: str) -> Any:
    """Return what ``module:name`` stands for; ``None`` where this Airflow lacks it."""
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name, None)
    except (ImportError, AirflowException):
        return None


def in_context(name: str) -> bool:
    return name in getattr(find("airflow.sdk:Context"), "__annotations__", {})


def has_metadata_form() -> bool:
    """Whether a field is shown as the metadata says, and not as plain text."""
    service = find("airflow.api_fastapi.core_api.services.ui.connections:HookMetaService")
    if service is None:
        return False
    (form,) = (one for one in service.hook_meta_data() if one.connection_type == "portkey")
    if not form.extra_fields:  # Airflow 3.0 without the FAB provider
        return False
    return bool(form.extra_fields["read_timeout"]["schema"]["type"][0] == "number")


#: How each feature of the table, by its words there, is found in an Airflow.
PROBES: dict[str, Callable[[], object]] = {
    "event triggers of asset watchers": lambda: find(
        "airflow_provider_portkey.triggers.run_event:PortkeyRunEventTrigger"
    ),
    "time of a sensor's first reschedule": lambda: hasattr(
        find("airflow.sdk.types:RuntimeTaskInstanceProtocol"), "get_first_reschedule_date"
    ),
    "human in the loop": lambda: find("airflow.providers.standard.operators.hitl:HITLOperator"),
    "tab of reports in the UI": lambda: hasattr(AirflowPlugin, "external_views"),
    "`cancel_on_kill` of a deferred task": lambda: hasattr(BaseTrigger, "on_kill"),
    "task state store": lambda: in_context("task_state_store"),
    "asset state store": lambda: in_context("asset_state_store"),
    "shared polls of watchers": lambda: hasattr(find("airflow.triggers.base:BaseEventTrigger"), "shared_stream_key"),
    "retry policies": lambda: find("airflow.sdk:ExceptionRetryPolicy"),
    "connection form from the package's metadata": has_metadata_form,
}


def rows() -> dict[str, tuple[int, ...]]:
    """The table: each feature, without the addresses of its links, and the version that it needs."""
    found = re.search(r"<!-- features -->\n(.*?)<!-- /features -->", PAGE.read_text(), re.DOTALL)
    assert found is not None
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in found[1].splitlines()[2:]]
    return {
        re.sub(r"\[(.*?)]\(.*?\)", r"\1", feature): tuple(map(int, version.split("."))) for feature, version, _ in cells
    }


def test_each_feature_has_a_probe() -> None:
    assert set(rows()) == set(PROBES)


@pytest.mark.parametrize("feature", PROBES)
def test_an_airflow_has_a_feature_from_the_named_version_on(feature: str) -> None:
    installed = tuple(int(part) for part in __version__.split(".")[:2])
    assert bool(PROBES[feature]()) == (installed >= rows()[feature]), __version__
