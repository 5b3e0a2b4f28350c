"""The log rows that can be exported, and the window of time that selects them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

from airflow_provider_portkey.testing.faults import bad_request
from airflow_provider_portkey.testing.store import Store

#: Seconds since the epoch, or ISO 8601 (UTC without an offset).
Timestamp: TypeAlias = float | str | datetime

#: Later than any log: the year 2286, in seconds since the epoch.
_END_OF_TIME = 10_000_000_000

_ROW = {
    **{"ai_org": "openai", "ai_model": "mock-model", "mode": "SINGLE", "config": None, "prompt_slug": None},
    **{"req_units": 20, "cost": 0.25, "cost_currency": "USD"},
    "request_url": "https://provider.test/v1/chat/completions",
}


def to_microseconds(timestamp: Timestamp) -> int:
    """Convert a timestamp into microseconds since the epoch; a string that is none raises a ``ValueError``."""
    if isinstance(timestamp, str):
        timestamp = datetime.fromisoformat(timestamp)
    if isinstance(timestamp, datetime):
        timestamp = (timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)).timestamp()
    return round(timestamp * 1_000_000)


def to_iso(milliseconds: float) -> str:
    """Convert milliseconds since the epoch into Portkey's notation."""
    timestamp = datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
    return timestamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Logs:
    """All log rows, in the order of time, and the settings of their export; see :meth:`.LogExports.settings`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        #: Milliseconds, number of the call that added it, number within that call, given fields.
        self._entries: list[tuple[int, int, int, Mapping[str, Any]]] = []
        self._calls = 0
        self.settings: dict[str, Any] = {"spelling": "schema", "max_rows": 50_000, "end_included": True, "ranges": True}

    def add(
        self,
        count: int = 0,
        start: Timestamp = 0,
        end: Timestamp | None = None,
        *,
        rows: Iterable[Mapping[str, Any]] = (),
    ) -> dict[str, Any]:
        """
        Add log rows.

        :param count: the number of generated rows, evenly spread over the time.
        :param start: the timestamp of the first of them: seconds since the epoch, or ISO 8601.
        :param end: the timestamp of one row more; equal to ``start`` for rows of one timestamp. Now where not given.
        :param rows: rows with a ``created_at`` each; missing fields are generated.
        :return: the ``total`` of rows now.
        :raises ValueError: for an end before the start.
        """
        with self._store.lock:
            first, stop = (to_microseconds(self._store.clock() if at is None else at) // 1000 for at in (start, end))
            if count and stop < first:
                raise ValueError("The end must not be before the start")
            self._add((first + number * (stop - first) // count, {}) for number in range(count))
            self._add((to_microseconds(row["created_at"]) // 1000, row) for row in rows)
            return {"total": len(self._entries)}

    def rows(self, window: tuple[int, int]) -> Iterator[dict[str, Any]]:
        """Return the rows of a window, the oldest first; see :meth:`count`."""
        for position in self._positions(window):
            milliseconds, call, number, fields = self._entries[position]
            yield {**_generated_row(f"log-{call}-{number:08d}", number, milliseconds), **fields}

    def count(self, window: tuple[int, int]) -> int:
        """
        Count the rows of a window.

        :param window: its first millisecond, and the first one behind it.
        """
        return len(self._positions(window))

    def parse_window(self, filters: Mapping[str, Any]) -> tuple[int, int]:
        """
        Parse the time window of an export; without one, it is unbounded. Other filters are ignored.

        :raises ApiError: 400 for an invalid timestamp.
        """
        bounds = []
        for name, default in (("time_of_generation_min", 0), ("time_of_generation_max", _END_OF_TIME)):
            try:
                bounds.append(to_microseconds(filters.get(name, default)))
            except (TypeError, ValueError):
                raise bad_request(f"'{name}' has to be a timestamp, not {filters[name]!r}.", param="filters") from None
        # Rows have whole milliseconds, but a window may begin and end between two of them.
        start, stop = bounds
        return -(-start // 1000), stop // 1000 + 1 if self.settings["end_included"] else -(-stop // 1000)

    def _add(self, rows: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
        timed = sorted(rows, key=lambda row: row[0])
        self._calls += bool(timed)
        self._entries += [(time, self._calls, number, fields) for number, (time, fields) in enumerate(timed)]
        self._entries.sort(key=lambda entry: entry[:3])

    def _positions(self, window: tuple[int, int]) -> range:
        start, stop = (bisect_left(self._entries, bound, key=lambda entry: entry[0]) for bound in window)
        return range(start, max(start, stop))


def _generated_row(row_id: str, number: int, milliseconds: int) -> dict[str, Any]:
    """Return a row; every hundredth is a failed request."""
    failed = number % 100 == 99
    message = {"role": "assistant", "content": f"Answer {number}."}
    body = {"error": {"message": "Overloaded"}} if failed else {"choices": [{"index": 0, "message": message}]}
    messages = [{"role": "user", "content": f"Question {number}."}]
    return {
        **_ROW,
        **{"id": row_id, "trace_id": f"trace-{number // 2:08d}", "created_at": to_iso(milliseconds)},
        **{"request": {"body": {"model": "mock-model", "messages": messages}}, "response": {"body": body}},
        **{"is_success": 0 if failed else 1, "response_status_code": 503 if failed else 200},
        **{"res_units": 0 if failed else 5, "total_units": 20 if failed else 25},
        **{"response_time": 100 + number % 50, "metadata": {"number": str(number)}},
    }


#: The fields that an export can contain, as in Portkey's schema.
FIELDS = frozenset(_generated_row("", 0, 0))
