"""
Waits for runs of one thread look together: two hundred of them cost two or three requests, not two hundred.

Each wait remains its own: its interval, its deadline, its failures, its end. Whoever is due first asks for pages of
the thread's list and takes along who would be due soon; from then on they are in step. A wait that has no company, or
whose run is cheaper to ask for by itself, is told to do that, and sends the request that it would have sent alone.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.exceptions import PortkeyRequestError
from airflow_provider_portkey.polling.drivers import read_pages
from airflow_provider_portkey.polling.run_pages import RunPagePlanner

if TYPE_CHECKING:
    from airflow_provider_portkey.client.aio import AsyncPortkeyClient

#: Of the interval of a wait that is due: who would be due within that part of it comes along. With a half, waits that
#: began at any moments are in step after one interval; and a wait with a short interval takes nobody along who
#: would have slept much longer.
_TAKEN_ALONG = 0.5


_COMPANIES: weakref.WeakKeyDictionary[object, dict[str, PollGroup]] = weakref.WeakKeyDictionary()


@dataclass(eq=False)
class Waiter:
    """Where a wait stands between two looks."""

    run_id: str
    client: AsyncPortkeyClient
    interval: float
    at: float
    #: The run; or ``None``: ask for it yourself.
    answer: asyncio.Future[Mapping[str, Any] | None]
    is_due: bool = False
    #: Whether a round is asking for its run.
    is_taken: bool = False

    def may_come_along(self, until: float) -> bool:
        """Whether a look at this moment may be for this wait, too."""
        return not self.is_taken and not self.answer.done() and (self.is_due or self.at <= until)

    def tell(self, answer: Mapping[str, Any] | None) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)


@dataclass(eq=False)
class PollGroup:
    """All waits for runs of one thread with the same settings on one event loop; got from :func:`join`."""

    thread_id: str
    _run_ids: Counter[str] = field(default_factory=Counter)
    _places: dict[Waiter, None] = field(default_factory=dict)
    _roll_call: RunPagePlanner = field(default_factory=RunPagePlanner)
    _rounds: set[asyncio.Task[None]] = field(default_factory=set)
    _beginning: bool = False
    _has_list: bool = True

    async def look(
        self, client: AsyncPortkeyClient, run_id: str, *, pause: Coroutine[Any, Any, None], wait: float, interval: float
    ) -> Mapping[str, Any] | None:
        """
        Sleep until it is time to look at a run, or somebody else has looked.

        :param pause: Sleeps until the look is due.
        :param wait: Seconds that it will sleep.
        :param interval: Seconds between two looks of this wait.
        :return: The run; or ``None`` where the caller should ask for it now.
        :raises PortkeyRequestError: where the look was made for this wait, too, and failed.
        """
        loop = asyncio.get_running_loop()
        place = Waiter(run_id, client, interval, time.monotonic() + wait, loop.create_future())
        self._places[place] = None
        sleeping = loop.create_task(pause)
        sleeping.add_done_callback(lambda _: self._wake(place))
        try:
            return await place.answer
        finally:
            del self._places[place]
            sleeping.cancel()

    def enter(self, run_id: str) -> None:
        """Count one more wait."""
        self._run_ids[run_id] += 1

    def leave(self, run_id: str) -> bool:
        """Count one wait less, and return whether it was the last one."""
        self._run_ids[run_id] -= 1
        if not self._run_ids[run_id]:
            del self._run_ids[run_id]
        return not self._run_ids

    async def end(self) -> None:
        """End the looks that are made for nobody any more."""
        rounds = list(self._rounds)
        for one in rounds:
            one.cancel()
        await asyncio.gather(*rounds, return_exceptions=True)

    def _wake(self, place: Waiter) -> None:
        place.is_due = True
        if place.is_taken or place.answer.done():
            return
        if len(self._places) == 1 or not self._has_list:
            place.tell(None)
        elif not self._beginning:
            # A task of its own: whoever of the waits is cancelled leaves the others their look. It begins when
            # everybody has woken who is due at this moment.
            self._beginning = True
            task = asyncio.get_running_loop().create_task(self._round())
            self._rounds.add(task)
            task.add_done_callback(self._rounds.discard)

    async def _round(self) -> None:
        self._beginning = False
        due = [place for place in self._places if place.is_due and not place.is_taken]
        longest = max((place.interval for place in due), default=0.0)
        soon = time.monotonic() + _TAKEN_ALONG * longest
        alone = self._roll_call.not_listed
        for place in due:
            if place.run_id in alone:
                place.tell(None)
        party = [place for place in self._places if place.may_come_along(soon) and place.run_id not in alone]
        places_of: dict[str, list[Waiter]] = {}
        for place in party:
            place.is_taken = True
            places_of.setdefault(place.run_id, []).append(place)

        def tell(run: Mapping[str, Any]) -> None:
            for place in places_of.get(run["id"], ()):
                place.tell(run)

        try:
            if len(places_of) > 1:
                pages = self._roll_call.look(places_of, self._run_ids, tell)
                await read_pages(party[0].client, self.thread_id, pages)
        except Exception as error:
            if isinstance(error, PortkeyRequestError) and not error.transient:
                self._has_list = False  # but perhaps single runs: each wait hears for itself
            else:
                for place in party:
                    if not place.answer.done():
                        place.answer.set_exception(error)
        finally:
            for place in party:
                place.is_taken = False
                if place.is_due:
                    place.tell(None)


@asynccontextmanager
async def join(client: AsyncPortkeyClient, thread_id: str, run_id: str) -> AsyncIterator[PollGroup]:
    """Join those who wait for runs of the thread; the last one who leaves ends what still goes on for them."""
    companies = _COMPANIES.setdefault(client.pool, {})
    company = companies.setdefault(thread_id, PollGroup(thread_id))
    company.enter(run_id)
    try:
        yield company
    finally:
        if company.leave(run_id):
            del companies[thread_id]
            await company.end()
