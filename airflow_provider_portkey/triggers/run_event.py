"""Asset events for the ends of a thread's runs, so that a DAG starts when a run has ended."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Iterable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_portkey.exceptions import (
    PortkeyConnectionInvalidError,
    PortkeyInvalidArgumentError,
    PortkeyPollingGaveUpError,
    PortkeyRequestError,
)
from airflow_provider_portkey.jobs.spec import DEFAULT_POLL_INTERVAL
from airflow_provider_portkey.triggers.job import open_portkey, sleep_to_grid

try:
    from airflow.triggers.base import BaseEventTrigger, TriggerEvent
except ImportError as error:
    from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException

    raise AirflowOptionalProviderFeatureException(
        "PortkeyRunEventTrigger needs Airflow 3.0 or newer: older versions know no event triggers."
    ) from error

if TYPE_CHECKING:
    from types import ModuleType

    from airflow_provider_portkey.polling.run_tracker import Look, Need, Run, RunTracker
    from airflow_provider_portkey.state.asset import AssetState

log = logging.getLogger(__name__)

#: Events that are handed over together: a triggerer that is killed at that moment repeats so many at most.
_TOGETHER = 10
#: Seconds for an event to leave for the process that stores it; as a rule it is one.
_HANDOVER_TIMEOUT = 60.0


class PortkeyRunEventTrigger(BaseEventTrigger):
    """
    Watch a thread and send one event for each run that ends, its payload the run without its bulky fields.

    For an ``AssetWatcher``. All arguments are plain values; equal ones make one trigger, whatever DAG they are in.

    :param thread_id: The thread.
    :param statuses: Ends of interest: of ``completed``, ``failed``, ``cancelled``, ``expired`` and ``incomplete``;
        ``None`` for all.
    :param assistant_id: Runs of this assistant only.
    :param metadata: Runs only whose metadata holds these pairs, with others or without.
    :param portkey_conn_id: The Airflow connection.
    :param poll_interval: Seconds between two looks. Watchers of a thread with equal intervals share them (Airflow
        3.3 and newer).
    :param max_consecutive_failures: Looks that may fail in a row before it gives up; Airflow then starts it anew.
    :param lookback: Seconds: at the very first start, runs that still go on and were created within them are watched
        too. Runs that have ended by then are not told.
    :raises PortkeyInvalidArgumentError: naming the argument that is wrong.
    """

    #: When the next look at a thread may be, after one that failed: Airflow starts a trigger that gave up anew within
    #: a second. By monotonic seconds, for this process.
    _not_before: ClassVar[dict[Hashable, float]] = {}

    def __init__(
        self,
        *,
        thread_id: str,
        statuses: Iterable[str] | None = None,
        assistant_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
        portkey_conn_id: str = "portkey_default",
        poll_interval: float = DEFAULT_POLL_INTERVAL,
        max_consecutive_failures: int = 10,
        lookback: float = 3600.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        from airflow_provider_portkey.polling.poller import check_failures
        from airflow_provider_portkey.validation import validate_id

        self.thread_id = validate_id("thread_id", thread_id)
        self.statuses = _checked_statuses(statuses)
        self.assistant_id = assistant_id if assistant_id is None else validate_id("assistant_id", assistant_id)
        self.metadata = _checked_metadata(metadata)
        self.portkey_conn_id = portkey_conn_id
        self.poll_interval = _checked_seconds("poll_interval", poll_interval, least=0.1)
        self.max_consecutive_failures = max_consecutive_failures
        check_failures(max_consecutive_failures)
        self.lookback = _checked_seconds("lookback", lookback, least=0)
        self._next_own_look = 0.0

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments, always the same ones: Airflow knows the trigger by them."""
        cls = type(self)
        return f"{cls.__module__}.{cls.__qualname__}", {
            "thread_id": self.thread_id,
            "statuses": self.statuses,
            "assistant_id": self.assistant_id,
            "metadata": self.metadata,
            "portkey_conn_id": self.portkey_conn_id,
            "poll_interval": self.poll_interval,
            "max_consecutive_failures": self.max_consecutive_failures,
            "lookback": self.lookback,
        }

    def shared_stream_key(self) -> Hashable:
        """Return what watchers have in common that share their looks."""
        return _stream_key(self.serialize()[1])

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncGenerator[Look | Exception]:
        """
        Look at a thread for ever, and yield what each look brought, or why it failed.

        :param kwargs: Arguments of one of the triggers that share it.
        """
        run_tracker, _ = await asyncio.to_thread(_load)
        from airflow_provider_portkey.polling.drivers import read_look

        thread_id, interval = kwargs["thread_id"], kwargs["poll_interval"]
        await sleep_to_grid(cls._not_before.get(_stream_key(kwargs), 0.0) - time.monotonic())
        need = run_tracker.Need(time.time() - run_tracker.LOOKBACK)
        while True:
            try:
                # Opened anew after each failure, so that a connection that was put right is noticed.
                async with open_portkey(kwargs["portkey_conn_id"]) as client:
                    while True:
                        look = await read_look(client, thread_id, need)
                        need = need.following(look)
                        yield look
                        await sleep_to_grid(interval)
            except Exception as error:
                wait = cls._pause(kwargs, error)
                log.warning("Look at the runs of thread %r failed, next one in %.1f s: %s", thread_id, wait, error)
                yield error
                await sleep_to_grid(wait)

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Look | Exception]) -> AsyncIterator[TriggerEvent]:
        """
        Yield an event for each run of interest that ended and was not told before.

        :param shared_stream: As of :meth:`open_shared_stream`.
        :raises PortkeyPollingGaveUpError: After too many failures in a row, and at once after a refusal.
        """
        watch, keeper = await self._begin()
        failures, restored = 0, False
        async for seen in shared_stream:
            now = time.time()
            try:
                if not restored:
                    await keeper.restore()
                    restored = True
                need = watch.need(now)
                look = await self._complete(seen, need)
                if look is None:
                    continue
            except Exception as error:
                failures += 1
                await self._after_failure(error, failures, own=error is not seen)
                continue
            failures = 0
            if lost := sorted(need.open & look.gone):
                self.log.warning("Runs of thread %r were gone before they ended: %s", self.thread_id, ", ".join(lost))
            async with aclosing(self._tell(watch.observe(look, now), watch, keeper)) as events:
                async for event in events:
                    yield event
            await keeper.save()

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield the events where nothing is shared: on Airflow before 3.3, and in tests."""
        async with aclosing(type(self).open_shared_stream(self.serialize()[1])) as stream:
            async for event in self.filter_shared_stream(stream):
                yield event

    async def _tell(self, due: list[Run], watch: RunTracker, keeper: AssetState) -> AsyncGenerator[TriggerEvent]:
        """Yield an event for each run, and keep in mind those that Airflow has stored."""
        if self.trigger_id is None or not keeper.keeps:
            # Whoever comes back for more has it; and without a store there is nothing to be in time for.
            for run in due:
                yield TriggerEvent(run)  # type: ignore[no-untyped-call]
                watch.told(run)
                await keeper.save()
            return
        from airflow_provider_portkey.state.asset import TrackedPayload

        for start in range(0, len(due), _TOGETHER):
            waiting = [TrackedPayload(content=run) for run in due[start : start + _TOGETHER]]
            for parcel in waiting:
                yield TriggerEvent(parcel)  # type: ignore[no-untyped-call]
                parcel.queued()
            while waiting:
                if not await waiting[0].has_left(_HANDOVER_TIMEOUT):
                    self.log.warning("Airflow did not take an event within %.0f s.", _HANDOVER_TIMEOUT)
                    waiting[0].leave()
                gone, before = [parcel for parcel in waiting if parcel.is_away], watch.to_dict()
                for parcel in gone:
                    watch.told(parcel.content)
                waiting = [parcel for parcel in waiting if parcel not in gone]
                try:
                    await keeper.save()
                except asyncio.CancelledError:
                    # A triggerer that is about to stop takes events without storing them, and states with storing them.
                    await keeper.take_back(before)
                    raise

    async def _begin(self) -> tuple[RunTracker, AssetState]:
        run_tracker, asset = await asyncio.to_thread(_load)
        watch = run_tracker.RunTracker(
            statuses=self.statuses or run_tracker.ENDED,
            assistant_id=self.assistant_id,
            metadata=self.metadata,
            lookback=self.lookback,
        )
        # What is watched, not how often: a changed interval goes on from the same state.
        what = [self.portkey_conn_id, self.thread_id, self.statuses, self.assistant_id, self.metadata]
        key = f"portkey_run_events_{hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]}"
        return watch, asset.AssetState(watch, getattr(self, "asset_state_store", None), key, self.log)

    async def _complete(self, seen: Look | Exception, need: Need) -> Look | None:
        """
        Return a look with what it lacks of this watcher's own needs: after a restart they reach further back.

        ``None`` where it lacks something and this watcher has only just looked by itself: looks that piled up while
        events were handed over come all at once.
        """
        if isinstance(seen, Exception):
            raise seen
        if need.is_met_by(seen):
            return seen
        if (now := time.monotonic()) < self._next_own_look:
            return None
        self._next_own_look = now + self.poll_interval / 2
        from airflow_provider_portkey.polling.drivers import read_look

        async with open_portkey(self.portkey_conn_id) as client:
            return await read_look(client, self.thread_id, need, seen)

    async def _after_failure(self, error: Exception, failures: int, *, own: bool) -> None:
        """Give up where it is time to; else wait where the failure was this watcher's own and asks for it."""
        from airflow_provider_portkey.polling.poller import is_final

        limit = self.max_consecutive_failures
        refused = isinstance(error, PortkeyConnectionInvalidError) or (
            isinstance(error, PortkeyRequestError) and is_final(error)
        )
        if refused or failures >= limit:
            # Airflow starts it anew within a second.
            self._pause(self.serialize()[1], error)
            looks = "a look was refused" if refused else f"{failures} looks in a row failed"
            message = f"Gave up watching the runs of thread {self.thread_id!r}: {looks}. Last: {error}"
            raise PortkeyPollingGaveUpError(message) from error
        if own:
            self.log.warning("Look failed (%d of %d in a row): %s", failures, limit, error)
            await sleep_to_grid(getattr(error, "retry_after", None) or 0)

    @classmethod
    def _pause(cls, kwargs: Mapping[str, Any], error: Exception) -> float:
        """Return the seconds until the look after one that failed, and hold to them across a restart."""
        from airflow_provider_portkey.polling.poller import wait_after_failure

        wait, now = wait_after_failure(kwargs["poll_interval"], error), time.monotonic()
        for key in [key for key, until in cls._not_before.items() if until <= now]:
            del cls._not_before[key]
        key = _stream_key(kwargs)
        cls._not_before[key] = max(now + wait, cls._not_before.get(key, 0.0))
        return wait


