"""
docs/parameters.md is written from the code.

``python3 -m dev test tests/unit/test_parameter_table.py --update-docs`` writes the page.
"""

from __future__ import annotations

import importlib
import inspect
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_portkey.get_provider_info import get_provider_info

pytestmark = pytest.mark.skipif(not AIRFLOW_V_3_0_PLUS, reason="Airflow 2 has no event triggers")

DOCS = Path(__file__).parents[2] / "docs" / "parameters.md"
HEAD = """# Parameters

Every parameter of every public class: one name, one meaning. A test compares this page with the code. Airflow renders
templated parameters before the task runs. Parameters of Airflow's own operators and sensors are not listed.

| parameter | default | templated | classes |
|---|---|---|---|
"""
#: Why a parameter has more than one default or is templated in some classes only.
DIFFERENCES = {
    "assistant_id": "a filter of an event trigger, which is not rendered",
    "cancel_on_kill": "on where the task itself submits the job",
    "extra_body": "a template of each row where an operator writes requests",
    "file_format": "the rounds of a batch become a table",
    "ids": "a list may have no id in its path, and neither may the path that creates a job",
    "include_messages": "a report is for people, who want to read them",
    "input": "a template of each row where an operator writes requests",
    "input_mode": "what is written has one form, what is read says its own",
    "input_path": "optional where the provider has the batch's own input file",
    "max_consecutive_failures": "a trigger is not rendered",
    "max_requests": "files that an operator writes have a limit, those of others need none",
    "metadata": "a filter of an event trigger, which is not rendered",
    "model": "optional where an assistant has one of its own",
    "order": "a list may have an order of its own",
    "path": "optional where a manifest names the file",
    "portkey_conn_id": "a trigger is not rendered",
    "thread_id": "optional where a run may create its thread; a trigger is not rendered",
    "statuses": "a filter of an event trigger, which is not rendered",
    "wait_for_completion": "cancelling takes effect at once, creating takes a while",
    "window_end": "optional where the window is a filter",
    "window_start": "optional where the window is a filter",
}


def public_classes() -> Iterator[type]:
    info = get_provider_info()
    modules = [module for kind in ("sensors", "operators") for module in info[kind][0]["python-modules"]]
    modules += [transfer["python-module"] for transfer in info["transfers"]]
    modules.append("airflow_provider_portkey.triggers.run_event")
    for module in modules:
        for name, found in sorted(vars(importlib.import_module(module)).items()):
            if inspect.isclass(found) and found.__module__ == module and name.startswith("Portkey"):
                yield found


def parameters_of(cls: type) -> dict[str, inspect.Parameter]:
    """The parameters of a constructor, those that it hands to its bases in this package included."""
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if base.__module__.startswith("airflow_provider_portkey") and "__init__" in vars(base):
            signature = inspect.signature(vars(base)["__init__"])
            for name, parameter in signature.parameters.items():
                if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                    found.setdefault(name, parameter)
    return found


def shown(default: Any) -> str:
    return "required" if default is inspect.Parameter.empty else f"`{default!r}`"


def table() -> dict[str, dict[tuple[str, bool], list[str]]]:
    """Parameter to default and templated to the classes."""
    rows: dict[str, dict[tuple[str, bool], list[str]]] = defaultdict(lambda: defaultdict(list))
    for cls in public_classes():
        templated = set(getattr(cls, "template_fields", ()))
        for name, parameter in parameters_of(cls).items():
            rows[name][shown(parameter.default), name in templated].append(cls.__name__)
    return rows


def page() -> str:
    lines = []
    for name, variants in sorted(table().items()):
        for (default, templated), classes in sorted(variants.items(), key=lambda item: (-len(item[1]), item[0])):
            lines.append(f"| `{name}` | {default} | {'yes' if templated else 'no'} | {', '.join(sorted(classes))} |\n")
    return HEAD + "".join(lines)


def test_the_page_is_what_the_code_says(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-docs"):
        DOCS.write_text(page())
    assert DOCS.read_text() == page()


def test_a_parameter_is_the_same_in_every_class() -> None:
    assert {name for name, variants in table().items() if len(variants) > 1} == set(DIFFERENCES)
