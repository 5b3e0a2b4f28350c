"""Class attributes that are imported at their first use, so that a DAG file does not pay for them."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # typing itself costs a DAG file time
if TYPE_CHECKING:
    from typing import Any

_PACKAGE = __name__.rpartition(".")[0]


def lazy_attribute(module: str, name: str) -> Any:
    """
    Return a class attribute whose value is imported when the attribute is read.

    :param module: Below this package, such as ``"jobs.run"``.
    :param name: In the module, such as ``"RUN"``.
    """
    return _LazyAttribute(module, name)


class _LazyAttribute:
    def __init__(self, module: str, name: str) -> None:
        self._module = module
        self._name = name

    def __get__(self, instance: object, owner: type) -> Any:
        return getattr(import_module(f"{_PACKAGE}.{self._module}"), self._name)
