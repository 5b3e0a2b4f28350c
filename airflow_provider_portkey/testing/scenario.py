"""A job of any kind: the scenario that a test declares, and how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

from airflow_provider_portkey.testing.timeline import Advance, Statuses, Timeline

Start: TypeAlias = Literal["now", "first-poll"]


@dataclass(kw_only=True)
class Job:
    """
    The parameters that all kinds of jobs share.

    :param statuses: one status, or several, each with its seconds after the start:
        ``[("queued", 0), ("completed", 4)]``. Words unknown to the API are allowed.
    :param advance: ``time`` advances by the clock; ``per_poll`` advances one status at each request for this job,
        the first of which returns the first status.
    :param start: whether the seconds count from now or from the first request for this job.
    :param created_at: in seconds since the epoch; now where not given. The job's other timestamps count from it.
    :param fields: values that replace generated ones in the job's object.
    :raises ValueError: for an id that is taken, and for an invalid timeline.
    """

    statuses: Statuses | None = None
    advance: Advance = "time"
    start: Start = "now"
    created_at: int | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    id: str = field(init=False)
    created: int = field(init=False)
    timeline: Timeline = field(init=False)

    @property
    def status(self) -> str:
        """The status as of the last update."""
        return self.timeline.status

    def begin(self, now: float, job_id: str, default_statuses: Statuses) -> None:
        """
        Begin the scenario.

        :param now: seconds since the epoch.
        :param default_statuses: the statuses where the test gave none.
        """
        if self.start not in ("now", "first-poll"):
            raise ValueError(f"start has to be 'now' or 'first-poll', not {self.start!r}")
        self.id, self.fields = job_id, self.fields or {}
        self.created = int(now) if self.created_at is None else self.created_at
        statuses = default_statuses if self.statuses is None else self.statuses
        self.timeline = Timeline(statuses, advance=self.advance, started=now if self.start == "now" else None)

    def reached_at(self, status: str) -> int | None:
        """Return when a status was first reached, in seconds since the epoch; ``None`` for never."""
        seconds = self.timeline.reached.get(status)
        return None if seconds is None else self.created + int(seconds)

    def update(self, now: float) -> None:
        """Apply the time that has passed."""
        self.timeline.update(now)

    def poll(self, now: float) -> None:
        """Count a request for this one job, and apply the time that has passed."""
        self.timeline.poll(now)
        self.update(now)


@dataclass(kw_only=True)
class CountedJob(Job):
    """
    A job over many items, processed evenly while it is ``in_progress``.

    :param partial: the share of items that an ``expired`` job has processed.
    """

    partial: float = 0.5
    total: int = field(init=False, default=0)
    #: The number of processed items, failed ones included.
    done: int = field(init=False, default=0)

    #: The statuses in which all items are processed.
    processed_statuses: ClassVar[frozenset[str]] = frozenset({"finalizing", "completed"})

    def update(self, now: float) -> None:
        super().update(now)
        if self.status == "in_progress":
            self.done = int(self.total * self.timeline.share("in_progress", now))
        elif self.status in self.processed_statuses:
            self.done = self.total
        elif self.status == "expired":
            self.done = int(self.total * self.partial)
