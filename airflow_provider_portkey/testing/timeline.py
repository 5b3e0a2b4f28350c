"""The statuses that a mocked job passes through, by the clock or poll by poll."""

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


def default_statuses(seconds: float) -> list[tuple[str, float]]:
    """
    Return the timeline of a run or response that completes.

    :param seconds: from the start to the end; 0 completes at the first poll.
    """
    return [("queued", 0.0), ("in_progress", seconds / 4), ("completed", seconds)]


class Timeline:
    """
    The statuses of one job, and its position among them. It holds no clock: the caller passes ``now``.

    :param statuses: see :data:`Statuses`. Any word is a status.
    :param advance: ``time`` advances by the seconds of the timeline. ``per_poll`` advances one status at each
        poll (the first poll returns the first status), whatever the seconds are.
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
            while self._position + 1 < len(self._entries):
                due = self._entries[self._position + 1][1]
                if due > now - self.started:
                    break
                self._move(due)

    def poll(self, now: float) -> None:
        """Count a poll of this one job: starts a timeline that waits for it, and advances a ``per_poll`` one."""
        if self.started is None:
            self.started = now
        if self._advance == "per_poll" and self._polled and self._position + 1 < len(self._entries):
            self._move(now - self.started)
        self._polled = True
        self.update(now)

    def share(self, status: str, now: float) -> float:
        """
        Return the elapsed share of one status: 0 at its beginning, 1 at its end.

        A ``per_poll`` timeline counts polls: ``["in_progress", "in_progress", "completed"]`` has passed half of
        ``in_progress`` at the second poll.
        """
        positions = [position for position, entry in enumerate(self._entries) if entry[0] == status]
        if not positions or self._position < positions[0] or self.started is None:
            return 0.0
        first, end = positions[0], positions[-1] + 1
        if self._position >= end:
            return 1.0
        if self._advance == "per_poll":
            return (self._position - first) / (end - first)
        if end == len(self._entries):
            return 0.0
        begin, finish = self._entries[first][1], self._entries[end][1]
        return min(max((now - self.started - begin) / (finish - begin), 0.0), 1.0)

    def replace(self, statuses: Statuses, now: float, *, advance: Advance | None = None) -> None:
        """
        Continue with other statuses from now on; the response that says so counts as their first poll.

        :param statuses: their seconds count from now.
        :param advance: as before where not given.
        """
        if self.started is None:
            self.started = now
        elapsed = now - self.started
        self._entries = [(status, elapsed + seconds) for status, seconds in parse_statuses(statuses)]
        self._advance = advance or self._advance
        self._position = 0
        self._polled = True
        self.reached.setdefault(self.status, elapsed)

    def rest(self) -> list[tuple[str, float]]:
        """Return the statuses still to come, their seconds counted from the next one."""
        rest = self._entries[self._position + 1 :]
        return [(status, seconds - rest[0][1]) for status, seconds in rest]

    def _move(self, seconds: float) -> None:
        self._position += 1
        self.reached.setdefault(self.status, seconds)
