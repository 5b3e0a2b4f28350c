"""
Carry-over: what the export of a window decided about runs that had not ended, and which window exports them.

Each window has one record, and only the window's own export writes the record (``state.py``). A window *carries out*
the runs that it could not export; the window that begins at its end *carries in* these runs, once and for all, when its
own record is created. So each run is exported by one window, whatever is retried, cleared or exported out of order.
Where the record of the window before is missing or not closed, its end is *pending*: later windows read that record
again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from airflow_provider_portkey.exceptions import PortkeyExportConflictError, PortkeyRemoteJobNotFinishedError
from airflow_provider_portkey.export.window import Window
from airflow_provider_portkey.window_export.runs import CREATED, RunSummary

#: The choices of ``on_unfinished`` beside ``"skip"``.
INCLUDE, FAIL = "include", "fail"

#: Reads the record of the window with this end.
ReadRecord = Callable[[str], "WindowRecord | None"]


@dataclass
class CarryOver:
    """
    The carry-over of one thread.

    :param carried_out: The runs that are carried over to a later window, with their status and creation.
    :param carried_in: The exported runs that were carried over from earlier windows.
    """

    carried_out: dict[str, dict[str, Any]] = field(default_factory=dict)
    carried_in: list[str] = field(default_factory=list)


@dataclass
class WindowRecord:
    """
    The record of one window.

    :param owner: The task that exports the window.
    :param carried_in: The runs that earlier windows carried out, by thread.
    :param pending: Ends of earlier windows whose records have to be read again, with the runs that were taken from a
        record that was closed without some threads, or ``None`` for a record that was missing or not closed.
    :param decided: Threads with a carry-over.
    :param undecided: Threads that failed: the record was closed without them.
    :param closed: Whether the export was finished once: from then on, later windows take what was carried out.
    """

    window_start: str
    window_end: str
    window_by: str
    owner: str | None = None
    carried_in: dict[str, list[str]] = field(default_factory=dict)
    pending: dict[str, list[list[str]] | None] = field(default_factory=dict)
    decided: dict[str, CarryOver] = field(default_factory=dict)
    undecided: set[str] = field(default_factory=set)
    closed: bool = False

    @property
    def carried_out(self) -> list[tuple[str, str]]:
        """The thread and the id of every run that is carried over to a later window."""
        return sorted((thread, run) for thread, carry_over in self.decided.items() for run in carry_over.carried_out)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON has it."""
        return {**asdict(self), "undecided": sorted(self.undecided), "schema_version": 1}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> WindowRecord:
        """
        Return the record of :meth:`to_dict`.

        :raises PortkeyExportConflictError: where the data are no record.
        """
        try:
            plain = {name: value for name, value in data.items() if name != "schema_version"}
            decided, undecided = plain.pop("decided"), set(plain.pop("undecided", ()))
            record = cls(**plain, undecided=undecided)
            record.apply(decided)
            return record
        except (AttributeError, KeyError, TypeError) as error:
            raise PortkeyExportConflictError(f"The record of an earlier export is not valid: {error}.") from None

    @classmethod
    def create(cls, window: Window, window_by: str, owner: str | None, read: ReadRecord) -> WindowRecord:
        """Return the record of a new window, with the runs that earlier windows have carried out by now."""
        ends = window.to_dict()
        record = cls(ends["window_start"], ends["window_end"], window_by, owner)
        if window_by != CREATED:  # a run that has not ended belongs to no window yet
            return record
        places: list[tuple[str, list[list[str]] | None]] = [(record.window_start, None)]
        while places:
            end, taken = places.pop()
            earlier = read(end)
            if earlier is None or not earlier.closed:
                record.pending[end] = taken
                continue
            if taken is None:  # its own pending records, once: from then on they are in this record
                places += earlier.pending.items()
            known = {(thread, run) for thread, run in taken or ()}
            new = [[thread, run] for thread, run in earlier.carried_out if (thread, run) not in known]
            for thread, run in new:
                record.carried_in.setdefault(thread, []).append(run)
            if earlier.undecided:
                record.pending[end] = [*(taken or ()), *new]
        return record

    def apply(self, decisions: Mapping[str, Mapping[str, Any]]) -> None:
        """
        Take decisions, by thread, as JSON has them.

        :raises PortkeyExportConflictError: where the data are no decisions.
        """
        try:
            self.decided |= {thread: CarryOver(**carry_over) for thread, carry_over in decisions.items()}
        except (AttributeError, TypeError) as error:
            raise PortkeyExportConflictError(f"A decision of an earlier export is not valid: {error}.") from None
        self.undecided -= decisions.keys()

    def check(self, window: Window, window_by: str, owner: str | None) -> None:
        """
        Check that the record belongs to this export.

        :raises PortkeyExportConflictError: naming the difference.
        """
        if (self.window_start, self.window_by) != (window.to_dict()["window_start"], window_by):
            raise PortkeyExportConflictError(
                f"The window that ends at {self.window_end} was exported with window_start={self.window_start} and "
                f"window_by={self.window_by!r}, and now differs. Choose another path for this export."
            )
        if self.owner and owner and self.owner != owner:
            raise PortkeyExportConflictError(
                f"The window from {self.window_start} to {self.window_end} is exported to this path by {self.owner}. "
                f"Give {owner} a path of its own: each would remove the other's files."
            )

    def decide(
        self, thread_id: str, runs: Iterable[RunSummary], carried_in: Iterable[RunSummary], on_unfinished: str
    ) -> tuple[CarryOver, list[RunSummary], bool]:
        """
        Decide which runs of a thread are exported now. Earlier decisions stay.

        :param runs: The runs of the window.
        :param carried_in: The runs of :meth:`run_ids_carried_in`.
        :param on_unfinished: ``"skip"``, ``"include"`` or ``"fail"``.
        :return: The carry-over, the runs to export in their order, and whether the record has to be saved first.
        :raises PortkeyRemoteJobNotFinishedError: where a run that must have ended has not.
        """
        known = self.decided.get(thread_id)
        carried_out = dict(known.carried_out) if known else {}
        from_earlier = {run.id: run for run in carried_in}
        found = {run.id: run for run in runs} | from_earlier
        exported = [found[run_id] for run_id in found if run_id not in carried_out]
        unfinished = [run for run in exported if not run.ended] if on_unfinished != INCLUDE else []
        if unfinished and (on_unfinished == FAIL or (self.closed and thread_id not in self.undecided)):
            run = unfinished[0]
            why = "" if on_unfinished == FAIL else ", and this window was already exported completely"
            raise PortkeyRemoteJobNotFinishedError(
                f"Run {run.id!r} is still {run.status}{why}: try again when the run has ended."
            )
        for run in unfinished:
            carried_out[run.id] = {"created_at": run.created_at, "status": run.status}
        exported = sorted((run for run in exported if run.id not in carried_out), key=lambda run: run.sort_key)
        carry_over = CarryOver(carried_out, sorted(run.id for run in exported if run.id in from_earlier))
        if carry_over == CarryOver():
            return carry_over, exported, False
        self.decided[thread_id] = carry_over
        self.undecided.discard(thread_id)
        return carry_over, exported, carry_over != known

    def run_ids_carried_in(self, thread_id: str) -> list[str]:
        """Return the ids of a thread's runs that earlier windows carried over to this one."""
        known = self.decided.get(thread_id)
        return known.carried_in if known else self.carried_in.get(thread_id, [])

    def close(self, failed: Iterable[str]) -> bool:
        """
        Let later windows take what was carried out; failed threads without a decision are undecided.

        :return: Whether that is new.
        """
        undecided = set(failed) - self.decided.keys()
        is_new = not self.closed or undecided != self.undecided
        self.undecided, self.closed = undecided, True
        return is_new