def _stream_key(kwargs: Mapping[str, Any]) -> Hashable:
    return "portkey-runs", kwargs["portkey_conn_id"], kwargs["thread_id"], kwargs["poll_interval"]


def _load() -> tuple[ModuleType, ModuleType]:
    """Import what watching needs, in a thread: it would hold up the event loop."""
    from airflow_provider_portkey.polling import drivers, poller, run_tracker  # noqa: F401
    from airflow_provider_portkey.state import asset

    return run_tracker, asset


def _checked_statuses(statuses: object) -> list[str] | None:
    if statuses is None:
        return None
    from airflow_provider_portkey.polling.run_tracker import ENDED

    ends = sorted(ENDED)
    if isinstance(statuses, str) or not isinstance(statuses, Iterable) or not (chosen := list(statuses)):
        raise PortkeyInvalidArgumentError("statuses", statuses, f"a list of some of {', '.join(ends)}, or None for all")
    if not all(status in ends for status in chosen):
        raise PortkeyInvalidArgumentError("statuses", chosen, f"ends of runs only: {', '.join(ends)}")
    # In one order, since Airflow compares triggers by their arguments.
    return sorted(set(chosen))


def _checked_metadata(metadata: object) -> dict[str, str] | None:
    if metadata is None:
        return None
    if not isinstance(metadata, Mapping) or not all(
        isinstance(part, str) for pair in metadata.items() for part in pair
    ):
        raise PortkeyInvalidArgumentError("metadata", metadata, "pairs of text, or None")
    return dict(sorted(metadata.items()))


def _checked_seconds(field: str, value: Any, *, least: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < math.inf:
        raise PortkeyInvalidArgumentError(field, value, f"seconds, at least {least:g}")
    return float(value)
