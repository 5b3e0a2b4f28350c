"""Facts and figures of a report, and how numbers are written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple


class Fact(NamedTuple):
    """A name and a value below the heading."""

    name: str
    value: str


class Figure(NamedTuple):
    """A number in a box, and a line of detail below."""

    name: str
    value: str
    detail: str = ""


def format_time(epoch: float | None) -> str:
    """Return epoch seconds as a time in UTC, an empty text for ``None`` and for a time beyond the calendar."""
    if epoch is None:
        return ""
    try:
        return datetime.fromtimestamp(epoch, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return ""


def format_cost(dollars: float) -> str:
    """Return US dollars with the digits that matter: ``$12.40``, ``$0.00132``."""
    return f"${dollars:,.2f}" if dollars >= 1 or dollars == 0 else f"${dollars:.3g}"
