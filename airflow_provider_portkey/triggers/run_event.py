"""Asset events for the finished runs of a thread, so that a DAG starts when a run has finished."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
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
from airflow_provider_portkey.triggers.job import open_portkey

try:
    from airflow.triggers.base import BaseEventTrigger, TriggerEvent
except ImportError as error:
    from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException

    raise AirflowOptionalProviderFeatureException(
        "PortkeyRunEventTrigger needs Airflow 3.0 or newer: older versions know no event triggers."
    ) from error

if TYPE_CHECKING:
    from airflow_provider_portkey.client.aio import AsyncPortkeyClient
    from airflow_provider_portkey.polling.run_tracker import Run, RunTracker, Scope, Snapshot
    from airflow_provider_portkey.state.asset import AssetState

log = logging.getLogger(__name__)

#: Events emitted together; a triggerer that is killed between sending and storing repeats at most this many.
_EMITTED_TOGETHER = 10
#: Seconds for Airflow to send an event; Airflow does so about once a second.
_DELIVERY_TIMEOUT = 60.0


class PortkeyRunEventTrigger(BaseEventTrigger):
    """
    Watch a thread and emit one event for each run that finishes, with the run without its excluded fields as payload.

    For an ``AssetWatcher``. All arguments are plain values; equal arguments make one trigger, whatever DAG they are in.

    :param thread_id: The thread.
    :param statuses: Terminal statuses of interest: of ``completed``, ``failed``, ``cancelled``, ``expired`` and
        ``incomplete``; ``None`` for all.
    :param assistant_id: Only runs of this assistant.
    :param metadata: Only runs whose metadata holds these pairs, with others or without.
    :param portkey_conn_id: The Airflow connection.
    :param poll_interval: Seconds between two polls; 60 for ``None``. Watchers of a thread with equal intervals share
        their polls (Airflow 3.3 and newer).
    :param max_consecutive_failures: Consecutive polls that may fail before the trigger gives up; Airflow then starts
        the trigger again.
    :param lookback: Seconds: at the very first start, active runs that were created within them are watched too. Runs
        that have finished by then emit no event.
    :raises PortkeyInvalidArgumentError: naming the argument that is wrong.
    """

    #: By stream, when the poll after a failed one may be sent, monotonic seconds: Airflow restarts a trigger within a
    #: second after the trigger gave up.
    _not_before: ClassVar[dict[Hashable, float]] = {}

    def __init__(
        self,
        *,
        thread_id: str,
        statuses: Iterable[str] | None = None,
        assistant_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
        portkey_conn_id: str = "portkey_default",
        poll_interval: float | None = None,
        max_consecutive_failures: int = 5,
        lookback: float = 3600.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        from airflow_provider_portkey.parameters import validate_parameters
        from airflow_provider_portkey.polling.wait_state import DEFAULT_POLL_INTERVAL
        from airflow_provider_portkey.validation import validate_id

        self.thread_id = validate_id("thread_id", thread_id)
        self.statuses = _validate_statuses(statuses)
        self.assistant_id = assistant_id if assistant_id is None else validate_id("assistant_id", assistant_id)
        self.metadata = _validate_metadata(metadata)
        self.portkey_conn_id = portkey_conn_id
        self.poll_interval = DEFAULT_POLL_INTERVAL if poll_interval is None else poll_interval
        self.max_consecutive_failures = max_consecutive_failures
        self.lookback = lookback
        validate_parameters(self, rendered=True)
        # Airflow compares triggers by their serialized arguments; 60 and 60.0 are one interval.
        self.poll_interval, self.lookback = float(self.poll_interval), float(self.lookback)
        self._next_own_poll = 0.0

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments, always the same ones: Airflow identifies the trigger by them."""
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
        """Return what watchers that share their polls have in common."""
        return _stream_key(self.serialize()[1])

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncGenerator[Snapshot | Exception]:
        """
        Poll a thread forever, and yield the snapshot of each poll, or why the poll failed.

        :param kwargs: Arguments of one of the triggers that share the stream.
        """
        await asyncio.to_thread(_load)
        from airflow_provider_portkey.polling.drivers import sleep_to_grid
        from airflow_provider_portkey.polling.run_tracker import LOOKBACK, Scope

        thread_id, interval = kwargs["thread_id"], kwargs["poll_interval"]
        await sleep_to_grid(cls._not_before.get(_stream_key(kwargs), 0.0) - time.monotonic())
        scope = Scope(time.time() - LOOKBACK)
        while True:
            try:
                # Opened again after each failure, so that a connection that was put right is noticed.
                async with open_portkey(kwargs["portkey_conn_id"]) as client:
                    while True:
                        snapshot = await _take_snapshot(client, thread_id, scope)
                        scope = scope.following(snapshot)
                        yield snapshot
                        await sleep_to_grid(interval)
            except Exception as error:
                wait = cls._pause(kwargs, error)
                log.warning("poll of the runs of thread %r failed, next poll in %.1f s: %s", thread_id, wait, error)
                yield error
                await sleep_to_grid(wait)

    async def filter_shared_stream(
        self, shared_stream: AsyncIterator[Snapshot | Exception]
    ) -> AsyncIterator[TriggerEvent]:
        """
        Yield an event for each run of interest that has finished and whose event was not emitted before.

        :param shared_stream: As of :meth:`open_shared_stream`.
        :raises PortkeyPollingGaveUpError: after too many consecutive failures, and at once after a refusal.
        """
        tracker, state = await self._open_state()
        failures, restored = 0, False
        async for seen in shared_stream:
            now = time.time()
            try:
                if not restored:
                    await state.restore()
                    restored = True
                scope = tracker.scope(now)
                snapshot = await self._complete(seen, scope)
                if snapshot is None:
                    continue
            except Exception as error:
                failures += 1
                await self._after_failure(error, failures, own=error is not seen)
                continue
            failures = 0
            if lost := sorted(scope.pending & snapshot.gone):
                self.log.warning("Runs of thread %r were deleted while active: %s", self.thread_id, ", ".join(lost))
            async with aclosing(self._emit(tracker.observe(snapshot, now), tracker, state)) as events:
                async for event in events:
                    yield event
            await state.save()

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield the events where nothing is shared: on Airflow before 3.3, and in tests."""
        async with aclosing(type(self).open_shared_stream(self.serialize()[1])) as stream:
            async for event in self.filter_shared_stream(stream):
                yield event

    async def _emit(self, due: list[Run], tracker: RunTracker, state: AssetState) -> AsyncGenerator[TriggerEvent]:
        """Yield an event for each run, and note those that Airflow has stored."""
        if self.trigger_id is None or not state.has_store:
            # A caller that comes back for more has the event; without a store no state has to follow the sending.
            for run in due:
                yield TriggerEvent(run)  # type: ignore[no-untyped-call]
                tracker.emitted(run)
                await state.save()
            return
        from airflow_provider_portkey.triggers.event_delivery import TrackedPayload

        for start in range(0, len(due), _EMITTED_TOGETHER):
            waiting = [TrackedPayload(content=run) for run in due[start : start + _EMITTED_TOGETHER]]
            for payload in waiting:
                yield TriggerEvent(payload)  # type: ignore[no-untyped-call]
                payload.queued()
            while waiting:
                if not await waiting[0].sent(_DELIVERY_TIMEOUT):
                    self.log.warning("Airflow did not take an event within %.0f s.", _DELIVERY_TIMEOUT)
                    waiting[0].mark_sent()
                sent, before = [payload for payload in waiting if payload.is_sent], tracker.to_dict()
                for payload in sent:
                    tracker.emitted(payload.content)
                waiting = [payload for payload in waiting if payload not in sent]
                try:
                    await state.save()
                except asyncio.CancelledError:
                    # A triggerer that is about to stop takes events without storing them, and states with storing them.
                    await state.take_back(before)
                    raise

    async def _open_state(self) -> tuple[RunTracker, AssetState]:
        await asyncio.to_thread(_load)
        from airflow_provider_portkey.polling.run_tracker import TERMINAL_STATUSES, RunTracker
        from airflow_provider_portkey.state.asset import AssetState

        tracker = RunTracker(
            statuses=self.statuses or TERMINAL_STATUSES,
            assistant_id=self.assistant_id,
            metadata=self.metadata,
            lookback=self.lookback,
        )
        # What is watched, not how often: a changed interval continues from the same state.
        what = [self.portkey_conn_id, self.thread_id, self.statuses, self.assistant_id, self.metadata]
        key = f"portkey_run_events_{hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]}"
        return tracker, AssetState(tracker, getattr(self, "asset_state_store", None), key, self.log)

    async def _complete(self, seen: Snapshot | Exception, scope: Scope) -> Snapshot | None:
        """
        Return a snapshot, completed to this watcher's own scope: after a restart the scope reaches further back.

        ``None`` where the snapshot does not cover the scope and this watcher has only just polled by itself: snapshots
        that accumulated while events were emitted arrive all at once.
        """
        if isinstance(seen, Exception):
            raise seen
        if scope.is_covered_by(seen):
            return seen
        if (now := time.monotonic()) < self._next_own_poll:
            return None
        self._next_own_poll = now + self.poll_interval / 2
        async with open_portkey(self.portkey_conn_id) as client:
            return await _take_snapshot(client, self.thread_id, scope, seen)

    async def _after_failure(self, error: Exception, failures: int, *, own: bool) -> None:
        """Give up at the limit; else wait for the ``Retry-After`` of a failure that was this watcher's own."""
        from airflow_provider_portkey.polling.drivers import sleep_to_grid
        from airflow_provider_portkey.polling.poller import is_final

        limit = self.max_consecutive_failures
        refused = isinstance(error, PortkeyConnectionInvalidError) or (
            isinstance(error, PortkeyRequestError) and is_final(error)
        )
        if refused or failures >= limit:
            # Airflow starts the trigger again within a second.
            self._pause(self.serialize()[1], error)
            polls = "a poll was refused" if refused else f"{failures} consecutive polls failed"
            message = f"Gave up watching the runs of thread {self.thread_id!r}: {polls}. Last: {error}"
            raise PortkeyPollingGaveUpError(message) from error
        if own:
            self.log.warning("poll failed (%d of %d): %s", failures, limit, error)
            await sleep_to_grid(getattr(error, "retry_after", None) or 0)

    @classmethod
    def _pause(cls, kwargs: Mapping[str, Any], error: Exception) -> float:
        """Return the seconds until the poll after one that failed, and keep the pause across a restart."""
        from airflow_provider_portkey.polling.poller import wait_after_failure

        wait, now = wait_after_failure(kwargs["poll_interval"], error), time.monotonic()
        for key in [key for key, until in cls._not_before.items() if until <= now]:
            del cls._not_before[key]
        key = _stream_key(kwargs)
        cls._not_before[key] = max(now + wait, cls._not_before.get(key, 0.0))
        return wait


