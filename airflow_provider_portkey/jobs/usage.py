"""What jobs used: tokens, cost and every other number, summed exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from airflow_provider_portkey.jobs.values import read_number

#: Depth of nested details that are summed; servers send two levels.
_MAX_DEPTH = 10


class UsageSum:
    """
    Sums the ``usage`` objects of jobs, field by field, nested details included.

    Fractions are summed in decimal, so that four times 0.00025 is 0.001. Values that are no number are left out, and
    so is a field that is a number in one object and an object in another.

    :param start: The value of :meth:`to_dict` of an earlier sum, whose fields are there from the beginning.
    """

    def __init__(self, start: Mapping[str, Any] | None = None) -> None:
        self._total: dict[str, Any] = {}
        self.add(start)

    def add(self, usage: object) -> None:
        """Add one ``usage`` object; a value that is no object is left out."""
        if isinstance(usage, dict):
            _add(self._total, usage, _MAX_DEPTH)

    def to_dict(self) -> dict[str, Any]:
        """Return the sum as JSON values; empty where nothing was added."""
        return _plain(self._total)


def _add(total: dict[str, Any], usage: Mapping[str, Any], depth: int) -> None:
    for name, value in usage.items():
        if type(value) is int and type(known := total.get(name, 0)) is int:  # nearly all values of a million lines
            total[name] = known + value
        elif isinstance(value, dict):
            nested = total.setdefault(name, {}) if depth else None
            if isinstance(nested, dict):
                _add(nested, value, depth - 1)
        elif (number := read_number(value)) is not None and not isinstance(total.get(name), dict):
            exact = number if isinstance(number, int) else Decimal(repr(number))
            total[name] = total.get(name, 0) + exact


def _plain(total: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, value in total.items():
        if isinstance(value, dict):
            if nested := _plain(value):
                plain[name] = nested
        elif isinstance(value, int):
            plain[name] = value
        elif math.isfinite(number := float(value)):  # a sum may be more than a float holds
            plain[name] = number
    return plain
