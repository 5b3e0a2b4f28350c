"""Which logs an export is about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_portkey.testing.errors import bad_request
from airflow_provider_portkey.testing.rooms.log_rows import FIELDS
from airflow_provider_portkey.testing.rooms.log_store import microseconds

#: Later than any log: the year 2286, in milliseconds since the epoch.
_FOREVER = 10_000_000_000_000

#: The words that bound a window from below, and from above, inside ``created_at``.
_FROM, _TO = ("gte", "min", "from", "start"), ("lte", "max", "to", "end")


def window(filters: Mapping[str, Any], *, end_included: bool) -> tuple[int, int]:
    """Read the time window of an export, in any of its spellings; without one, it is all of the time.

    ``time_of_generation_min`` and ``_max`` are the schema's; ``created_at_min`` and ``_max``, or
    ``created_at`` with ``gte`` and ``lte``, are taken too. Other filters change nothing.

    :param end_included: whether a row at the very end belongs to it.
    :return: its first millisecond, and the first one behind it.
    :raises ApiError: 400 for what is no moment.
    """
    start = _moment(filters, "min", _FROM)
    stop = _moment(filters, "max", _TO)
    # Rows lie at whole milliseconds, but a window may begin and end between two of them.
    first = 0 if start is None else -(-start // 1000)
    if stop is None:
        return first, _FOREVER
    return first, stop // 1000 + 1 if end_included else -(-stop // 1000)


def page(filters: Mapping[str, Any], most: int) -> tuple[int, int]:
    """Read which part of the window is wanted: how many rows to skip, and how many to take.

    :param most: the most rows of a job.
    :raises ApiError: 400 for what is no whole number.
    """
    size, current = filters.get("page_size", most), filters.get("current_page", 0)
    if not isinstance(size, int) or not isinstance(current, int) or size < 1 or current < 0:
        raise bad_request("'page_size' and 'current_page' have to be whole numbers.", param="filters")
    size = min(size, most)
    return current * size, size


def checked_fields(requested: Any) -> list[str]:
    """Check what an export asks for.

    :raises ApiError: 400 for anything but a list of known names.
    """
    if not isinstance(requested, list) or not requested:
        raise bad_request("'requested_data' has to be a list of fields.", param="requested_data")
    unknown = [name for name in requested if name not in FIELDS]
    if unknown:
        raise bad_request(f"'requested_data' names unknown fields: {unknown}.", param="requested_data")
    return requested


def _moment(filters: Mapping[str, Any], bound: str, words: tuple[str, ...]) -> int | None:
    for name, written in _written(filters, bound, words):
        try:
            return microseconds(written)
        except (TypeError, ValueError):
            raise bad_request(f"'{name}' has to be a moment, not {written!r}.", param="filters") from None
    return None


def _written(filters: Mapping[str, Any], bound: str, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for name in (f"time_of_generation_{bound}", f"created_at_{bound}"):
        if filters.get(name) is not None:
            yield name, filters[name]
    nested = filters.get("created_at")
    if isinstance(nested, Mapping):
        yield from ((f"created_at.{word}", nested[word]) for word in words if nested.get(word) is not None)
