"""
Which exports a window of logs needs: cut in time until each part fits, by Portkey's own count.

A window is ``[start, end)`` in whole seconds, and so are its parts: each starts at the end of the part before. Portkey
does not document whether a log at the very end belongs to a window. Where it does, a log at a boundary is in two parts:
the parts sum up to more than the whole, which :attr:`Plan.overlaps` shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_portkey.exceptions import PortkeyRowsMismatchError, PortkeyWindowTooFullError
from airflow_provider_portkey.export.window import Window, format_timestamp, read_window
from airflow_provider_portkey.jobs.log_export import MAX_ROWS

DRAFT, STARTED, DONE = "draft", "started", "done"

#: Parts that a window is cut into at once at the most. Evenly spread logs need as many parts as exports; where all
#: logs are in one hour of a month, each further part is a request about nothing.
_MAX_CUTS = 16
#: Ratio of an export that a part is meant to fill: logs are never spread so evenly that all parts are equal.
_FILL = 0.9


@dataclass
class Part:
    """
    One export of a plan.

    :param window: The part of the window.
    :param export_id: The log export.
    :param total: The rows that Portkey counted.
    :param stage: ``"draft"``, ``"started"`` or ``"done"``, as far as is known.
    """

    window: Window
    export_id: str
    total: int
    stage: str = DRAFT


@dataclass
class Plan:
    """
    The exports for a window, in the order of time.

    :param low: The lowest of Portkey's counts of the whole window.
    :param high: The highest: logs may arrive while Portkey counts.
    """

    parts: list[Part] = field(default_factory=list)
    low: int = 0
    high: int = 0

    @property
    def total(self) -> int:
        """The rows of all parts together."""
        return sum(part.total for part in self.parts)

    @property
    def overlaps(self) -> bool:
        """Whether rows are in two parts, because Portkey counts the end of a window too."""
        return self.total > self.high

    def of_stage(self, *stages: str) -> list[Part]:
        """Return the parts at one of these stages."""
        return [part for part in self.parts if part.stage in stages]

    def replace(self, part: Part, plan: Plan) -> None:
        """Replace one export by those of another plan."""
        place = self.parts.index(part)
        self.parts[place : place + 1] = plan.parts
        self.low += plan.low - part.total
        self.high += plan.high - part.total

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, of which :meth:`from_dict` makes the plan again."""
        parts = [
            {"export_id": part.export_id, **part.window.to_dict(), "total": part.total, "stage": part.stage}
            for part in self.parts
        ]
        return {"parts": parts, "low": self.low, "high": self.high}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Plan:
        """Return the plan that :meth:`to_dict` described."""
        parts = [
            Part(read_window(part["window_start"], part["window_end"]), part["export_id"], part["total"], part["stage"])
            for part in data["parts"]
        ]
        return cls(parts, data["low"], data["high"])


#: Counts the logs of a window: returns the id of a draft and its total. The draft is a new one, or the spare draft
#: whose id is given, changed for the window.
Count = Callable[[Window, str | None], tuple[str, int]]


def make_plan(window: Window, count_logs: Count, *, limit: int = MAX_ROWS) -> Plan:
    """
    Cut a window into exports that hold all of it.

    A window with exactly as many rows as an export holds is cut too, where possible: the count may have stopped at the
    maximum. A window without logs needs no export.

    :raises PortkeyWindowTooFullError: where one second has more logs than an export holds.
    :raises PortkeyRowsMismatchError: where the parts have fewer logs than the whole.
    """
    plan = Plan()
    spare: list[str] = []

    def count(current: Window) -> tuple[str, int]:
        return count_logs(current, spare.pop() if spare else None)

    draft, whole = count(window)
    plan.low = plan.high = whole
    for current, export_id, total in _leaves(window, draft, whole, count, spare, limit):
        plan.parts.append(Part(current, export_id, total))
    if plan.total != whole:
        _, again = count(window)
        plan.low, plan.high = sorted((whole, again))
        if plan.total < plan.low:
            raise PortkeyRowsMismatchError(
                f"Portkey counts {plan.low} logs from {format_timestamp(window.start)} to "
                f"{format_timestamp(window.end)}, and only {plan.total} in the {len(plan.parts)} parts of this "
                "window."
            )
    return plan


def _leaves(
    window: Window, draft: str, total: int, count: Callable[[Window], tuple[str, int]], spare: list[str], limit: int
) -> Iterator[tuple[Window, str, int]]:
    if total == 0:
        spare.append(draft)
    elif total < limit or (total == limit and window.seconds == 1):
        yield window, draft, total
    elif window.seconds == 1:
        raise PortkeyWindowTooFullError(
            f"Portkey counts {total} logs in the one second from {format_timestamp(window.start)} on, and an export "
            f"holds {limit}. Export them in several tasks that differ in their filters, by ai_model for example."
        )
    else:
        spare.append(draft)
        wanted = max(math.ceil(total / (limit * _FILL)), 2)
        for part in window.cut(min(wanted, _MAX_CUTS, window.seconds)):
            yield from _leaves(part, *count(part), count, spare, limit)
