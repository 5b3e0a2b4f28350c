"""
What an export of a window has decided about runs that had not ended, and what became of those.

Each window has one record, which only its own export writes. What it could not export it *leaves*; the window that
begins where this one ends *receives* that, once and for all when its own record is made. So a run has one taker
whatever is retried, cleared or exported out of order. A window that finds nothing before it yet, or something
that is not closed, hands on where to look: later windows look there again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_portkey.exceptions import PortkeyExportConflictError, PortkeyRemoteJobNotFinishedError
from airflow_provider_portkey.log_export.plan import Window
from airflow_provider_portkey.window_export.runs import CREATED, SeenRun

SKIP, INCLUDE, FAIL = "skip", "include", "fail"

#: Looks up the record of the window that ends at a moment.
Read = Callable[[str], "WindowRecord | None"]


@dataclass
class CarryOver:
    """
    What becomes of the runs of one thread.

    :param left: For each run that is left to a later window, its status and when it was created.
    :param picked_up: Runs that an earlier window had left.
    """

    left: dict[str, dict[str, Any]] = field(default_factory=dict)
    picked_up: list[str] = field(default_factory=list)


@dataclass
class WindowRecord:
    """
    What is known of the export of one window.

    :param owner: The task that exports it.
    :param writer: The process that is at it; ``None`` for none.
    :param received: Runs that earlier windows left, by thread.
    :param look_again: Moments at which an earlier window ends, or may yet: with the runs that were taken there where
        it was closed without some of its threads, ``None`` where it was not closed, or not there.
    :param decided: Threads with anything left or received.
    :param undecided: Threads that failed: the record is closed without them.
    :param closed: Whether the export came to its end once; from then on others may receive what it left.
    """

    window_start: str
    window_end: str
    window_by: str
    owner: str | None = None
    writer: str | None = None
    received: dict[str, list[str]] = field(default_factory=dict)
    look_again: dict[str, list[list[str]] | None] = field(default_factory=dict)
    decided: dict[str, CarryOver] = field(default_factory=dict)
    undecided: list[str] = field(default_factory=list)
    closed: bool = False

    @property
    def left(self) -> list[tuple[str, str]]:
        """Every run that is left, with its thread."""
        return sorted((thread, run) for thread, carry_over in self.decided.items() for run in carry_over.left)

    def to_dict(self) -> dict[str, Any]:
        """Return it in plain data, the same for the same record."""
        decided = {
            thread: {"left": dict(sorted(carry_over.left.items())), "picked_up": sorted(carry_over.picked_up)}
            for thread, carry_over in sorted(self.decided.items())
        }
        return {
            **vars(self),
            "received": dict(sorted(self.received.items())),
            "look_again": dict(sorted(self.look_again.items())),
            "decided": decided,
            "undecided": sorted(self.undecided),
            "schema_version": 1,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> WindowRecord:
        """
        Make it again.

        :raises PortkeyExportConflictError: where the data are no record.
        """
        try:
            plain = {name: value for name, value in data.items() if name != "schema_version"}
            decided = {thread: CarryOver(**carry_over) for thread, carry_over in plain.pop("decided").items()}
            return cls(**plain, decided=decided)
        except (AttributeError, KeyError, TypeError) as error:
            raise PortkeyExportConflictError(
                f"What should be the record of an earlier export is none: {error}."
            ) from None

    @classmethod
    def begin(cls, window: Window, window_by: str, owner: str | None, read: Read) -> WindowRecord:
        """Make the record of a window, which receives what earlier ones have left by now."""
        ends = window.to_dict()
        record = cls(ends["window_start"], ends["window_end"], window_by, owner)
        if window_by != CREATED:  # where a run that has not ended belongs to no window yet
            return record
        places: list[tuple[str, list[list[str]] | None]] = [(record.window_start, None)]
        while places:
            moment, taken = places.pop()
            earlier = read(moment)
            if earlier is None or not earlier.closed:
                record.look_again[moment] = taken
                continue
            if taken is None:  # once: from then on whoever looks here has those places, too
                places += earlier.look_again.items()
            new = [[thread, run] for thread, run in earlier.left if [thread, run] not in (taken or ())]
            for thread, run in new:
                record.received.setdefault(thread, []).append(run)
            if earlier.undecided:
                record.look_again[moment] = [*(taken or ()), *new]
        return record

    def check(self, window: Window, window_by: str, owner: str | None) -> None:
        """
        Make sure that this is the record of the same export.

        :raises PortkeyExportConflictError: saying what differs.
        """
        if (self.window_start, self.window_by) != (window.to_dict()["window_start"], window_by):
            raise PortkeyExportConflictError(
                f"The window that ends at {self.window_end} was exported from {self.window_start} on, by the moment "
                f"at which runs were {self.window_by}; now it is to be another one. Choose another path for it."
            )
        if self.owner and owner and self.owner != owner:
            raise PortkeyExportConflictError(
                f"The window from {self.window_start} to {self.window_end} is exported to this path by {self.owner}. "
                f"Give {owner} a path of its own: each would remove the other's files."
            )

    def decide(
        self, thread_id: str, runs: Iterable[SeenRun], received: Iterable[SeenRun], unfinished: str
    ) -> tuple[CarryOver, list[SeenRun], bool]:
        """
        Say which runs of a thread are exported now. What was decided before stays so.

        :param runs: Those of the window.
        :param received: Those of :meth:`to_fetch`.
        :param unfinished: ``"skip"``, ``"include"`` or ``"fail"``.
        :return: The carry_over, the runs to export in their order, and whether the record has to be kept first.
        :raises PortkeyRemoteJobNotFinishedError: where a run has not ended that must have.
        """
        known = self.decided.get(thread_id)
        left = dict(known.left) if known else {}
        late = {run.id: run for run in received}
        found = {run.id: run for run in runs} | late
        exported = [found[run_id] for run_id in found if run_id not in left]
        waiting = [run for run in exported if not run.ended] if unfinished != INCLUDE else []
        if waiting and (unfinished == FAIL or (self.closed and thread_id not in self.undecided)):
            run = waiting[0]
            why = "" if unfinished == FAIL else ", and this window has been exported before, to its end"
            raise PortkeyRemoteJobNotFinishedError(
                f"Run {run.id!r} is still {run.status}{why}: try again when it has ended."
            )
        for run in waiting:
            left[run.id] = {"created_at": run.created_at, "status": run.status}
        exported = sorted((run for run in exported if run.id not in left), key=lambda run: run.place)
        picked_up = sorted(run.id for run in exported if run.id in late)
        carry_over = CarryOver(left, picked_up)
        if not left and not picked_up:
            return carry_over, exported, False
        self.decided[thread_id] = carry_over
        if thread_id in self.undecided:
            self.undecided.remove(thread_id)
        return carry_over, exported, carry_over != known

    def to_fetch(self, thread_id: str) -> list[str]:
        """Return the ids of the runs of a thread that earlier windows left and that are to be looked at now."""
        known = self.decided.get(thread_id)
        return known.picked_up if known else self.received.get(thread_id, [])

    def close(self, failed: Iterable[str]) -> None:
        """Let others receive what this window leaves; threads that failed before anything was decided wait."""
        self.undecided = sorted(set(failed) - self.decided.keys())
        self.closed = True
        self.writer = None
