"""
Which pages of a thread's list of runs return many runs at once: no clock, no HTTP.

A page costs one request, as a single run does, and returns a hundred runs. The list is newest first, so what follows a
run never changes: new runs come before it. The planner remembers a page by the run after which the page starts; from
the second poll on, the same few pages are requested, however many runs the thread has got since.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from airflow_provider_portkey.client.pagination import Item, LoopGuard, items_of
from airflow_provider_portkey.exceptions import (
    PortkeyBadRequestError,
    PortkeyNotFoundError,
    PortkeyUnexpectedResponseError,
)
from airflow_provider_portkey.jobs.lists import RUNS
from airflow_provider_portkey.jobs.values import epoch_seconds
from airflow_provider_portkey.parameters import MAX_LIMIT
from airflow_provider_portkey.polling.drivers import Get, Plan

#: Runs that a page must return: for a single run, the request for the run itself costs as much.
_MIN_RUNS_ON_PAGE = 2
#: Consecutive pages without a result while runs are searched: five hundred runs, all newer than those waited for.
#: Where many runs are searched, as many pages as a tenth of the single requests that a find would save at each poll.
_MAX_EMPTY_PAGES = 5
_EMPTY_PAGES_PER_RUN = 0.1


@dataclass
class _Search:
    accepts: Callable[[Item], bool]
    on_found: Callable[[Item], None] | None = None
    #: Whether a page that cannot be requested any more is an error.
    needs_every_page: bool = False
    seen: set[str] = field(default_factory=set)
    found: dict[str, Item] = field(default_factory=dict)


@dataclass(frozen=True)
class _Page:
    items: list[Item]
    is_last: bool


class RunPagePlanner:
    """
    Plans at each poll which pages to request, and learns from the pages where the runs are.

    A page is requested only where it replaces at least two single requests. Only the first search for a run may
    cost more: a few pages, once.

    :param thread_id: The thread.
    :param starts: The value of :attr:`starts` in the process that polled before; ``None`` before the first poll.
    """

    def __init__(self, thread_id: str, starts: Iterable[str | None] | None = None) -> None:
        self._ids = {"thread_id": thread_id}
        self._known = None if starts is None else list(starts)
        self._searched = False
        # By each run: the run after which its page starts.
        self._start_of: dict[str, str | None] = {}
        self._not_listed: set[str] = set()

    @property
    def not_listed(self) -> Collection[str]:
        """The runs that no page is expected to return."""
        return self._not_listed

    def knows(self, run_id: str) -> bool:
        """Return whether a run has been searched, so that polling it takes one request at most."""
        return run_id in self._start_of or run_id in self._not_listed

    @property
    def starts(self) -> list[str | None] | None:
        """Where the pages start that are worth a request, as plain data; ``None`` before a complete poll."""
        if not self._searched:
            return self._known
        runs_on = Counter(self._start_of.values())
        return [start for start, runs in runs_on.items() if runs >= _MIN_RUNS_ON_PAGE]

    def find(
        self,
        wanted: Collection[str],
        awaited: Collection[str] | None = None,
        on_found: Callable[[Item], None] | None = None,
    ) -> Plan[dict[str, Item]]:
        """
        Plan pages that return runs by their ids; for the others, single requests are cheaper.

        :param wanted: The runs to poll now.
        :param awaited: All runs that are waited for, where these are more: their pages are learned too.
        :param on_found: Called with each run as soon as its page has arrived.
        """
        wanted = set(wanted)
        everything = wanted.union(awaited or ())
        self._start_of = {run_id: start for run_id, start in self._start_of.items() if run_id in everything}
        self._not_listed &= everything
        # Also those that are awaited only since the plan began.
        search = _Search(lambda item: item["id"] in everything or item["id"] in (awaited or ()), on_found)
        newest: _Page | None = None
        # Where a page starts within another one that was read, the rest begins where that one ends: pages that several
        # searches have found come to follow each other.
        rest_after: dict[str | None, str] = {}
        for known_start, expected in self._expected(wanted):
            if len(expected - search.seen) < _MIN_RUNS_ON_PAGE:
                continue
            start = rest_after.get(known_start, known_start)
            page = yield from self._read(start, search)
            rest_after.update((item["id"], page.items[-1]["id"]) for item in page.items)
            lost = expected - search.seen
            if start is None:
                newest = page
            if start is None and page.items and page.items[0]["id"] not in search.seen:
                for run_id in lost:  # newer runs came before it, and moved it to the next page
                    self._start_of.pop(run_id, None)
            else:
                self._leave_out(lost)
        unknown = wanted - search.seen - self._start_of.keys() - self._not_listed
        if unknown:  # those that are due later are searched along with them: their pages lie among these
            unknown = everything - search.seen - self._start_of.keys() - self._not_listed
        if len(unknown) >= _MIN_RUNS_ON_PAGE and not (newest and newest.is_last):
            yield from self._search(unknown, search, newest)
        self._searched, self._known = True, None
        return {run_id: run for run_id, run in search.found.items() if run_id in wanted}

    def find_active(self, terminal_statuses: Collection[str], oldest: float) -> Plan[dict[str, Item]]:
        """
        Plan the search for active runs, which ends at the first page whose runs are all too old.

        :param terminal_statuses: The statuses of runs that are not active.
        :param oldest: Epoch seconds; a run that was created before is too old.
        :raises PortkeyPaginationError: where the list repeats a cursor or a run.
        :raises PortkeyUnexpectedResponseError: where the creation time of a run is no number.
        """

        def is_active(item: Item) -> bool:
            status = item.get("status")
            # A status that is no string is for the poller to report.
            return not isinstance(status, str) or status not in terminal_statuses

        search = _Search(is_active, needs_every_page=True)
        start, repeats = None, LoopGuard()
        while True:
            page = yield from self._read(start, search)
            repeats.check(page.items)
            if page.is_last or all(_created(item) < oldest for item in page.items):
                break
            start = page.items[-1]["id"]
        self._searched = True
        return search.found

    def _expected(self, wanted: set[str]) -> list[tuple[str | None, set[str]]]:
        """Return where known pages start, with the runs that each should return."""
        if self._known is not None:
            if None not in self._known:
                self._not_listed |= wanted  # another process has searched; a run that is found leaves this set
            return [(start, set(wanted)) for start in self._known]
        expected: dict[str | None, set[str]] = {}
        for run_id, start in self._start_of.items():
            if run_id in wanted:
                expected.setdefault(start, set()).add(run_id)
        return list(expected.items())

    def _search(self, unknown: set[str], search: _Search, newest: _Page | None) -> Plan[None]:
        """Read page after page from the newest run on, as long as the search may pay."""
        start = newest.items[-1]["id"] if newest else None
        visited, empty = set[str | None](), 0
        patience = max(_MAX_EMPTY_PAGES, _EMPTY_PAGES_PER_RUN * len(unknown))
        while start not in visited and len(unknown) >= _MIN_RUNS_ON_PAGE and empty < min(patience, len(unknown) - 1):
            visited.add(start)
            before = len(search.seen)
            page = yield from self._read(start, search)
            # A page with runs that are waited for, though not now, is a result too.
            empty = 0 if len(search.seen) > before else empty + 1
            unknown = unknown - search.seen
            if page.is_last:
                break
            start = page.items[-1]["id"]
        self._leave_out(unknown)

    def _read(self, start: str | None, search: _Search) -> Plan[_Page]:
        try:
            response = yield Get(RUNS.path, self._ids, RUNS.query(limit=MAX_LIMIT, order="desc", after=start))
        except (PortkeyBadRequestError, PortkeyNotFoundError):
            if start is None or search.needs_every_page:
                raise
            return _Page([], is_last=True)  # the run after which the page started is gone
        items = items_of(response)
        before, anchor, anchored = start, start, False
        for item in items:
            run_id = item["id"]
            if run_id not in search.seen and search.accepts(item):
                if not anchored:
                    # The next time the page starts here: it reaches further, and may make the next page unnecessary.
                    anchor, anchored = before, True
                search.seen.add(run_id)
                search.found[run_id] = item
                if search.on_found:
                    search.on_found(item)
                self._not_listed.discard(run_id)
                self._start_of.pop(run_id, None)
                self._start_of[run_id] = anchor
            before = run_id
        return _Page(items, is_last=not items or response.get("has_more") is False)

    def _leave_out(self, run_ids: set[str]) -> None:
        """Stop searching for runs that the list does not show, or only on late pages."""
        self._not_listed |= run_ids
        for run_id in run_ids:
            self._start_of.pop(run_id, None)


def _created(item: Item) -> float:
    """Return when a run was created, epoch seconds; a run that does not say so counts as new."""
    created = item.get("created_at")
    if created is None:
        return math.inf
    if (seconds := epoch_seconds(created)) is None:
        raise PortkeyUnexpectedResponseError(f"Run {item['id']!r} has created_at={created!r}; a number was expected.")
    return seconds
