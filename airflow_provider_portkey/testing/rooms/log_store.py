"""The logs that there are to export: as many as a test wants over a time, or rows of its own."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Protocol, TypeAlias

from airflow_provider_portkey.testing.rooms.log_rows import generated_row

#: A moment: seconds since the epoch, or ISO 8601 (in UTC where it names no offset).
Moment: TypeAlias = float | str | datetime


def microseconds(moment: Moment) -> int:
    """Bring a moment to microseconds since the epoch.

    :raises ValueError: for a text that is no moment.
    """
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        moment = moment.timestamp()
    return round(moment * 1_000_000)


def milliseconds(moment: Moment) -> int:
    """Bring a moment to milliseconds since the epoch, the grain of the store."""
    return microseconds(moment) // 1000


class _Stretch(Protocol):
    """Rows in the order of time, by their numbers from 0."""

    def first(self, moment: int) -> int:
        """Give the number of the first row at a moment or after it."""

    def moment(self, number: int) -> int:
        """Say when a row was logged."""

    def row(self, number: int) -> dict[str, Any]:
        """Give a row."""


@dataclass(frozen=True)
class _Even:
    """Rows spread evenly from one moment up to, and without, another; none of them is held."""

    name: int
    count: int
    start: int
    end: int

    def first(self, moment: int) -> int:
        passed, length = moment - self.start, self.end - self.start
        if passed <= 0 or length == 0:
            return 0 if passed <= 0 else self.count
        return min(-(-passed * self.count // length), self.count)

    def moment(self, number: int) -> int:
        return self.start + number * (self.end - self.start) // self.count

    def row(self, number: int) -> dict[str, Any]:
        return generated_row(f"log-{self.name}-{number:08d}", number, self.moment(number))


class _Own:
    """Rows that a test brought."""

    def __init__(self, name: int, rows: Iterable[Mapping[str, Any]]) -> None:
        timed = sorted(((milliseconds(row["created_at"]), row) for row in rows), key=lambda one: one[0])
        self._name = name
        self._moments = [moment for moment, _ in timed]
        self._rows = [row for _, row in timed]

    def first(self, moment: int) -> int:
        return bisect_left(self._moments, moment)

    def moment(self, number: int) -> int:
        return self._moments[number]

    def row(self, number: int) -> dict[str, Any]:
        row_id = f"log-{self._name}-{number:08d}"
        return generated_row(row_id, number, self._moments[number]) | dict(self._rows[number])


class LogStore:
    """Every log row there is."""

    def __init__(self) -> None:
        self._stretches: list[_Stretch] = []

    def add_even(self, count: int, start: int, end: int) -> None:
        """Log rows evenly over a time.

        :param start: when the first one is logged, in milliseconds since the epoch.
        :param end: where the next one would be; the same moment as ``start`` has all of them at once.
        :raises ValueError: for a time that goes backwards.
        """
        if end < start:
            raise ValueError("The end has to come after the start")
        self._stretches.append(_Even(len(self._stretches) + 1, count, start, end))

    def add_rows(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Log rows; each says when in ``created_at``, and what it does not say is generated."""
        self._stretches.append(_Own(len(self._stretches) + 1, rows))

    def count(self, window: tuple[int, int]) -> int:
        """Count the rows of a window.

        :param window: its first millisecond, and the first one behind it.
        """
        return sum(len(numbers) for _, numbers in self._numbers(window))

    def rows(self, window: tuple[int, int], *, skip: int, most: int) -> Iterator[dict[str, Any]]:
        """Give the rows of a window, oldest first, one at a time.

        :param window: see :meth:`count`.
        :param skip: how many are left out at its beginning.
        :param most: how many there are at most.
        """
        found = self._numbers(window)

        def timed(place: int) -> Iterator[tuple[int, int, int]]:
            stretch, numbers = found[place]
            return ((stretch.moment(number), place, number) for number in numbers)

        every = heapq.merge(*(timed(place) for place in range(len(found))))
        for _, place, number in islice(every, skip, skip + most):
            yield found[place][0].row(number)

    def _numbers(self, window: tuple[int, int]) -> list[tuple[_Stretch, range]]:
        start, stop = window
        return [(one, range(one.first(start), max(one.first(start), one.first(stop)))) for one in self._stretches]
