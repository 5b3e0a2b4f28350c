"""
Apache Airflow provider for the Portkey AI gateway.

:func:`lazy_attribute` is here, and not in a module of its own, because each module costs parse time.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # importing typing costs parse time
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"


def lazy_attribute(module: str, name: str) -> Any:
    """
    Return a class attribute whose value is imported when the attribute is read, so that parsing a DAG file stays cheap.

    :param module: Below this package, such as ``"jobs.run"``.
    :param name: In the module, such as ``"RUN"``.
    """
    return _LazyAttribute(module, name)


class _LazyAttribute:
    def __init__(self, module: str, name: str) -> None:
        self._module = module
        self._name = name

    def __get__(self, instance: object, owner: type) -> Any:
        return getattr(import_module(f"{__name__}.{self._module}"), self._name)
