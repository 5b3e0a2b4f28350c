"""
Noticing the ends of a thread's runs, look by look: no clock, no sleep, no HTTP.

:func:`read` says what to ask Portkey for and makes a :class:`Look` of the answers; a :class:`RunTracker` takes looks
and says which ends nobody was told of yet. Its state is small and plain, so that another process can go on.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any, TypeGuard

from airflow_provider_portkey.client.pagination import LoopGuard
from airflow_provider_portkey.exceptions import (
    PortkeyNotFoundError,
    PortkeyUnexpectedResponseError,
)
from airflow_provider_portkey.jobs.run import RUN

Run = dict[str, Any]

#: The statuses of a run that has ended.
ENDED = frozenset(RUN.terminal_statuses)
#: Seconds within which runs may show up in the list in another order than that of their creation: a server stamps
#: a run before it shows it, and has more than one process.
OVERLAP = 10.0
#: Seconds before the very first look within which a run that still goes on was created. A run expires about ten
#: minutes after its creation; an hour leaves room for servers that are slower, and for clocks that differ.
LOOKBACK = 3600.0
#: Runs that a look asks for at first. Few end between two looks, and each comes with its instructions and tools.
_FIRST_PAGE = 20
#: Runs that it asks for when those did not reach back far enough: the most that servers give.
_FURTHER_PAGE = 100


@dataclass(frozen=True)
class Need:
    """
    What a look has to bring.

    :param since: Every run created then or later, epoch seconds.
    :param open: Ids of older runs.
    """

    since: float
    open: frozenset[str] = frozenset()

    def is_met_by(self, look: Look) -> bool:
        """Return whether a look brings it all."""
        return look.reach < self.since and self.open <= look.gone | {run["id"] for run in look.runs}

    def following(self, look: Look) -> Need:
        """Return what the next look has to bring to whoever takes each look as it comes."""
        newest = max((created_at(run) for run in look.runs), default=-math.inf)
        goes_on = (run for run in look.runs if run["status"] not in ENDED)
        watched = {run["id"] for run in goes_on if run["id"] in self.open or created_at(run) >= self.since}
        return Need(max(self.since, newest - OVERLAP), frozenset(watched))


@dataclass(frozen=True)
class Look:
    """
    A thread's runs as they were at one moment.

    :param runs: Without their bulky fields, oldest first.
    :param reach: Every run created after that moment is among them, epoch seconds.
    :param gone: Ids of runs that were asked for and do not exist any more.
    """

    runs: tuple[Run, ...]
    reach: float
    gone: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Page:
    """
    Asks for runs, newest first; the answer is a pair of them and of whether there are more.

    :param limit: How many.
    :param after: Those that come after this one in the list.
    """

    limit: int
    after: str | None = None


@dataclass(frozen=True)
class Single:
    """
    Asks for one run; the answer is the run.

    :param run_id: Which.
    """

    run_id: str


def read(need: Need, known: Look | None = None) -> Generator[Page | Single, Any, Look]:
    """
    Ask for as much as is needed, and no more.

    :param need: What the look has to bring.
    :param known: A look that brought some or all of it.
    :raises PortkeyRequestError: Thrown in for a question that failed; only a run that is gone is no failure.
    :raises PortkeyPaginationError: Where the list goes round.
    """
    if known is None or known.reach >= need.since:
        known = yield from _list(need.since)
    runs = {run["id"]: run for run in known.runs}
    gone = set(known.gone)
    for run_id in sorted(need.open - runs.keys() - gone):
        try:
            run = yield Single(run_id)
        except PortkeyNotFoundError:
            gone.add(run_id)
        else:
            runs[run_id] = _summary(run)
    return Look(tuple(sorted(runs.values(), key=created_at)), known.reach, frozenset(gone))


def _list(since: float) -> Generator[Page, tuple[list[Run], bool], Look]:
    runs: dict[str, Run] = {}
    oldest, page, guard = math.inf, Page(_FIRST_PAGE), LoopGuard()
    while True:
        items, more = yield page
        guard.check(items)
        for item in items:
            run = _summary(item)
            if created_at(run) > oldest + OVERLAP:
                raise PortkeyUnexpectedResponseError(
                    f"The list of runs is not newest first: run {run['id']!r} comes after one that is older. "
                    "The server seems to ignore the parameter 'order'; new runs could not be found."
                )
            oldest = min(oldest, created_at(run))
            runs[run["id"]] = run
        if not items or not more:
            return Look(tuple(reversed(runs.values())), -math.inf)
        if oldest < since:
            return Look(tuple(reversed(runs.values())), oldest)
        page = Page(_FURTHER_PAGE, items[-1]["id"])


class RunTracker:
    """
    Knows which ends of runs are still to be told.

    :param statuses: Ends of interest.
    :param assistant_id: Runs of this assistant only.
    :param metadata: Runs whose own metadata holds these pairs only.
    :param lookback: Seconds before the very first look within which a run that still goes on is watched.
    """

    def __init__(
        self,
        *,
        statuses: Iterable[str] = ENDED,
        assistant_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
        lookback: float = LOOKBACK,
    ) -> None:
        self._statuses = frozenset(statuses)
        self._assistant_id = assistant_id
        self._metadata = dict(metadata or {})
        self._look_back = lookback
        #: When the newest run of all was created; ``None`` before the very first look.
        self._at: float | None = None
        #: The runs about as new as that one, and when each was created.
        self._seen: dict[str, float] = {}
        #: The runs whose end is still to come, or still to be told.
        self._open: dict[str, None] = {}

    @property
    def started(self) -> bool:
        """Whether there was a look before."""
        return self._at is not None

    @property
    def open(self) -> Set[str]:
        """The runs whose end is still to come, or still to be told."""
        return self._open.keys()

    def need(self, now: float) -> Need:
        """
        Return what the next look has to bring.

        :param now: Epoch seconds.
        """
        if self._at is None:
            # An hour at least, so that a server whose clock is late cannot hide its next runs in the past.
            return Need(now - max(self._look_back, LOOKBACK))
        return Need(self._at - OVERLAP, frozenset(self._open))

    def observe(self, look: Look, now: float) -> list[Run]:
        """
        Take a look that has brought what was needed; an older one than the last does no harm.

        :param look: The look.
        :param now: Epoch seconds, those of :meth:`need`.
        :return: The runs whose ends are to be told, oldest first; each comes again until :meth:`told`.
        """
        first, since = self._at is None, self.need(now).since
        for run_id in self.open & look.gone:
            del self._open[run_id]
        due = []
        for run in look.runs:
            run_id, created, ended = run["id"], created_at(run), run["status"] in ENDED
            if created >= since and run_id not in self._seen:
                self._seen[run_id] = created
                if not first or (not ended and created >= now - self._look_back):
                    self._open[run_id] = None
            if ended and run_id in self._open:
                if self._matches(run):
                    due.append(run)
                else:
                    del self._open[run_id]
        newest = max(self._seen.values(), default=-math.inf)
        self._at = max(newest, since + OVERLAP)
        self._seen = {run_id: created for run_id, created in self._seen.items() if created >= self._at - OVERLAP}
        return due

    def told(self, run: Run) -> None:
        """Note that the end of a run was told."""
        self._open.pop(run["id"], None)

    def to_dict(self) -> dict[str, Any]:
        """Return the state in what JSON has; its size goes with the runs that have not ended."""
        return {"at": self._at, "seen": dict(self._seen), "open": list(self._open)}

    def restore(self, state: object) -> None:
        """
        Go on from a state.

        :param state: As of :meth:`to_dict`.
        :raises ValueError: It is none.
        """
        if not isinstance(state, Mapping):
            raise ValueError(f"it is no object but {type(state).__name__}")
        at: object = state.get("at")
        seen, still_open = state.get("seen"), state.get("open")
        if not _is_time(at):
            raise ValueError("its 'at' is no time")
        if not isinstance(seen, Mapping) or not all(map(_is_time, seen.values())):
            raise ValueError("its 'seen' holds no ids with their times")
        if not isinstance(still_open, list) or not all(isinstance(run_id, str) and run_id for run_id in still_open):
            raise ValueError("its 'open' is no list of ids")
        self._at, self._seen, self._open = float(at), dict(seen), dict.fromkeys(still_open)

    def _matches(self, run: Run) -> bool:
        if run["status"] not in self._statuses:
            return False
        if self._assistant_id is not None and run.get("assistant_id") != self._assistant_id:
            return False
        own = run.get("metadata")
        return not self._metadata or (isinstance(own, Mapping) and self._metadata.items() <= own.items())


def created_at(run: Run) -> float:
    """Return when a run of a look was created, epoch seconds."""
    return float(run["created_at"])


def _summary(run: Mapping[str, Any]) -> Run:
    """Return what is kept of a run, checked for what is read of it here."""
    if not isinstance(run.get("id"), str) or not isinstance(run.get("status"), str):
        raise PortkeyUnexpectedResponseError(
            f"The answer is no run: it has no 'id' or no 'status', only {sorted(run)}."
        )
    if not _is_time(run.get("created_at")):
        raise PortkeyUnexpectedResponseError(
            f"Run {run['id']!r} does not say when it was created: {run.get('created_at')!r}."
        )
    return RUN.summary(run)


def _is_time(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
