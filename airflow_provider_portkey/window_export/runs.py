"""Which runs of a thread belong to a window, out of its list that comes newest first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_portkey.exceptions import PortkeyUnexpectedResponseError
from airflow_provider_portkey.jobs.run import RUN, TOKENS, tokens_of
from airflow_provider_portkey.log_export.plan import Window

CREATED, ENDED = "created", "ended"

#: Where a run says when it ended. ``expires_at`` is when one expired; other runs may still have it.
_ENDS = ("completed_at", "failed_at", "cancelled_at", "expired_at", "incomplete_at")


@dataclass(frozen=True, slots=True)
class SeenRun:
    """What is kept of a run: a thread may have very many."""

    id: str
    created_at: float
    status: str
    usage: tuple[int, ...] = (0, 0, 0)

    @property
    def ended(self) -> bool:
        """Whether it adds no more steps. A status that nobody knows is no end."""
        return self.status in RUN.terminal_statuses

    @property
    def place(self) -> tuple[float, str]:
        """What runs are sorted by."""
        return self.created_at, self.id


def seen(run: Mapping[str, Any]) -> SeenRun:
    """
    Return what is kept of a run.

    :raises PortkeyUnexpectedResponseError: where it does not say when it was created.
    """
    return SeenRun(str(run["id"]), _created_at(run), str(run.get("status")), tokens_of(run))


def total_usage(usages: Iterable[tuple[int, ...]]) -> dict[str, int]:
    """Return the tokens of several runs by name."""
    return dict(zip(TOKENS, map(sum, zip((0, 0, 0), *usages, strict=True)), strict=True))


def runs_of_window(
    runs: Iterable[Mapping[str, Any]], window: Window, *, window_by: str, max_run_seconds: float
) -> Iterator[SeenRun]:
    """
    Yield the runs of a window, and take no more of the list than it needs.

    :param runs: Newest first.
    :param window_by: ``"created"``, or ``"ended"``: then a run that has not ended is in no window yet.
    :param max_run_seconds: How long before its end a run may have been created.
    :raises PortkeyUnexpectedResponseError: where the list is not newest first: what is missing could not be told.
    """
    start, end = window.start.timestamp(), window.end.timestamp()
    oldest = start - (max_run_seconds if window_by == ENDED else 0)
    before = math.inf
    for run in runs:
        created_at = _created_at(run)
        if created_at > before:
            raise PortkeyUnexpectedResponseError(
                f"The list of runs is not newest first: {run['id']!r} was created at {created_at:.0f}, after the run "
                f"before it ({before:.0f}). Where a window begins cannot be told."
            )
        before = created_at
        if created_at < oldest:
            return
        kept = seen(run)
        moment = created_at if window_by == CREATED else _ended_at(run, kept, max_run_seconds)
        if moment is not None and start <= moment < end:
            yield kept


def _ended_at(run: Mapping[str, Any], kept: SeenRun, max_run_seconds: float) -> float | None:
    if not kept.ended:
        return None
    names = (*_ENDS, "expires_at") if kept.status == "expired" else _ENDS
    moments = [moment for name in names if (moment := _number(run.get(name))) is not None]
    # One that does not say: when it must have ended at the latest, so that its window is never exported before.
    return moments[0] if moments else kept.created_at + max_run_seconds


def _created_at(run: Mapping[str, Any]) -> float:
    moment = _number(run.get("created_at"))
    if moment is None:
        raise PortkeyUnexpectedResponseError(
            f"Run {run.get('id')!r} has created_at={run.get('created_at')!r}, no moment."
        )
    return moment


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None
