"""The log rows that can be exported, and the filters that select them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeAlias

from airflow_provider_portkey.testing.errors import bad_request

#: Seconds since the epoch, or ISO 8601 (UTC without an offset).
Timestamp: TypeAlias = float | str | datetime

#: Later than any log: the year 2286, in milliseconds since the epoch.
_END_OF_TIME = 10_000_000_000_000


def to_microseconds(timestamp: Timestamp) -> int:
    """Convert a timestamp into microseconds since the epoch; a string that is none raises a ``ValueError``."""
    if isinstance(timestamp, str):
        timestamp = datetime.fromisoformat(timestamp)
    if isinstance(timestamp, datetime):
        timestamp = (timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)).timestamp()
    return round(timestamp * 1_000_000)


def to_milliseconds(timestamp: Timestamp) -> int:
    """Convert a timestamp into milliseconds since the epoch, the resolution of log rows."""
    return to_microseconds(timestamp) // 1000


def to_iso(milliseconds: float) -> str:
    """Convert milliseconds since the epoch into Portkey's notation."""
    timestamp = datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
    return timestamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Logs:
    """All log rows, in the order of time."""

    def __init__(self) -> None:
        #: Milliseconds, number of the call that added it, number within that call, given fields.
        self._entries: list[tuple[int, int, int, Mapping[str, Any]]] = []
        self._calls = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add_even(self, count: int, start: int, end: int) -> None:
        """
        Add generated rows, evenly spread.

        :param start: the timestamp of the first row, in milliseconds since the epoch.
        :param end: the timestamp of one row more; equal to ``start`` for rows of one timestamp.
        :raises ValueError: for an end before the start.
        """
        if end < start:
            raise ValueError("The end must not be before the start")
        self._add((start + number * (end - start) // count, {}) for number in range(count))

    def add_rows(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows, each with its ``created_at``; missing fields are generated."""
        self._add(sorted(((to_milliseconds(row["created_at"]), row) for row in rows), key=lambda entry: entry[0]))

    def count(self, window: tuple[int, int]) -> int:
        """
        Count the rows of a window.

        :param window: its first millisecond, and the first one behind it.
        """
        return len(self._positions(window))

    def rows(self, window: tuple[int, int], *, skip: int, limit: int) -> Iterator[dict[str, Any]]:
        """
        Return the rows of a window, the oldest first.

        :param skip: the number of rows to leave out at its beginning.
        :param limit: the maximum number of rows.
        """
        for position in islice(self._positions(window), skip, skip + limit):
            milliseconds, call, number, fields = self._entries[position]
            yield {**_generated_row(f"log-{call}-{number:08d}", number, milliseconds), **fields}

    def _add(self, entries: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
        self._calls += 1
        for number, (milliseconds, fields) in enumerate(entries):
            self._entries.append((milliseconds, self._calls, number, fields))
        self._entries.sort(key=lambda entry: entry[:3])

    def _positions(self, window: tuple[int, int]) -> range:
        start, stop = (bisect_left(self._entries, bound, key=lambda entry: entry[0]) for bound in window)
        return range(start, max(start, stop))


def parse_window(filters: Mapping[str, Any], *, end_included: bool) -> tuple[int, int]:
    """
    Parse the time window of an export; without one, it is unbounded. Other filters are ignored.

    ``time_of_generation_min`` and ``_max`` are the spelling of Portkey's schema. ``created_at_min`` and ``_max``, and
    ``created_at`` with ``gte`` and ``lte``, are accepted too.

    :param end_included: whether a row at the very end belongs to the window.
    :return: its first millisecond, and the first one behind it.
    :raises ApiError: 400 for an invalid timestamp.
    """
    start, stop = _parse_bound(filters, "min", "gte"), _parse_bound(filters, "max", "lte")
    # Rows have whole milliseconds, but a window may begin and end between two of them.
    first = 0 if start is None else -(-start // 1000)
    if stop is None:
        return first, _END_OF_TIME
    return first, stop // 1000 + 1 if end_included else -(-stop // 1000)


def _parse_bound(filters: Mapping[str, Any], bound: str, operator: str) -> int | None:
    nested = filters.get("created_at")
    spellings = {name: filters.get(name) for name in (f"time_of_generation_{bound}", f"created_at_{bound}")}
    spellings[f"created_at.{operator}"] = nested.get(operator) if isinstance(nested, Mapping) else None
    for name, value in spellings.items():
        if value is not None:
            try:
                return to_microseconds(value)
            except (TypeError, ValueError):
                raise bad_request(f"'{name}' has to be a timestamp, not {value!r}.", param="filters") from None
    return None


def parse_page(filters: Mapping[str, Any], max_rows: int) -> tuple[int, int]:
    """
    Parse which part of a window is exported.

    :param max_rows: the maximum of one job.
    :return: the number of rows to skip, and the maximum number of rows.
    :raises ApiError: 400 for anything but whole numbers.
    """
    size, current = filters.get("page_size", max_rows), filters.get("current_page", 0)
    if not isinstance(size, int) or not isinstance(current, int) or size < 1 or current < 0:
        raise bad_request("'page_size' and 'current_page' have to be whole numbers.", param="filters")
    size = min(size, max_rows)
    return current * size, size


_ROW = {
    **{"ai_org": "openai", "ai_model": "mock-model", "mode": "SINGLE", "config": None, "prompt_slug": None},
    **{"req_units": 20, "cost": 0.25, "cost_currency": "USD"},
    "request_url": "https://provider.test/v1/chat/completions",
}


def _generated_row(row_id: str, number: int, milliseconds: int) -> dict[str, Any]:
    """Return a row; every hundredth is a failed request."""
    failed = number % 100 == 99
    message = {"role": "assistant", "content": f"Output {number}."}
    body = {"error": {"message": "Overloaded"}} if failed else {"choices": [{"index": 0, "message": message}]}
    messages = [{"role": "user", "content": f"Question {number}."}]
    return {
        **_ROW,
        "id": row_id,
        "trace_id": f"trace-{number // 2:08d}",
        "created_at": to_iso(milliseconds),
        "request": {"body": {"model": "mock-model", "messages": messages}},
        "response": {"body": body},
        "is_success": 0 if failed else 1,
        "res_units": 0 if failed else 5,
        "total_units": 20 if failed else 25,
        "response_time": 100 + number % 50,
        "response_status_code": 503 if failed else 200,
        "metadata": {"number": str(number)},
    }


#: The fields that an export can contain, as in Portkey's schema.
FIELDS = frozenset(_generated_row("", 0, 0))
