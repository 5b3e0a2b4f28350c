"""
The reference of the documentation site has every public class, hook method, exception and example DAG.

``python3 -m dev test tests/unit/test_reference_pages.py --update-docs`` writes ``docs/api/`` and ``docs/examples.md``,
and begins a page in ``docs/classes/`` for a class that has none; those pages are written by hand.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_portkey.get_provider_info import get_provider_info

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "airflow_provider_portkey"
DOCS = ROOT / "docs"
INFO = get_provider_info()

#: Page of docs/api/ to its title, its introduction and its modules.
API = {
    "hook": (
        "Hook",
        "One method for each call of Portkey, and iterators over whole lists.",
        [f"{PACKAGE.name}.hooks.portkey"],
    ),
    "triggers": ("Triggers", "What waits on the triggerer. DAG files use the event triggers only.", []),
    "jobs": (
        "Declarations",
        "`JobSpec` declares a kind of job, `ListSpec` a list. All are imported from `airflow_provider_portkey.jobs`.",
        [f"{PACKAGE.name}.jobs.{name}" for name in ("spec", "list_spec", "lists")],
    ),
    "bases": (
        "Base classes",
        "Parameters that operators and sensors share.",
        [f"{PACKAGE.name}.{name}" for name in ("tasks.base", "tasks.wait", "tasks.submit", "tasks.lists")]
        + [
            f"{PACKAGE.name}.{name}"
            for name in ("operators.lists", "operators.batch_input", "operators.report", "transfers.base")
        ],
    ),
    "exceptions": (
        "Exceptions",
        "All of `airflow_provider_portkey.exceptions`. [Troubleshooting](../troubleshooting.md) has them by message.",
        [f"{PACKAGE.name}.exceptions"],
    ),
    "links": ("Links", "What the UI shows beside a task.", [f"{PACKAGE.name}.links"]),
    "testing": (
        "Mock server",
        "For tests without a key and without a network: see [testing your DAGs](../testing-your-dags.md). "
        "`add_run` takes the parameters of `Run` and of `Job`, `add_batch` those of `Batch` and of `Job`, and so on.",
        [f"{PACKAGE.name}.testing.{name}" for name in ("server", "app", "faults", "context")]
        + [
            f"{PACKAGE.name}.testing.resources.{name}"
            for name in ("jobs", "runs", "responses", "batches", "fine_tuning", "file_batches", "log_exports")
        ]
        + [f"{PACKAGE.name}.testing.resources.analytics"],
    ),
}
#: What the mock server's own modules need of each other is on no page.
MOCK_SERVER = {
    *(
        "PortkeyMockServer",
        "RecordedRequest",
        "Fault",
        "Clock",
        "TaskStateStore",
        "AssetStateStore",
        "AssetStateStores",
    ),
    *("fake_context", "AnalyticsRequest"),
}
#: Members of the mixins belong to the hook; the inherited ones of Airflow's BaseHook do not.
OPTIONS = {"hook": ["members:", "inherited-members: BaseHook, LoggingMixin"]}
#: Members of a base class are what operators and sensors do with it, which no DAG file needs.
OPTIONS["bases"] = ["show-inheritance:"]


def module_path(module: str) -> Path:
    return (ROOT / module.replace(".", "/")).with_suffix(".py")


def modules_of(kind: str) -> list[str]:
    """The modules of a kind that Airflow learns from the package."""
    return [module for group in INFO[kind] for module in group.get("python-modules", [group.get("python-module")])]


def definitions(module: str) -> Iterator[ast.ClassDef | ast.FunctionDef]:
    """Yield the public classes and functions of a module, without importing it: Airflow 2 lacks what some need."""
    for node in ast.parse(module_path(module).read_text()).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
            yield node


def constants(module: str) -> Iterator[str]:
    """Yield the public constants of a module that have a value of their own."""
    for node in ast.parse(module_path(module).read_text()).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id.isupper() and not target.id.startswith("_"):
            yield target.id


def own_pages() -> set[str]:
    """The classes that have a page of their own."""
    return {path.stem for path in (DOCS / "classes").glob("Portkey*.md")}


def entries(page: str, module: str) -> Iterator[str]:
    for node in definitions(module):
        options = OPTIONS.get(page, ["members:", "show-inheritance:"])
        if page == "testing":
            job = ".resources." in module and any(
                getattr(base, "id", "") == "Job" for base in getattr(node, "bases", [])
            )
            if node.name not in MOCK_SERVER and node.name != "Job" and not job:
                continue
            # The parameters of `add_run` and the like are those of the class; a test calls no method of a job.
            options = ["show-inheritance:"] if ".resources." in module else options
        if (page == "bases" and not re.match(r"(Base)?Portkey\w+", node.name)) or node.name in own_pages():
            continue
        directive = "autoclass" if isinstance(node, ast.ClassDef) else "autofunction"
        if page == "exceptions":
            directive = "autoexception"
        lines = [f".. {directive}:: {module}.{node.name}"]
        yield "\n   :".join([*lines, *options] if isinstance(node, ast.ClassDef) else lines)
    if page == "jobs":
        for name in constants(module):
            yield f".. autodata:: {module}.{name}\n   :no-value:"


def api_page(page: str) -> str:
    title, intro, modules = API[page]
    if page == "triggers":
        modules = modules_of("triggers")
    parts = [f"# {title}\n\n{intro}\n"]
    for module in modules:
        found = "\n\n".join(entries(page, module))
        if found:
            parts.append(f"## {module.removeprefix(PACKAGE.name + '.')}\n\n```{{eval-rst}}\n{found}\n```\n")
    return "\n".join(parts)


def index_page() -> str:
    rows = "".join(f"| [{title}]({page}.md) | {intro} |\n" for page, (title, intro, _) in API.items())
    names = "\n".join(API)
    return (
        "# API reference\n\n| page | what |\n|---|---|\n"
        "| [Operators and sensors](../classes/index.md) | A page for each class, with its parameters. |\n"
        f"{rows}\n```{{toctree}}\n:hidden:\n\n{names}\n```\n"
    )


def examples_page() -> str:
    parts = [
        "# Example DAGs\n\nEach file is run by the tests, on a real Airflow. All are in the source distribution.\n"
    ]
    for file in sorted((ROOT / "example_dags").glob("*.py")):
        summary = str(ast.get_docstring(ast.parse(file.read_text()))).split("\n\n")[0]
        include = f"```{{literalinclude}} ../example_dags/{file.name}\n:language: python\n```"
        parts.append(f"## {file.stem}\n\n{summary}\n\n{include}\n")
    return "\n".join(parts)


PAGES = {f"api/{page}.md": lambda page=page: api_page(page) for page in API} | {
    "api/index.md": index_page,
    "examples.md": examples_page,
}


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_what_the_code_says(name: str, request: pytest.FixtureRequest) -> None:
    text = PAGES[name]()
    if request.config.getoption("--update-docs"):
        (DOCS / name).write_text(text)
    assert (DOCS / name).read_text() == text


def public_classes() -> dict[str, str]:
    """Each class that DAG files import, and its module."""
    modules = [*modules_of("sensors"), *modules_of("operators"), *modules_of("transfers")]
    return {node.name: module for module in modules for node in definitions(module) if node.name.startswith("Portkey")}


def skeleton(name: str, module: str) -> str:
    """A page to begin with: what the docstring says first stands under "When to use"."""
    (node,) = (each for each in definitions(module) if each.name == name)
    summary = str(ast.get_docstring(node)).split("\n\n")[0].replace("\n", " ")
    return (
        f"# {name}\n\n## When to use\n\n{summary}\n\n## Parameters\n\n"
        f"```{{eval-rst}}\n.. autoclass:: {module}.{name}\n   :show-inheritance:\n```\n"
    )


def test_every_operator_and_sensor_has_a_page(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-docs"):
        for name, module in public_classes().items():
            if name not in own_pages():
                (DOCS / "classes" / f"{name}.md").write_text(skeleton(name, module))
    assert own_pages() == public_classes().keys()


@pytest.mark.parametrize("name", sorted(own_pages()))
def test_a_page_says_when_to_use_the_class_and_when_not_with_an_example_and_its_parameters(name: str) -> None:
    text = (DOCS / "classes" / f"{name}.md").read_text()
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    assert headings == [name, "When to use", "Example", "Parameters"]
    assert "| otherwise | use |" in text
    assert re.search(r"^Guide: \[", text, re.MULTILINE)
    assert re.search(rf"\b{name}\(|literalinclude", text)
    for example in re.findall(r"literalinclude} \.\./\.\./(\S+)", text):
        assert re.search(rf"\b{name}\b", (ROOT / example).read_text()), example
    assert f".. autoclass:: {public_classes()[name]}.{name}\n" in text


def test_the_choosing_page_names_every_class() -> None:
    text = (DOCS / "choosing.md").read_text()
    assert {name for name in public_classes() if name not in text} == set()


def test_the_stability_page_names_every_class() -> None:
    text = (DOCS / "stability.md").read_text()
    assert {name for name in public_classes() if f"`{name}`" not in text} == set()
