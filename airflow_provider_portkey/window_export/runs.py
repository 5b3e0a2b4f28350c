"""The runs of a thread that belong to a window, from the list of its runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_portkey.exceptions import PortkeyUnexpectedResponseError
from airflow_provider_portkey.export.window import Window
from airflow_provider_portkey.jobs.run import RUN, created_at_of
from airflow_provider_portkey.jobs.usage import UsageSum
from airflow_provider_portkey.jobs.values import epoch_seconds

#: The choices of ``window_by``.
CREATED, ENDED = "created", "ended"

#: The fields with the end of a run. ``expires_at`` is the end of an expired run only; other runs may have it, too.
_END_FIELDS = ("completed_at", "failed_at", "cancelled_at", "expired_at", "incomplete_at")


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The fields of a run that are kept in memory: a thread may have very many runs."""

    id: str
    created_at: float
    status: str
    usage: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether the status is terminal. An unknown status is not."""
        return self.status in RUN.terminal_statuses

    @property
    def sort_key(self) -> tuple[float, str]:
        """The order of runs in a file."""
        return self.created_at, self.id


def summarize_run(run: Mapping[str, Any]) -> RunSummary:
    """
    Return the summary of a run.

    :raises PortkeyUnexpectedResponseError: where ``created_at`` is no timestamp.
    """
    usage = UsageSum()
    usage.add(run.get("usage"))
    return RunSummary(str(run["id"]), created_at_of(run), str(run.get("status")), usage.to_dict())


def runs_of_window(
    runs: Iterable[Mapping[str, Any]],
    window: Window,
    *,
    window_by: str,
    max_run_seconds: float,
    newest_first: bool = True,
) -> Iterator[tuple[RunSummary, Mapping[str, Any]]]:
    """
    Yield the runs of a window with their summaries, and read the list no further than the window needs.

    :param runs: By their time of creation.
    :param window_by: ``"created"``, or ``"ended"``: then a run that has not ended is in no window yet.
    :param max_run_seconds: Maximum seconds from the creation of a run to its end.
    :param newest_first: Whether the list is newest first, otherwise it is oldest first.
    :raises PortkeyUnexpectedResponseError: where the list is in another order: missing runs could not be noticed.
    """
    start, end = window.start.timestamp(), window.end.timestamp()
    oldest = start - (max_run_seconds if window_by == ENDED else 0)
    previous = None
    for run in runs:
        created_at = created_at_of(run)
        if previous is not None and (created_at > previous if newest_first else created_at < previous):
            raise PortkeyUnexpectedResponseError(
                f"The list of runs is not {'newest' if newest_first else 'oldest'} first: {run['id']!r} was created at "
                f"{created_at:.0f}, the run before it at {previous:.0f}. The runs of the window cannot be found."
            )
        previous = created_at
        if created_at < oldest if newest_first else created_at >= end:
            return
        summary = summarize_run(run)
        timestamp = created_at if window_by == CREATED else _ended_at(run, summary, max_run_seconds)
        if timestamp is not None and start <= timestamp < end:
            yield summary, run


def _ended_at(run: Mapping[str, Any], summary: RunSummary, max_run_seconds: float) -> float | None:
    if not summary.ended:
        return None
    fields = (*_END_FIELDS, "expires_at") if summary.status == "expired" else _END_FIELDS
    ends = (timestamp for field in fields if (timestamp := epoch_seconds(run.get(field))) is not None)
    # Without a timestamp, the latest possible end: that window cannot have been exported before.
    return next(ends, summary.created_at + max_run_seconds)
