"""Apache Airflow provider for the Portkey AI gateway."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # every DAG file comes by here
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"


def on_look(module: str, name: str) -> Any:
    """Return a class attribute for what stands in a module of this package, which is imported when somebody looks."""
    return _OnLook(module, name)


class _OnLook:
    def __init__(self, module: str, name: str) -> None:
        self._module = module
        self._name = name

    def __get__(self, instance: object, owner: type) -> Any:
        return getattr(import_module(f"{__name__}.{self._module}"), self._name)
