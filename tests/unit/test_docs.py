"""README, changelog and docs: code blocks compile, names and parameters exist, links and anchors lead somewhere."""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import json
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException, BaseSensorOperator
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "airflow_provider_portkey"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
#: An example of a name that Airflow would mask: no class.
NO_CLASSES = {"PortkeyJobTrigger"}
#: Arguments of every task of Airflow 3.3 and newer.
NOT_IN_THIS_AIRFLOW = set() if AIRFLOW_V_3_3_PLUS else {"retry_policy"}
#: Keys of requests to providers, which the code passes on.
PROVIDER_KEYS = {"max_tokens"}

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_TABLE = re.compile(r"^\| (?:argument|parameter) \|.*\n\|[-|]+\n((?:\|.*\n)+)", re.MULTILINE)


def read_tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


SOURCE = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
#: Module by class, for every class of the package.
CLASSES = {
    node.name: ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted(PACKAGE.rglob("*.py"))
    for node in read_tree(path).body
    if isinstance(node, ast.ClassDef)
}


def blocks(language: str) -> list[Any]:
    """One parameter for each block: its page and its code."""
    return [
        pytest.param(code, id=f"{page.name}-{text[: found.start()].count(chr(10)) + 1}")
        for page in PAGES
        for text in [page.read_text()]
        for found in _BLOCK.finditer(text)
        if (code := found[2]) is not None and found[1] == language
    ]


def prose(page: Path) -> str:
    return _BLOCK.sub("", page.read_text())


def imports_of(tree: ast.Module) -> Iterator[tuple[str, str | None]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((str(node.module), alias.name) for alias in node.names)


def load(module: str) -> Any:
    """Import a module; skip the test where this Airflow lacks it."""
    try:
        return importlib.import_module(module)
    except AirflowOptionalProviderFeatureException as error:
        pytest.skip(str(error))
    except ImportError as error:
        if module.startswith(PACKAGE.name):
            raise
        pytest.skip(f"not installed here: {error}")


def accepted_keywords(cls: type) -> set[str]:
    return {
        name
        for base in cls.__mro__
        if "__init__" in vars(base)
        for name in inspect.signature(vars(base)["__init__"]).parameters
    }


@pytest.mark.parametrize("code", blocks("python"))
def test_a_python_block_compiles_and_its_imports_exist(code: str) -> None:
    tree = ast.parse(code)
    compile(tree, "block", "exec")
    for module, name in imports_of(tree):
        found = load(module)
        if name and not hasattr(found, name):
            # Airflow's own names differ between its versions.
            assert not module.startswith(PACKAGE.name), f"{module} has no {name}"
            pytest.skip(f"{module} of this version has no {name}")


@pytest.mark.parametrize("code", blocks("python"))
def test_a_python_block_calls_classes_with_parameters_that_exist(code: str) -> None:
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.Call):
            continue
        # PortkeyX(...) or PortkeyX.partial(...)
        called = node.func.value if isinstance(node.func, ast.Attribute) else node.func
        if isinstance(called, ast.Name) and called.id.startswith("Portkey") and called.id in CLASSES:
            accepted = accepted_keywords(getattr(load(CLASSES[called.id]), called.id))
            used = {keyword.arg for keyword in node.keywords if keyword.arg} - NOT_IN_THIS_AIRFLOW
            if isinstance(node.func, ast.Name):
                assert used <= accepted, f"{called.id}: {used - accepted}"
            elif node.func.attr == "partial":
                assert used <= accepted | {"map_index_template"}, f"{called.id}.partial: {used - accepted}"


