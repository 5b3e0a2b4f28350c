"""
Which pages of a thread's list of runs bring many runs at once: no clock, no HTTP.

A page costs one request, as a single run does, and brings a hundred. Newest first, what stands behind a run never
changes: new runs come in front. So a page is remembered by the run behind which it begins, and from the second look
on the same few pages are asked for, however many runs the thread has got since.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_portkey.client.pagination import Item, items_of
from airflow_provider_portkey.exceptions import PortkeyBadRequestError, PortkeyNotFoundError

#: Takes pages as Portkey sent them, yields the run behind which the next one begins (``None``: begin with the newest
#: run), and returns the runs that were found.
Pages = Generator[str | None, Mapping[str, Any], dict[str, Item]]

#: Runs that a page must bring: for one, asking for the run itself costs as much.
_WORTH_A_PAGE = 2
#: Pages in a row that may bring nothing while runs are searched: five hundred runs, all newer than those waited for.
#: Where many are searched, as many pages as a tenth of the single requests that a find would save at each look.
_MOST_IN_VAIN = 5
_SHARE_IN_VAIN = 0.1


@dataclass
class _Look:
    takes: Callable[[Item], bool]
    on_found: Callable[[Item], None] | None = None
    seen: set[str] = field(default_factory=set)
    found: dict[str, Item] = field(default_factory=dict)


@dataclass(frozen=True)
class _Page:
    items: list[Item]
    is_last: bool


class RunPagePlanner:
    """
    Says at each look which pages to ask for, and learns from them where the runs stand.

    A page is asked for only where it replaces at least two single requests. Only the first search for a run may
    spend more: a few pages, once.

    :param starts: What :attr:`starts` was when another process looked; ``None`` before the first look.
    """

    def __init__(self, starts: Iterable[str | None] | None = None) -> None:
        self._known = None if starts is None else list(starts)
        self._searched = False
        # Behind which run the page begins on which a run stands.
        self._start_of: dict[str, str | None] = {}
        self._not_listed: set[str] = set()

    @property
    def not_listed(self) -> Collection[str]:
        """The runs that no page is expected to bring."""
        return self._not_listed

    @property
    def starts(self) -> list[str | None] | None:
        """Where the pages begin that are worth asking for, in plain data; ``None`` before a whole look."""
        if not self._searched:
            return self._known
        runs_on = Counter(self._start_of.values())
        return [start for start, runs in runs_on.items() if runs >= _WORTH_A_PAGE]

    def look(
        self,
        wanted: Collection[str],
        awaited: Collection[str] | None = None,
        on_found: Callable[[Item], None] | None = None,
    ) -> Pages:
        """
        Look for runs; those that are not found are cheaper to ask for one by one.

        :param wanted: The runs to be looked at now.
        :param awaited: All runs that somebody waits for, where these are more: it is learned where they stand, too.
        :param on_found: Called with each run as soon as its page has come.
        """
        wanted = set(wanted)
        everybody = wanted.union(awaited or ())
        self._start_of = {run_id: start for run_id, start in self._start_of.items() if run_id in everybody}
        self._not_listed &= everybody
        look = _Look(lambda item: item["id"] in everybody, on_found)
        newest: _Page | None = None
        for start, expected in self._expected(wanted):
            if len(expected - look.seen) < _WORTH_A_PAGE:
                continue
            page = yield from self._read(start, look)
            lost = expected - look.seen
            if start is None:
                newest = page
            if start is None and page.items and page.items[0]["id"] not in look.seen:
                for run_id in lost:  # newer runs came in front, and pushed it to the next page
                    self._start_of.pop(run_id, None)
            else:
                self._leave_out(lost)
        unknown = wanted - look.seen - self._start_of.keys() - self._not_listed
        if len(unknown) >= _WORTH_A_PAGE and not (newest and newest.is_last):
            yield from self._search(unknown, look, newest)
        self._searched, self._known = True, None
        return {run_id: run for run_id, run in look.found.items() if run_id in wanted}

    def discover(self, ended: Collection[str], oldest: float) -> Pages:
        """
        Find the runs that have not ended, back to the first page on which all are too old.

        :param ended: The statuses of runs that have ended.
        :param oldest: Epoch seconds; a run that was created before is too old.
        """
        look = _Look(lambda item: item.get("status") not in ended)
        start, visited = None, set[str | None]()
        while start not in visited:
            visited.add(start)
            page = yield from self._read(start, look)
            if page.is_last or all(_created(item) < oldest for item in page.items):
                break
            start = page.items[-1]["id"]
        self._searched = True
        return look.found

    def _expected(self, wanted: set[str]) -> list[tuple[str | None, set[str]]]:
        """Return where known pages begin, with the runs that should be on each."""
        if self._known is not None:
            if None not in self._known:
                self._not_listed |= wanted  # another process has searched; whoever is found leaves this set
            return [(start, set(wanted)) for start in self._known]
        expected: dict[str | None, set[str]] = {}
        for run_id, start in self._start_of.items():
            if run_id in wanted:
                expected.setdefault(start, set()).add(run_id)
        return list(expected.items())

    def _search(self, unknown: set[str], look: _Look, newest: _Page | None) -> Generator[str | None, Any, None]:
        """Read page after page from the newest run on, as long as it may pay."""
        start = newest.items[-1]["id"] if newest else None
        visited, in_vain = set[str | None](), 0
        patience = max(_MOST_IN_VAIN, _SHARE_IN_VAIN * len(unknown))
        while start not in visited and len(unknown) >= _WORTH_A_PAGE and in_vain < min(patience, len(unknown) - 1):
            visited.add(start)
            before = len(look.seen)
            page = yield from self._read(start, look)
            # A page with runs that somebody waits for, though not now, is not in vain.
            in_vain = 0 if len(look.seen) > before else in_vain + 1
            unknown = unknown - look.seen
            if page.is_last:
                break
            start = page.items[-1]["id"]
        self._leave_out(unknown)

    def _read(self, start: str | None, look: _Look) -> Generator[str | None, Mapping[str, Any], _Page]:
        try:
            answer = yield start
        except (PortkeyBadRequestError, PortkeyNotFoundError):
            if start is None:
                raise
            return _Page([], is_last=True)  # the run behind which the page began is gone
        items = items_of(answer)
        before, anchor, anchored = start, start, False
        for item in items:
            run_id = item["id"]
            if run_id not in look.seen and look.takes(item):
                if not anchored:
                    # The next time the page begins here: so it reaches further, and may make the next page needless.
                    anchor, anchored = before, True
                look.seen.add(run_id)
                look.found[run_id] = item
                if look.on_found:
                    look.on_found(item)
                self._not_listed.discard(run_id)
                self._start_of.pop(run_id, None)
                self._start_of[run_id] = anchor
            before = run_id
        return _Page(items, is_last=not items or answer.get("has_more") is False)

    def _leave_out(self, run_ids: set[str]) -> None:
        """Search no more for runs that the list does not show, or only far down."""
        self._not_listed |= run_ids
        for run_id in run_ids:
            self._start_of.pop(run_id, None)


def _created(item: Item) -> float:
    created = item.get("created_at")
    return created if isinstance(created, int | float) else float("inf")
