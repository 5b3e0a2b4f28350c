"""The statuses that a job passes through, by the clock or poll by poll."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, TypeAlias

Advance: TypeAlias = Literal["time", "per_poll"]

#: One status; several, one second apart; or several, each with its seconds after the start.
Statuses: TypeAlias = str | Sequence[str | Sequence[str | float]]


def parse_statuses(statuses: Statuses) -> list[tuple[str, float]]:
    """
    Convert any notation of a timeline into pairs of status and seconds after the start.

    :raises ValueError: for an empty timeline, or one whose seconds decrease.
    """
    entries: list[tuple[str, float]] = []
    for number, entry in enumerate([statuses] if isinstance(statuses, str) else statuses):
        status, seconds = (entry, number) if isinstance(entry, str) else entry
        entries.append((str(status), float(seconds)))
    if not entries:
        raise ValueError("A timeline needs at least one status")
    if any(later[1] < earlier[1] for earlier, later in pairwise(entries)):
        raise ValueError(f"The seconds of a timeline must not decrease: {entries}")
    return entries


class Timeline:
    """
    The statuses of one job, and its position among them. It holds no clock: the caller passes ``now``.

    :param started: the time from which the seconds count, in seconds since the epoch; ``None`` for the first poll.
    :raises ValueError: for an unknown ``advance`` or an invalid timeline.
    """

    def __init__(self, statuses: Statuses, *, advance: Advance = "time", started: float | None) -> None:
        if advance not in ("time", "per_poll"):
            raise ValueError(f"advance has to be 'time' or 'per_poll', not {advance!r}")
        self._entries = parse_statuses(statuses)
        self._advance = advance
        self._position = 0
        self._polled = False
        self.started = started
        #: Seconds after the start at which each status was first reached.
        self.reached = {self.status: 0.0}

    @property
    def status(self) -> str:
        """The status as of the last update."""
        return self._entries[self._position][0]

    @property
    def seconds(self) -> float:
        """The length of the whole timeline."""
        return self._entries[-1][1]

    def update(self, now: float) -> None:
        """Advance by the clock alone, without counting a poll: what a list of jobs does."""
        if self._advance == "time" and self.started is not None:
            while self.rest() and self._entries[self._position + 1][1] <= now - self.started:
                self._move(self._entries[self._position + 1][1])

    def poll(self, now: float) -> None:
        """Count a poll of this one job: starts a timeline that waits for it, and advances a ``per_poll`` one."""
        if self.started is None:
            self.started = now
        if self._advance == "per_poll" and self._polled and self.rest():
            self._move(now - self.started)
        self._polled = True
        self.update(now)

    def share(self, now: float) -> float:
        """Return the elapsed share of the current status; of a ``per_poll`` timeline, that of all its statuses."""
        if self._advance == "per_poll" or not self.rest() or self.started is None:
            return self._position / len(self._entries)
        begin, finish = (self._entries[self._position + step][1] for step in (0, 1))
        return (now - self.started - begin) / (finish - begin)

    def replace(self, statuses: Statuses, now: float, *, advance: Advance | None = None, polled: bool = True) -> None:
        """
        Continue with other statuses, whose seconds count from now.

        :param advance: as before where not given.
        :param polled: whether the response that says so counts as the first poll.
        """
        self.started = now if self.started is None else self.started
        elapsed = now - self.started
        self._entries = [(status, elapsed + seconds) for status, seconds in parse_statuses(statuses)]
        self._advance, self._position, self._polled = advance or self._advance, 0, polled
        self.reached.setdefault(self.status, elapsed)

    def rest(self) -> list[tuple[str, float]]:
        """Return the statuses still to come, their seconds counted from the next one."""
        rest = self._entries[self._position + 1 :]
        return [(status, seconds - rest[0][1]) for status, seconds in rest]

    def _move(self, seconds: float) -> None:
        self._position += 1
        self.reached.setdefault(self.status, seconds)
