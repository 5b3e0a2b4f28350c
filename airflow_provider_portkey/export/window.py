"""A window of time: the interval that one export covers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError

#: Airflow 3 gives the runs of a cron schedule no data interval, unless the timetable has an interval.
_NO_INTERVAL = (
    "; where the run has no data interval, give both ends, or schedule with "
    "CronTriggerTimetable(..., interval=timedelta(hours=1))"
)


@dataclass(frozen=True)
class Window:
    """
    A half-open interval of time, ``[start, end)``.

    :param start: In UTC, whole seconds; belongs to the window.
    :param end: In UTC, whole seconds; does not belong to the window.
    """

    start: datetime
    end: datetime

    @property
    def seconds(self) -> int:
        """The length of the window."""
        return (self.end - self.start) // timedelta(seconds=1)

    def cut(self, count: int) -> list[Window]:
        """Return windows that cover this one without overlap, in the order of time."""
        ends = [self.start + timedelta(seconds=self.seconds * number // count) for number in range(count + 1)]
        return [Window(start, end) for start, end in pairwise(ends)]

    def to_dict(self) -> dict[str, str]:
        """Return the window as manifests have it."""
        return {"window_start": format_timestamp(self.start), "window_end": format_timestamp(self.end)}

    def to_filters(self) -> dict[str, str]:
        """Return the filters of Portkey's log exports that select the window."""
        return {
            "time_of_generation_min": format_timestamp(self.start),
            "time_of_generation_max": format_timestamp(self.end),
        }


def read_window(start: Any, end: Any) -> Window:
    """
    Return a window, given its ends as ``datetime`` or as ISO 8601 strings with a zone.

    Fractions of a second are cut off at both ends, so that consecutive windows stay consecutive.

    :raises PortkeyInvalidArgumentError: naming the end that is wrong.
    """
    window = Window(_read_timestamp("window_start", start), _read_timestamp("window_end", end))
    if window.seconds < 1:
        expected = f"a timestamp at least one second after window_start={format_timestamp(window.start)}"
        if window.start == window.end:
            expected += _NO_INTERVAL
        raise PortkeyInvalidArgumentError("window_end", format_timestamp(window.end), expected)
    return window


def format_timestamp(timestamp: datetime) -> str:
    """Return a timestamp in UTC as Portkey and manifests write it: ``2026-11-22T00:00:00Z``."""
    return timestamp.isoformat(timespec="seconds").replace("+00:00", "Z")


def _read_timestamp(field: str, value: Any) -> datetime:
    expected = "a timestamp with its zone, such as 2026-11-22T00:00:00Z"
    timestamp = value
    if isinstance(value, str):
        try:
            timestamp = datetime.fromisoformat(value.strip())
        except ValueError:
            expected += _NO_INTERVAL
    if not isinstance(timestamp, datetime) or timestamp.utcoffset() is None:
        raise PortkeyInvalidArgumentError(field, value, expected)
    return datetime.fromtimestamp(timestamp.timestamp() // 1, tz=UTC)