@pytest.mark.parametrize("code", blocks("json"))
def test_a_json_block_parses(code: str) -> None:
    json.loads(code)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_class_on_a_page_exists(page: Path) -> None:
    named = set(re.findall(r"\bPortkey[A-Z]\w*\b(?!\.\.\.|\*)", page.read_text()))
    assert named <= CLASSES.keys() | NO_CLASSES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_module_and_file_on_a_page_exists(page: Path) -> None:
    text = page.read_text()
    dotted_name = r"`(?:airflow_provider_portkey\.)?((?:operators|sensors|transfers|triggers)\.\w+)\b"
    for dotted in re.findall(dotted_name, text):
        assert (PACKAGE / dotted.replace(".", "/")).with_suffix(".py").exists(), dotted
    for file in re.findall(r"`((?:example_dags|benchmarks|tests|dev)/[\w/]+\.py)`", text):
        assert (ROOT / file).exists(), file


@pytest.fixture(scope="module")
def defaults() -> dict[str, list[Any]]:
    """The defaults of each parameter of Airflow's sensors and of this package's classes for DAG files."""
    found: dict[str, list[Any]] = defaultdict(list)
    classes: list[type] = [BaseSensorOperator]
    for name, module in CLASSES.items():
        if name.startswith("Portkey") and module.split(".")[1] in {"sensors", "operators", "transfers", "triggers"}:
            classes.append(getattr(load(module), name))
    for base in {base for cls in classes for base in cls.__mro__ if "__init__" in vars(base)}:
        for name, parameter in inspect.signature(vars(base)["__init__"]).parameters.items():
            found[name].append(parameter.default)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tables_of_arguments_are_those_of_the_code(page: Path, defaults: dict[str, list[Any]]) -> None:
    for rows in _TABLE.findall(page.read_text()):
        for row in rows.splitlines():
            names, shown = (re.findall(r"`(.+?)`|\b(\d+)\b", cell) for cell in row.split("|")[1:3])
            assert {name for name, _ in names} <= defaults.keys(), row
            # A cell may have one default for several parameters, and words in place of a default.
            for name, default in zip(names, shown * len(names) if len(shown) == 1 else shown, strict=False):
                with contextlib.suppress(ValueError, SyntaxError):
                    assert ast.literal_eval(default[0] or default[1]) in defaults[name[0]], row


@pytest.mark.parametrize("code", [*blocks(""), *blocks("json")])
def test_the_keys_of_a_block_are_in_the_code(code: str) -> None:
    unknown = {
        key for key in re.findall(r'"(\w+)": ', code) if not re.search(rf"['\"]{key}['\"]|\b{key}(=|: )", SOURCE)
    }
    assert not unknown - PROVIDER_KEYS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    broken = []
    for link in _LINK.findall(prose(page)):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    assert not broken


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_page_of_the_installation_names_what_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "docs" / "installation.md").read_text()
    rows = [f"{name}{version}" for name, version in re.findall(r"^\| `([\w-]+)` \| `([^`]+)` \|$", text, re.MULTILINE)]
    assert sorted(rows) == sorted(project["dependencies"])
    for extra, packages in project["optional-dependencies"].items():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{extra}` |")]
        assert row.rpartition(" | ")[2] == ", ".join(f"`{package}`" for package in packages) + " |"


def test_the_changelog_is_a_changelog_as_keep_a_changelog_wants_it() -> None:
    headings = re.findall(r"^(#{1,3}) (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == ("#", "Changelog")
    assert headings[1][1] == "[Unreleased]" or re.match(r"\[\d", headings[1][1])
    for level, heading in headings[1:]:
        if level == "##":
            assert re.fullmatch(r"\[Unreleased\]|\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", heading)
        else:
            assert heading in {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_every_module_of_the_architecture_page_exists() -> None:
    """A bare name is a module of the package's root, or of the folder that the line named before it."""
    missing = []
    for line in (ROOT / "docs" / "architecture.md").read_text().splitlines():
        folders = [PACKAGE, ROOT]
        for folder, module in re.findall(r"`(?:([\w/]+)/|([\w/]+\.py))`", line):
            folders += [PACKAGE / folder] if folder else []
            if module and not any((each / module).is_file() for each in folders):
                missing.append(module)
            elif "/" in module:
                folders.append((PACKAGE / module).parent)
    assert missing == []
