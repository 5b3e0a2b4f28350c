"""No public name may look like a web token to Airflow, which masks ``PortkeyJobTrigger`` as ``PortkeyJ***``."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator

import pytest
from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException

import airflow_provider_portkey


def modules() -> Iterator[str]:
    """Yield the names of all modules but those of the mock server."""
    for module in pkgutil.walk_packages(airflow_provider_portkey.__path__, "airflow_provider_portkey."):
        if not module.name.startswith("airflow_provider_portkey.testing"):
            yield module.name


def names_of(module_name: str) -> list[str]:
    """Return the public names that a module defines, and those of its classes' members."""
    try:
        module = importlib.import_module(module_name)
    except AirflowOptionalProviderFeatureException:  # needs a newer Airflow
        return []
    names = [module_name]
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module_name:
            continue
        if inspect.isclass(value) or inspect.isfunction(value):
            names += [f"{module_name}.{name}", name]
            names += [f"{name}.{member}" for member in vars(value) if not member.startswith("_")]
    return names


@pytest.fixture
def redact() -> Callable[[str], str]:
    """Airflow's own masking of web tokens in log lines."""
    structlog = pytest.importorskip("airflow.sdk._shared.logging.structlog", reason="this Airflow has no such masking")
    return lambda line: structlog.redact_jwt(None, "info", {"event": line})["event"]


@pytest.mark.parametrize("module_name", list(modules()))
def test_airflows_masking_leaves_public_names_unchanged(module_name: str, redact: Callable[[str], str]) -> None:
    for name in names_of(module_name):
        assert redact(f"Running {name}") == f"Running {name}"


def test_the_masking_would_change_a_name_like_a_web_token(redact: Callable[[str], str]) -> None:
    assert redact("Running PortkeyJobTrigger") != "Running PortkeyJobTrigger"
