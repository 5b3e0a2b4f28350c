"""The values of one wait, which travel from sensor to trigger to poller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

#: The most seconds between two polls by default; Airflow's default for a sensor's ``poke_interval`` too.
MAX_POLL_INTERVAL = 60.0
#: The least seconds between two polls whose interval is adaptive.
MIN_POLL_INTERVAL = 1.0


@dataclass(frozen=True, kw_only=True)
class WaitState:
    """
    One wait, as another process continues it: plain values, no secrets.

    :param started_at: When the wait began, epoch seconds.
    :param deadline: When the wait times out, epoch seconds: wall-clock time outlives a move to another process.
    :param poll_interval: Seconds between two polls; ``None``: adaptive, a tenth of the time since the job was created.
    :param min_poll_interval: The least seconds of an adaptive interval.
    :param max_poll_interval: The most seconds of an adaptive interval.
    :param created_at: When the job was created, epoch seconds, where its server says so.
    :param next_poll_at: When the next poll is due, epoch seconds.
    :param max_consecutive_failures: Consecutive polls that may fail before the wait is given up; ``None``: the wait is
        not given up before the deadline, not even where a poll is refused for good.
    :param on_requires_action: ``"fail"``, ``"wait"`` or ``"return"`` when the job requires action.
    :param include_fields: Excluded fields of the job that its task returns nevertheless.
    :param max_bytes: Maximum size of the returned job as JSON where fields are included.
    :param status: The job's last known status.
    :param failures: Consecutive polls that have failed.
    :param progress: The job's last known progress, as the log shows it.
    :param warned_at: When an unknown status was last warned about, epoch seconds; ``None`` while the status is known.
    """

    started_at: float
    deadline: float
    poll_interval: float | None = None
    min_poll_interval: float = MIN_POLL_INTERVAL
    max_poll_interval: float = MAX_POLL_INTERVAL
    created_at: float | None = None
    next_poll_at: float = 0.0
    max_consecutive_failures: int | None = 5
    on_requires_action: str = "fail"
    include_fields: list[str] = field(default_factory=list)
    max_bytes: int | None = None
    status: str | None = None
    failures: int = 0
    progress: str = ""
    warned_at: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, of which :meth:`from_dict` makes the state again."""
        return asdict(self)

    def changed(self, **changes: Any) -> WaitState:
        """Return the state with other values, as ``dataclasses.replace`` does at ten times the cost."""
        state = object.__new__(WaitState)
        object.__setattr__(state, "__dict__", vars(self) | changes)
        return state

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> WaitState:
        """Return the state that :meth:`to_dict` described."""
        return cls(**data)
