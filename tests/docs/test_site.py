"""The site is built with warnings as errors, and its inventory has everything that is public."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest
from sphinx.util.inventory import InventoryFile

from airflow_provider_portkey import exceptions
from airflow_provider_portkey.get_provider_info import get_provider_info
from airflow_provider_portkey.hooks.portkey import PortkeyHook
from dev import site

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder() -> Path:
    site.build()
    return site.FOLDER


@pytest.fixture(scope="module")
def names(folder: Path) -> dict[str, set[str]]:
    """Names by kind, such as ``py:class``."""
    with (folder / "objects.inv").open("rb") as file:
        inventory = InventoryFile.load(file, "", lambda base, path: path)
    return {kind: set(entries) for kind, entries in inventory.items()}


def public(module: str) -> set[str]:
    found = vars(importlib.import_module(module)).items()
    return {
        f"{module}.{name}"
        for name, value in found
        if name.startswith("Portkey") and inspect.isclass(value) and value.__module__ == module
    }


def test_every_class_is_on_a_page(names):
    info = get_provider_info()
    modules = [
        module for kind in ("hooks", "sensors", "operators", "triggers") for module in info[kind][0]["python-modules"]
    ]
    modules += [transfer["python-module"] for transfer in info["transfers"]]
    classes = set().union(*map(public, modules))
    assert len(classes) > 25
    assert classes - names["py:class"] == set()


def test_every_exception_is_on_a_page(names):
    assert public(exceptions.__name__) - names["py:exception"] == set()


def test_every_method_of_the_hook_is_on_a_page(names):
    methods = {
        name
        for cls in PortkeyHook.__mro__
        if cls.__module__.startswith("airflow_provider_portkey")
        for name, value in vars(cls).items()
        if not name.startswith("_") and callable(getattr(PortkeyHook, name)) and not inspect.isclass(value)
    }
    shown = {name.rpartition(".")[2] for name in names["py:method"] if ".PortkeyHook." in name}
    assert len(methods) > 40
    assert methods - shown == set()


def test_the_site_loads_nothing_from_elsewhere_and_has_a_search(folder):
    assert (folder / "searchindex.js").stat().st_size > 10_000
    html = (folder / "quickstart.html").read_text()
    assert 'src="http' not in html
    assert 'rel="stylesheet" href="http' not in html


@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_fits_a_screen_and_a_phone_and_shows_its_pictures(folder, browser, width):
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    wrong = []
    for path in sorted(folder.rglob("*.html")):
        page.goto(path.as_uri())
        missing = "[...document.images].filter(each => !each.complete || !each.naturalWidth).map(each => each.src)"
        found = page.evaluate(f"[document.documentElement.scrollWidth, {missing}]")
        if found != [width, []]:
            wrong.append((path.name, *found))
    context.close()
    assert wrong == []
