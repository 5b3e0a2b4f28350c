"""Facts and figures of a report, and how numbers are written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from airflow_provider_portkey.jobs.values import epoch_seconds

#: The end of the calendar, the year 9999.
_LAST = 253_402_300_799


class Fact(NamedTuple):
    """A name and a value below the heading."""

    name: str
    value: str


class Figure(NamedTuple):
    """A number in a box, and a line of detail below."""

    name: str
    value: str
    detail: str = ""


def read_time(value: Any) -> float | None:
    """Return a timestamp as epoch seconds, ``None`` for a value that is none within the calendar."""
    seconds = epoch_seconds(value)
    return seconds if seconds is not None and 0 <= seconds <= _LAST else None


def format_time(seconds: float | None) -> str:
    """Return epoch seconds as a time in UTC, an empty text for ``None``."""
    return "" if seconds is None else datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def format_cost(dollars: float) -> str:
    """Return US dollars with the digits that matter: ``$12.40``, ``$0.00132``."""
    return f"${dollars:,.2f}" if dollars >= 1 or dollars == 0 else f"${dollars:.3g}"
