"""How a job moves through its statuses, by the clock or look by look."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, TypeAlias

Advance: TypeAlias = Literal["time", "per_poll"]

#: One status; several, one second apart; or several, each with its seconds after the start.
Statuses: TypeAlias = str | Sequence[str | Sequence[str | float]]


def parse_statuses(statuses: Statuses) -> list[tuple[str, float]]:
    """Bring the ways of writing a script into one: pairs of status and seconds after the start.

    :raises ValueError: for an empty script, or one whose seconds go backwards.
    """
    entries: list[tuple[str, float]] = []
    for number, entry in enumerate([statuses] if isinstance(statuses, str) else statuses):
        status, seconds = (entry, number) if isinstance(entry, str) else entry
        entries.append((str(status), float(seconds)))
    if not entries:
        raise ValueError("A script needs at least one status")
    if any(later[1] < earlier[1] for earlier, later in pairwise(entries)):
        raise ValueError(f"The seconds of a script must not go backwards: {entries}")
    return entries


def usual_statuses(seconds: float) -> list[tuple[str, float]]:
    """Give the script of a job that ends well.

    :param seconds: from the start to the end; 0 has it completed at the first look.
    """
    return [("queued", 0.0), ("in_progress", seconds / 4), ("completed", seconds)]


class Script:
    """The statuses that a job is to go through, and where it stands.

    It holds no clock: whoever asks says what time it is, so a test can tell it any time.

    :param statuses: see :data:`Statuses`. Any word is a status.
    :param advance: ``time`` moves by the seconds of the script. ``per_poll`` moves one status at each look
        (the first look sees the first status), whatever the seconds say.
    :param started: when the seconds begin to count, in seconds since the epoch; ``None`` for the first look.
    """

    def __init__(self, statuses: Statuses, *, advance: Advance = "time", started: float | None) -> None:
        if advance not in ("time", "per_poll"):
            raise ValueError(f"advance has to be 'time' or 'per_poll', not {advance!r}")
        self._entries = parse_statuses(statuses)
        self._advance = advance
        self._position = 0
        self._looked_at = False
        self.started = started
        #: Seconds after the start at which each status was first reached.
        self.reached = {self.status: 0.0}

    @property
    def status(self) -> str:
        """Where the job stands, as of the last look."""
        return self._entries[self._position][0]

    @property
    def seconds(self) -> float:
        """How long the whole script takes."""
        return self._entries[-1][1]

    def settle(self, now: float) -> None:
        """Let the time pass without looking: what a list does, which shows many jobs at once.

        :param now: seconds since the epoch.
        """
        if self._advance == "time" and self.started is not None:
            while self._position + 1 < len(self._entries):
                due = self._entries[self._position + 1][1]
                if due > now - self.started:
                    break
                self._move(due)

    def look(self, now: float) -> None:
        """Look at this one job: starts a script that waits for it, and moves a ``per_poll`` one.

        :param now: seconds since the epoch.
        """
        if self.started is None:
            self.started = now
        if self._advance == "per_poll" and self._looked_at and self._position + 1 < len(self._entries):
            self._move(now - self.started)
        self._looked_at = True
        self.settle(now)

    def share(self, status: str, now: float) -> float:
        """Say how far a script is through one of its statuses: 0 at its beginning, 1 at its end.

        One that moves by looks counts them: ``["in_progress", "in_progress", "completed"]`` is half way
        through at the second look.

        :param now: seconds since the epoch.
        """
        places = [place for place, entry in enumerate(self._entries) if entry[0] == status]
        if not places or self._position < places[0] or self.started is None:
            return 0.0
        first, end = places[0], places[-1] + 1
        if self._position >= end:
            return 1.0
        if self._advance == "per_poll":
            return (self._position - first) / (end - first)
        if end == len(self._entries):
            return 0.0
        begun, done = self._entries[first][1], self._entries[end][1]
        return min(max((now - self.started - begun) / (done - begun), 0.0), 1.0)

    def replace(self, statuses: Statuses, now: float, *, advance: Advance | None = None) -> None:
        """Go on with other statuses from now; the answer that says so counts as their first look.

        :param statuses: the new script, its seconds counted from now.
        :param now: seconds since the epoch.
        :param advance: how it moves from here; as before where not given.
        """
        if self.started is None:
            self.started = now
        elapsed = now - self.started
        self._entries = [(status, elapsed + seconds) for status, seconds in parse_statuses(statuses)]
        self._advance = advance or self._advance
        self._position = 0
        self._looked_at = True
        self.reached.setdefault(self.status, elapsed)

    def rest(self) -> list[tuple[str, float]]:
        """Give what is still to come, its seconds counted from the next status."""
        rest = self._entries[self._position + 1 :]
        return [(status, seconds - rest[0][1]) for status, seconds in rest]

    def _move(self, seconds: float) -> None:
        self._position += 1
        self.reached.setdefault(self.status, seconds)
