"""
Shared polling: waits for runs of one thread poll together, so that two hundred of them cost two or three requests.

Each wait keeps its interval, deadline, failures and event. The wait that is due first requests pages of the thread's
list, also for the waits that are due soon; after that the waits are due at the same time. A wait that is alone on its
thread, or whose run is cheaper to request by itself, sends the request that it would have sent alone.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.exceptions import PortkeyRequestError
from airflow_provider_portkey.polling.drivers import WakeUp, adrive, sleep_to_grid
from airflow_provider_portkey.polling.interval import poll_interval
from airflow_provider_portkey.polling.run_pages import RunPagePlanner

if TYPE_CHECKING:
    from airflow_provider_portkey.client.aio import AsyncPortkeyClient
    from airflow_provider_portkey.polling.poller import Poller

#: Fraction of the due wait's interval; waits due within it join the same request. With a half, waits that began at
#: any time are due together after one interval, and a short interval does not poll a long one much too early.
_JOIN_WITHIN = 0.5

_GROUPS: weakref.WeakKeyDictionary[object, dict[str, PollGroup]] = weakref.WeakKeyDictionary()


@dataclass(eq=False, slots=True)
class Waiter:
    """One wait between two of its polls."""

    run_id: str
    client: AsyncPortkeyClient
    interval: float
    due_at: float
    #: Whether a poll before its time may serve it.
    may_be_early: bool
    #: The run; or ``None``: the wait sends a request of its own.
    response: asyncio.Future[Mapping[str, Any] | None]
    is_due: bool = False
    #: Whether a round is requesting its run.
    is_taken: bool = False

    def may_join(self, until: float) -> bool:
        """Return whether a poll at this time may serve this wait too."""
        is_near = self.is_due or (self.may_be_early and self.due_at <= until)
        return is_near and not self.is_taken and not self.response.done()

    def resolve(self, response: Mapping[str, Any] | None) -> None:
        """Hand the run to the wait, unless the wait is over."""
        if not self.response.done():
            self.response.set_result(response)


@dataclass(eq=False, slots=True)
class PollGroup:
    """All waits for runs of one thread with the same connection on one event loop; see :func:`shared_polling`."""

    thread_id: str
    _run_ids: Counter[str] = field(default_factory=Counter)
    _waiters: dict[Waiter, None] = field(default_factory=dict)
    _waiters_of: dict[str, dict[Waiter, None]] = field(default_factory=dict)
    #: Until when new waits are held back, because a round that searches runs may find theirs too.
    _held_until: float = 0.0
    _held: list[Waiter] = field(default_factory=list)
    _rounds: set[asyncio.Task[None]] = field(default_factory=set)
    _round_scheduled: bool = False
    _has_list: bool = True
    _pages: RunPagePlanner = field(init=False)

    def __post_init__(self) -> None:
        self._pages = RunPagePlanner(self.thread_id)

    async def poll(
        self, client: AsyncPortkeyClient, run_id: str, *, wait: float, interval: float, may_be_early: bool
    ) -> Mapping[str, Any] | None:
        """
        Sleep until a run is due, or until another wait has polled it.

        :param client: For a poll that this wait starts.
        :param run_id: The run.
        :param wait: Seconds until the poll is due.
        :param interval: Seconds between two polls of this wait.
        :param may_be_early: Whether the poll of another wait may come before.
        :return: The run; or ``None`` where the caller should request it now.
        :raises PortkeyRequestError: where a shared poll failed.
        """
        response: asyncio.Future[Mapping[str, Any] | None] = asyncio.get_running_loop().create_future()
        waiter = Waiter(run_id, client, interval, time.monotonic() + wait, may_be_early, response)
        self._waiters[waiter] = None
        self._waiters_of.setdefault(run_id, {})[waiter] = None
        # Not a task that sleeps: a timer costs less, and most waits are alone on their threads.
        wake_up = WakeUp(wait, partial(self._wake, waiter))
        try:
            return await response
        finally:
            del self._waiters[waiter]
            del self._waiters_of[run_id][waiter]
            wake_up.cancel()

    def enter(self, run_id: str) -> None:
        """Count one more wait."""
        self._run_ids[run_id] += 1

    def leave(self, run_id: str) -> bool:
        """Count one wait less, and return whether that was the last one."""
        self._run_ids[run_id] -= 1
        if not self._run_ids[run_id]:
            del self._run_ids[run_id]
            self._waiters_of.pop(run_id, None)
        return not self._run_ids

    async def close(self) -> None:
        """Cancel the rounds that serve no wait any more."""
        rounds = list(self._rounds)
        for one in rounds:
            one.cancel()
        await asyncio.gather(*rounds, return_exceptions=True)

    def _wake(self, waiter: Waiter) -> None:
        waiter.is_due = True
        if waiter.is_taken or waiter.response.done():
            return
        if len(self._waiters) == 1 or not self._has_list:
            waiter.resolve(None)
        elif not self._pages.knows(waiter.run_id) and time.monotonic() < self._held_until:
            self._held.append(waiter)
        elif not self._round_scheduled:
            # A task of its own: a wait that is cancelled leaves the others their poll. It starts when all waits that
            # are due now are awake.
            self._round_scheduled = True
            task = asyncio.get_running_loop().create_task(self._round())
            self._rounds.add(task)
            task.add_done_callback(self._rounds.discard)

    async def _round(self) -> None:
        self._round_scheduled = False
        due = [waiter for waiter in self._waiters if waiter.is_due and not waiter.is_taken]
        longest = max((waiter.interval for waiter in due), default=0.0)
        soon = time.monotonic() + _JOIN_WITHIN * longest
        single = self._pages.not_listed
        for waiter in due:
            if waiter.run_id in single:
                waiter.resolve(None)
        joined = [waiter for waiter in self._waiters if waiter.may_join(soon) and waiter.run_id not in single]
        for waiter in joined:
            waiter.is_taken = True
        wanted = {waiter.run_id for waiter in joined}
        searches = len(wanted) > 1 and not all(map(self._pages.knows, wanted))
        if searches:
            self._held_until = soon
        try:
            if len(wanted) > 1:
                await adrive(self._pages.find(wanted, self._run_ids, self._resolve), joined[0].client.get)
        except Exception as error:
            self._fail(joined, error)
        finally:
            for waiter in joined:
                waiter.is_taken = False
                if waiter.is_due:
                    waiter.resolve(None)
            if searches:
                self._held_until, held, self._held = 0.0, self._held, []
                for waiter in held:
                    self._wake(waiter)

    def _resolve(self, run: Mapping[str, Any]) -> None:
        """Hand a run to its waits, due or not: the page is paid for, and from now on they are due together."""
        for waiter in self._waiters_of.get(run["id"], ()):
            if waiter.is_due or waiter.may_be_early:
                waiter.resolve(run)

    def _fail(self, joined: list[Waiter], error: Exception) -> None:
        if isinstance(error, PortkeyRequestError) and not error.transient:
            self._has_list = False  # but perhaps single runs: each wait requests its own
            return
        for waiter in joined:
            # A poll before its time is not one that failed: the wait has its own yet.
            if waiter.is_due and not waiter.response.done():
                waiter.response.set_exception(error)


@dataclass(frozen=True)
class DirectPolling:
    """
    The polls of a wait that shares them with no other.

    :param client: Sends the requests.
    """

    client: AsyncPortkeyClient

    async def next_response(self, poller: Poller) -> Any:
        """
        Sleep until the next poll is due, send its requests, and return what :meth:`Poller.on_response` takes.

        :raises PortkeyRequestError: where the poll failed.
        """
        await sleep_to_grid(poller.state.next_poll_at - time.time())
        return await adrive(poller.requests(time.time()), self.client.get)


@dataclass
class SharedPolling:
    """
    The polls of a wait for a run, shared with the other waits on its thread.

    :param client: Sends the requests that are not shared.
    :param group: The waits of the thread.
    """

    client: AsyncPortkeyClient
    group: PollGroup
    _has_polled: bool = field(default=False, init=False)

    async def next_response(self, poller: Poller) -> Any:
        """As :meth:`DirectPolling.next_response`; the response may come from another wait's poll."""
        wait, run_id = poller.state.next_poll_at - time.time(), poller.ids["run_id"]
        interval = poll_interval(poller.state, time.time(), jitter=0.0)
        # An adaptive wait has just been deferred, and must not resume before Airflow has noticed that.
        may_be_early = self._has_polled or poller.state.poll_interval is not None
        run = await self.group.poll(self.client, run_id, wait=wait, interval=interval, may_be_early=may_be_early)
        self._has_polled = True
        return await adrive(poller.requests(time.time()), self.client.get) if run is None else run


@asynccontextmanager
async def shared_polling(client: AsyncPortkeyClient, *, thread_id: str, run_id: str) -> AsyncIterator[SharedPolling]:
    """Share the polls of a run with the other waits on its thread; the last wait that leaves cancels what is left."""
    groups = _GROUPS.setdefault(client.pool, {})
    group = groups.setdefault(thread_id, PollGroup(thread_id))
    group.enter(run_id)
    try:
        yield SharedPolling(client, group)
    finally:
        if group.leave(run_id):
            del groups[thread_id]
            await group.close()
