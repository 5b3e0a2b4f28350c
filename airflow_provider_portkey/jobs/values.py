"""Values of jobs as servers spell them: numbers that are strings, timestamps in milliseconds."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Any

#: Timestamps from here on are milliseconds, which is the year 1973; as seconds it would be the year 5138.
_FIRST_MILLISECONDS = 1e11
#: A number as a string; the bound keeps absurd ones out of sums.
_NUMBER = re.compile(r"-?\d{1,30}(\.\d{1,30})?")


def read_number(value: Any) -> int | float | None:
    """Return a finite number, also one that is a string; ``None`` for any other value and for a boolean."""
    if isinstance(value, str):
        stripped = value.strip()
        if not _NUMBER.fullmatch(stripped):
            return None
        return float(stripped) if "." in stripped else int(stripped)
    return value if type(value) is int or (type(value) is float and math.isfinite(value)) else None


def epoch_seconds(value: Any) -> float | None:
    """
    Return a timestamp as epoch seconds, ``None`` for a value that is no number.

    Bedrock, Vertex and Cohere have milliseconds, and ``null`` for a time that they do not know (mapping of Portkey's
    open-source gateway 1.15.2).
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value / 1000 if abs(value) >= _FIRST_MILLISECONDS else value


def read_timestamp(value: Any) -> datetime | None:
    """
    Return a timestamp in UTC, ``None`` for a value that is none.

    :param value: ISO 8601, in UTC where it names no zone; or epoch seconds, as in :func:`epoch_seconds`.
    """
    try:
        if not isinstance(value, str):
            seconds = epoch_seconds(value)
            return None if seconds is None else datetime.fromtimestamp(seconds, tz=UTC)
        timestamp = datetime.fromisoformat(value.strip())
        return timestamp.replace(tzinfo=UTC) if timestamp.tzinfo is None else timestamp.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None
