"""The usage of several jobs as one: tokens, cost, and their details."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def add_usage(total: dict[str, Any], usage: Any) -> None:
    """Add each number of a ``usage`` to a total; anything else, and another shape under a known name, is left out."""
    if not isinstance(usage, Mapping):
        return
    for name, value in usage.items():
        if isinstance(value, Mapping):
            if isinstance(nested := total.setdefault(name, {}), dict):
                add_usage(nested, value)
        elif type(value) in (int, float) and type(total.get(name, 0)) in (int, float):
            total[name] = total.get(name, 0) + value