async def _take_snapshot(
    client: AsyncPortkeyClient, thread_id: str, scope: Scope, known: Snapshot | None = None
) -> Snapshot:
    from airflow_provider_portkey.polling.drivers import adrive
    from airflow_provider_portkey.polling.run_tracker import plan_snapshot

    return await adrive(plan_snapshot(thread_id, scope, known), client.get)


def _stream_key(kwargs: Mapping[str, Any]) -> Hashable:
    return "portkey-runs", kwargs["portkey_conn_id"], kwargs["thread_id"], kwargs["poll_interval"]


def _load() -> None:
    """Import what watching needs, in a thread: the imports would block the event loop."""
    from airflow_provider_portkey.polling import drivers, poller, run_tracker  # noqa: F401
    from airflow_provider_portkey.state import asset  # noqa: F401
    from airflow_provider_portkey.triggers import event_delivery  # noqa: F401


def _validate_statuses(statuses: object) -> list[str] | None:
    if statuses is None:
        return None
    from airflow_provider_portkey.polling.run_tracker import TERMINAL_STATUSES

    allowed = ", ".join(sorted(TERMINAL_STATUSES))
    if isinstance(statuses, str) or not isinstance(statuses, Iterable) or not (chosen := list(statuses)):
        raise PortkeyInvalidArgumentError("statuses", statuses, f"a list of some of {allowed}, or None for all")
    if not all(isinstance(status, str) and status in TERMINAL_STATUSES for status in chosen):
        raise PortkeyInvalidArgumentError("statuses", chosen, f"terminal statuses of runs only: {allowed}")
    # In one order, since Airflow compares triggers by their arguments.
    return sorted(set(chosen))


def _validate_metadata(metadata: object) -> dict[str, str] | None:
    if metadata is None:
        return None
    if not isinstance(metadata, Mapping) or not all(
        isinstance(part, str) for pair in metadata.items() for part in pair
    ):
        raise PortkeyInvalidArgumentError("metadata", metadata, "pairs of strings, or None")
    return dict(sorted(metadata.items()))
