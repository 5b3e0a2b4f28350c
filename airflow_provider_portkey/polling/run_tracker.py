"""
Detects finished runs of a thread, and finished batches, poll by poll: no clock, no sleep, no HTTP.

:func:`plan_snapshot` plans the requests of a poll and makes a :class:`Snapshot` of the responses; a
:class:`RunTracker` takes snapshots and returns the finished runs whose events are still to be emitted. The tracker's
state is small and plain, so that another process can continue.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any, TypeGuard

from airflow_provider_portkey.client.pagination import LoopGuard, items_of
from airflow_provider_portkey.exceptions import (
    PortkeyNotFoundError,
    PortkeyUnexpectedResponseError,
)
from airflow_provider_portkey.jobs.batch import BATCH
from airflow_provider_portkey.jobs.list_spec import ListSpec
from airflow_provider_portkey.jobs.lists import BATCHES, RUNS
from airflow_provider_portkey.jobs.run import RUN
from airflow_provider_portkey.jobs.spec import JobSpec
from airflow_provider_portkey.jobs.values import epoch_seconds
from airflow_provider_portkey.polling.drivers import Get, Plan

Run = dict[str, Any]

TERMINAL_STATUSES = frozenset(RUN.terminal_statuses)
#: Seconds within which runs may appear in the list in another order than that of their creation: a server stamps a
#: run before the list shows it, and has more than one process.
OVERLAP = 10.0
#: Seconds before the very first poll within which an active run was created. A run expires about ten minutes after
#: its creation; an hour leaves room for slower servers, and for clocks that differ.
LOOKBACK = 3600.0
#: The same of a batch: the provider may take a day, and a little longer.
BATCH_LOOKBACK = 90_000.0
#: Runs on the first page: few runs finish between two polls, and each carries its instructions and tools.
_FIRST_PAGE = 20
#: Runs on every further page, where the first did not reach back far enough: the most that servers return.
_FURTHER_PAGE = 100
#: Older pending jobs that make a further page of the list worth its size; fewer are requested one by one.
_WORTH_A_PAGE = 5


@dataclass(frozen=True)
class Scope:
    """
    What a snapshot has to cover.

    :param since: Every run created at or after this time, epoch seconds.
    :param pending: Ids of older runs.
    """

    since: float
    pending: frozenset[str] = frozenset()

    def is_covered_by(self, snapshot: Snapshot) -> bool:
        """Return whether a snapshot covers everything."""
        return snapshot.complete_after < self.since and self.pending <= snapshot.gone | {
            run["id"] for run in snapshot.runs
        }

    def following(self, snapshot: Snapshot, terminal_statuses: Collection[str] = TERMINAL_STATUSES) -> Scope:
        """Return the scope of the next snapshot for a watcher that takes every snapshot."""
        newest = max((created_at(run) for run in snapshot.runs), default=-math.inf)
        active = (run for run in snapshot.runs if run["status"] not in terminal_statuses)
        watched = {run["id"] for run in active if run["id"] in self.pending or created_at(run) >= self.since}
        return Scope(max(self.since, newest - OVERLAP), frozenset(watched))


@dataclass(frozen=True)
class Snapshot:
    """
    A thread's runs at one point in time.

    :param runs: Without their excluded fields, oldest first.
    :param complete_after: Every run created after this time is among them, epoch seconds.
    :param gone: Ids of requested runs that do not exist any more.
    """

    runs: tuple[Run, ...]
    complete_after: float
    gone: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Watched:
    """
    The list that is watched, newest first.

    :param job: The kind of its jobs.
    :param list_spec: The list.
    :param ids: The ids of the list's path.
    :param order: Its parameter ``order``, ``None`` where it has none.
    :param lookback: Seconds after its creation that a job may usually be active.
    """

    job: JobSpec
    list_spec: ListSpec
    ids: Mapping[str, str]
    order: str | None = "desc"
    lookback: float = LOOKBACK


def runs_of(thread_id: str) -> Watched:
    """Return the runs of a thread."""
    return Watched(RUN, RUNS, {"thread_id": thread_id})


#: The batches of a connection; their list has no parameter ``order``.
ALL_BATCHES = Watched(BATCH, BATCHES, {}, order=None, lookback=BATCH_LOOKBACK)


def plan_snapshot(watched: Watched, scope: Scope, known: Snapshot | None = None) -> Plan[Snapshot]:
    """
    Plan as many requests as a scope needs, and no more.

    :param watched: The list.
    :param scope: What the snapshot has to cover.
    :param known: A snapshot that covers some or all of the scope.
    :raises PortkeyRequestError: for a request that failed; only a run that is gone is no failure.
    :raises PortkeyPaginationError: where the list repeats a run.
    """
    if known is None or known.complete_after >= scope.since:
        known = yield from _plan_list(watched, scope)
    runs = {run["id"]: run for run in known.runs}
    gone = set(known.gone)
    for run_id in sorted(scope.pending - runs.keys() - gone):
        try:
            ids = {**watched.ids, watched.job.id_names[-1]: run_id}
            run = yield Get(watched.job.path, ids)
        except PortkeyNotFoundError:
            gone.add(run_id)
        else:
            watched.job.check_response(ids, run)
            runs[run_id] = _summary(watched.job, run)
    return Snapshot(tuple(sorted(runs.values(), key=created_at)), known.complete_after, frozenset(gone))


def _plan_list(watched: Watched, scope: Scope) -> Plan[Snapshot]:
    """Read the list back to the scope's time, and on while the pages show enough of the older pending jobs."""
    runs: dict[str, Run] = {}
    missing = set(scope.pending)
    oldest, limit, after = math.inf, _FIRST_PAGE, None
    guard = LoopGuard()
    while True:
        query = watched.list_spec.query(limit=limit, order=watched.order, after=after)
        page = yield Get(watched.list_spec.path, watched.ids, query)
        items = items_of(page)
        guard.check(items)
        reached = oldest < scope.since
        for item in items:
            run = _summary(watched.job, item)
            if created_at(run) > oldest + OVERLAP:
                raise PortkeyUnexpectedResponseError(
                    f"The list of {watched.list_spec.kind} is not newest first: {run['id']!r} follows an older one. "
                    f"The server seems to ignore the parameter 'order'; new {watched.list_spec.kind} cannot be found."
                )
            oldest = min(oldest, created_at(run))
            runs[run["id"]] = run
        if not items or page.get("has_more") is False:
            return Snapshot(tuple(reversed(runs.values())), -math.inf)
        found = len(missing & runs.keys())
        missing -= runs.keys()
        if oldest < scope.since and (len(missing) < _WORTH_A_PAGE or (reached and found < _WORTH_A_PAGE)):
            return Snapshot(tuple(reversed(runs.values())), oldest)
        limit, after = _FURTHER_PAGE, items[-1]["id"]


class RunTracker:
    """
    Knows which finished runs still need an event.

    :param statuses: Terminal statuses of interest.
    :param terminal_statuses: All terminal statuses of the kind of job.
    :param fields: Only runs with these values of fields.
    :param metadata: Only runs whose own metadata holds these pairs.
    :param lookback: Seconds before the very first poll within which active runs are tracked.
    """

    def __init__(
        self,
        *,
        statuses: Iterable[str] = TERMINAL_STATUSES,
        terminal_statuses: Collection[str] = TERMINAL_STATUSES,
        fields: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        lookback: float = LOOKBACK,
    ) -> None:
        self._statuses = frozenset(statuses)
        self._terminal_statuses = frozenset(terminal_statuses)
        self._fields = dict(fields or {})
        self._metadata = dict(metadata or {})
        self._lookback = lookback
        #: When the newest run of all was created; ``None`` before the very first poll.
        self._at: float | None = None
        #: The runs about as new as that one, and when each was created.
        self._seen: dict[str, float] = {}
        #: The runs that have not finished, or whose event has not been emitted.
        self._pending: dict[str, None] = {}

    @property
    def started(self) -> bool:
        """Whether there was a poll before."""
        return self._at is not None

    @property
    def pending(self) -> Set[str]:
        """The runs that have not finished, or whose event has not been emitted."""
        return self._pending.keys()

    def scope(self, now: float) -> Scope:
        """
        Return what the next snapshot has to cover.

        :param now: Epoch seconds.
        """
        if self._at is None:
            # An hour at least, so that a server whose clock is late cannot hide its next runs in the past.
            return Scope(now - max(self._lookback, LOOKBACK))
        return Scope(self._at - OVERLAP, frozenset(self._pending))

    def observe(self, snapshot: Snapshot, now: float) -> list[Run]:
        """
        Take a snapshot that covers :meth:`scope`; one that is older than the last does no harm.

        :param snapshot: The snapshot.
        :param now: Epoch seconds, those of :meth:`scope`.
        :return: The finished runs whose events are to be emitted, oldest first; each is returned again until
            :meth:`emitted`.
        """
        first, since = self._at is None, self.scope(now).since
        for run_id in self.pending & snapshot.gone:
            del self._pending[run_id]
        due = []
        for run in snapshot.runs:
            run_id, created, finished = run["id"], created_at(run), run["status"] in self._terminal_statuses
            if created >= since and run_id not in self._seen:
                self._seen[run_id] = created
                if not first or (not finished and created >= now - self._lookback):
                    self._pending[run_id] = None
            if finished and run_id in self._pending:
                if self._matches(run):
                    due.append(run)
                else:
                    del self._pending[run_id]
        newest = max(self._seen.values(), default=-math.inf)
        self._at = max(newest, since + OVERLAP)
        self._seen = {run_id: created for run_id, created in self._seen.items() if created >= self._at - OVERLAP}
        return due

    def emitted(self, run: Run) -> None:
        """Note that the event of a run was emitted."""
        self._pending.pop(run["id"], None)

    def to_dict(self) -> dict[str, Any]:
        """Return the state in JSON values; its size grows with the runs that have not finished."""
        return {"at": self._at, "seen": dict(self._seen), "pending": list(self._pending)}

    def restore(self, state: object) -> None:
        """
        Continue from a state.

        :param state: As of :meth:`to_dict`.
        :raises ValueError: where the state is of another shape.
        """
        if not isinstance(state, Mapping):
            raise ValueError(f"the state is no object but {type(state).__name__}")
        at: object = state.get("at")
        seen, pending = state.get("seen"), state.get("pending")
        if not _is_time(at):
            raise ValueError("its 'at' is no time")
        if not isinstance(seen, Mapping) or not all(map(_is_time, seen.values())):
            raise ValueError("its 'seen' holds no ids with their times")
        if not isinstance(pending, list) or not all(isinstance(run_id, str) and run_id for run_id in pending):
            raise ValueError("its 'pending' is no list of ids")
        self._at, self._seen, self._pending = float(at), dict(seen), dict.fromkeys(pending)

    def _matches(self, run: Run) -> bool:
        if run["status"] not in self._statuses:
            return False
        if any(run.get(name) != value for name, value in self._fields.items()):
            return False
        own = run.get("metadata")
        return not self._metadata or (isinstance(own, Mapping) and self._metadata.items() <= own.items())


def created_at(run: Run) -> float:
    """Return when a run of a snapshot was created, epoch seconds."""
    return epoch_seconds(run["created_at"]) or 0.0


def _summary(job: JobSpec, run: Mapping[str, Any]) -> Run:
    """Return a job without its excluded fields, its id, status and creation time checked."""
    if not isinstance(run.get("id"), str) or not isinstance(run.get("status"), str):
        raise PortkeyUnexpectedResponseError(
            f"The response is no {job.kind}: it has no 'id' or no 'status', only {sorted(run)}."
        )
    if epoch_seconds(run.get("created_at")) is None:
        raise PortkeyUnexpectedResponseError(
            f"{job.kind.capitalize()} {run['id']!r} does not say when it was created: {run.get('created_at')!r}."
        )
    return job.summary(run)


def _is_time(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
