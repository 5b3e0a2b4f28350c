"""Asset events for finished runs and batches, so that a DAG starts when one has finished."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_portkey.exceptions import (
    PortkeyConnectionInvalidError,
    PortkeyPollingGaveUpError,
    PortkeyRequestError,
)
from airflow_provider_portkey.triggers.job import open_portkey

try:
    from airflow.triggers.base import BaseEventTrigger, TriggerEvent
except ImportError as error:
    from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException

    raise AirflowOptionalProviderFeatureException(
        "Portkey event triggers need Airflow 3.0 or newer: older versions know no event triggers."
    ) from error

if TYPE_CHECKING:
    from airflow_provider_portkey.client.aio import AsyncPortkeyClient
    from airflow_provider_portkey.polling.run_tracker import Run, RunTracker, Scope, Snapshot, Watched
    from airflow_provider_portkey.state.asset import AssetState

log = logging.getLogger(__name__)

#: Events emitted together; a triggerer that is killed between sending and storing repeats at most this many.
_EMITTED_TOGETHER = 10
#: Seconds for Airflow to send an event; Airflow does so about once a second.
_DELIVERY_TIMEOUT = 60.0


class BasePortkeyEventTrigger(BaseEventTrigger):
    """
    Watch a list of jobs and emit one event for each job that finishes. A subclass says which list.

    For an ``AssetWatcher``. All arguments are plain values; equal arguments make one trigger, whatever DAG they are in.

    :param statuses: Terminal statuses of interest; ``None`` for all.
    :param metadata: Only jobs whose metadata holds these pairs, with others or without.
    :param portkey_conn_id: The Airflow connection.
    :param poll_interval: Seconds between two polls; 60 for ``None``. Watchers of one list with equal intervals share
        their polls (Airflow 3.3 and newer).
    :param max_consecutive_failures: Consecutive polls that may fail before the trigger gives up; Airflow then starts
        the trigger again.
    :param lookback: Seconds: at the very first start, active jobs that were created within them are watched too. Jobs
        that have finished by then emit no event.
    :raises PortkeyInvalidArgumentError: naming the argument that is wrong.
    """

    #: By stream, when the poll after a failed one may be sent, monotonic seconds: Airflow restarts a trigger within a
    #: second after the trigger gave up.
    _not_before: ClassVar[dict[Hashable, float]] = {}

    def __init__(
        self,
        *,
        statuses: Iterable[str] | None = None,
        metadata: Mapping[str, str] | None = None,
        portkey_conn_id: str = "portkey_default",
        poll_interval: float | None = None,
        max_consecutive_failures: int = 5,
        lookback: float = 3600.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        from airflow_provider_portkey.parameters import validate_parameters
        from airflow_provider_portkey.polling.wait_state import MAX_POLL_INTERVAL
        from airflow_provider_portkey.triggers.event_arguments import (
            refuse_templates,
            validate_metadata,
            validate_statuses,
        )

        self.statuses = validate_statuses(statuses, self.watched(self._list_arguments()).job)
        self.metadata = validate_metadata(metadata)
        self.portkey_conn_id = portkey_conn_id
        self.poll_interval = MAX_POLL_INTERVAL if poll_interval is None else poll_interval
        self.max_consecutive_failures = max_consecutive_failures
        self.lookback = lookback
        refuse_templates(self.serialize()[1])
        validate_parameters(self, rendered=True)
        # Airflow compares triggers by their serialized arguments; 60 and 60.0 are one interval.
        self.poll_interval, self.lookback = float(self.poll_interval), float(self.lookback)
        self._next_own_poll = 0.0

    @classmethod
    def watched(cls, kwargs: Mapping[str, Any]) -> Watched:
        """Return the list that the arguments of a trigger name."""
        raise NotImplementedError

    def _list_arguments(self) -> dict[str, Any]:
        """Return the arguments that say which list."""
        return {}

    def _fields(self) -> dict[str, str | None]:
        """Return the arguments of the same names as fields of a job: only jobs with these values."""
        raise NotImplementedError

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments, always the same ones: Airflow identifies the trigger by them."""
        cls = type(self)
        return f"{cls.__module__}.{cls.__qualname__}", {
            **self._list_arguments(),
            **self._fields(),
            "statuses": self.statuses,
            "metadata": self.metadata,
            "portkey_conn_id": self.portkey_conn_id,
            "poll_interval": self.poll_interval,
            "max_consecutive_failures": self.max_consecutive_failures,
            "lookback": self.lookback,
        }

    def shared_stream_key(self) -> Hashable:
        """Return what watchers that share their polls have in common."""
        return type(self)._stream_key(self.serialize()[1])

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncGenerator[Snapshot | Exception]:
        """
        Poll a list forever, and yield the snapshot of each poll, or why the poll failed.

        :param kwargs: Arguments of one of the triggers that share the stream.
        """
        await asyncio.to_thread(_load)
        from airflow_provider_portkey.async_log import write_line
        from airflow_provider_portkey.polling.drivers import sleep_to_grid
        from airflow_provider_portkey.polling.run_tracker import Scope

        watched, interval = cls.watched(kwargs), kwargs["poll_interval"]
        await sleep_to_grid(cls._not_before.get(cls._stream_key(kwargs), 0.0) - time.monotonic())
        # As far back as watchers of this list usually do, whichever of them opens the stream: after a restart too, the
        # shared polls show the active jobs, and no watcher has to request each of them for itself.
        scope = Scope(time.time() - max(watched.lookback, kwargs["lookback"]))
        while True:
            try:
                # Opened again after each failure, so that a connection that was put right is noticed.
                async with await cls._open(kwargs["portkey_conn_id"]) as client:
                    while True:
                        snapshot = await _take_snapshot(client, watched, scope)
                        scope = scope.following(snapshot, watched.job.terminal_statuses)
                        yield snapshot
                        await sleep_to_grid(interval)
            except Exception as error:
                wait = cls._pause(kwargs, error)
                line = "poll of the %s failed, next poll in %.1f s: %s"
                await write_line(log.warning, line, _described(watched), wait, error)
                yield error
                await sleep_to_grid(wait)

    async def filter_shared_stream(
        self, shared_stream: AsyncIterator[Snapshot | Exception]
    ) -> AsyncIterator[TriggerEvent]:
        """
        Yield an event for each job of interest that has finished and whose event was not emitted before.

        :param shared_stream: As of :meth:`open_shared_stream`.
        :raises PortkeyPollingGaveUpError: after too many consecutive failures, and at once after a refusal.
        """
        from airflow_provider_portkey.async_log import write_line

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
                line = "Of the %s were deleted while active: %s"
                await write_line(self.log.warning, line, _described(self._own_list), ", ".join(lost))
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
        from airflow_provider_portkey.async_log import write_line
        from airflow_provider_portkey.triggers.event_delivery import TrackedPayload

        for start in range(0, len(due), _EMITTED_TOGETHER):
            waiting = [TrackedPayload(content=run) for run in due[start : start + _EMITTED_TOGETHER]]
            for payload in waiting:
                yield TriggerEvent(payload)  # type: ignore[no-untyped-call]
                payload.queued()
            while waiting:
                if not await waiting[0].sent(_DELIVERY_TIMEOUT):
                    line = "Airflow did not take an event within %.0f s."
                    await write_line(self.log.warning, line, _DELIVERY_TIMEOUT)
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
        from airflow_provider_portkey.polling.run_tracker import RunTracker
        from airflow_provider_portkey.state.asset import AssetState

        job = self._own_list.job
        terminal = job.terminal_statuses
        tracker = RunTracker(
            statuses=self.statuses or terminal,
            terminal_statuses=terminal,
            fields={name: value for name, value in self._fields().items() if value is not None},
            metadata=self.metadata,
            lookback=self.lookback,
        )
        # What is watched, not how often: a changed interval continues from the same state.
        lists, fields = self._list_arguments().values(), self._fields().values()
        what = [self.portkey_conn_id, *lists, self.statuses, *fields, self.metadata]
        key = f"portkey_{job.kind}_events_{hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]}"
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
        async with await self._open(self.portkey_conn_id) as client:
            return await _take_snapshot(client, self._own_list, scope, seen)

    async def _after_failure(self, error: Exception, failures: int, *, own: bool) -> None:
        """Give up at the limit; else wait for the ``Retry-After`` of a failure that was this watcher's own."""
        from airflow_provider_portkey.async_log import write_line
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
            message = f"Gave up watching the {_described(self._own_list)}: {polls}. Last: {error}"
            raise PortkeyPollingGaveUpError(message) from error
        if own:
            await write_line(self.log.warning, "poll failed (%d of %d): %s", failures, limit, error)
            await sleep_to_grid(getattr(error, "retry_after", None) or 0)

    @property
    def _own_list(self) -> Watched:
        return self.watched(self._list_arguments())

    @classmethod
    async def _open(cls, portkey_conn_id: str) -> AbstractAsyncContextManager[AsyncPortkeyClient]:
        from airflow_provider_portkey.client.task_metadata import TRIGGER_KEY

        return await open_portkey(portkey_conn_id, task_metadata={TRIGGER_KEY: cls.__name__})

    @classmethod
    def _stream_key(cls, kwargs: Mapping[str, Any]) -> Hashable:
        watched = cls.watched(kwargs)
        name = f"portkey-{watched.list_spec.kind}"
        return name, kwargs["portkey_conn_id"], *watched.ids.values(), kwargs["poll_interval"]

    @classmethod
    def _pause(cls, kwargs: Mapping[str, Any], error: Exception) -> float:
        """Return the seconds until the poll after one that failed, and keep the pause across a restart."""
        from airflow_provider_portkey.polling.interval import wait_after_failure

        wait, now = wait_after_failure(kwargs["poll_interval"], error), time.monotonic()
        for key in [key for key, until in cls._not_before.items() if until <= now]:
            del cls._not_before[key]
        key = cls._stream_key(kwargs)
        cls._not_before[key] = max(now + wait, cls._not_before.get(key, 0.0))
        return wait


class PortkeyRunEventTrigger(BasePortkeyEventTrigger):
    """
    Watch a thread and emit one event for each run that finishes, with the run without its excluded fields as payload.

    :param thread_id: The thread.
    :param statuses: Of ``completed``, ``failed``, ``cancelled``, ``expired`` and ``incomplete``; ``None`` for all.
    :param assistant_id: Only runs of this assistant.
    :param metadata: Only runs whose metadata holds these pairs, with others or without.
    :param kwargs: The other arguments of :class:`BasePortkeyEventTrigger`.
    """

    def __init__(
        self,
        *,
        thread_id: str,
        assistant_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        from airflow_provider_portkey.validation import validate_id

        self.thread_id = validate_id("thread_id", thread_id)
        self.assistant_id = assistant_id if assistant_id is None else validate_id("assistant_id", assistant_id)
        super().__init__(**kwargs)

    @classmethod
    def watched(cls, kwargs: Mapping[str, Any]) -> Watched:
        """Return the runs of the thread."""
        from airflow_provider_portkey.polling.run_tracker import runs_of

        return runs_of(kwargs["thread_id"])

    def _list_arguments(self) -> dict[str, Any]:
        return {"thread_id": self.thread_id}

    def _fields(self) -> dict[str, str | None]:
        return {"assistant_id": self.assistant_id}


class PortkeyBatchEventTrigger(BasePortkeyEventTrigger):
    """
    Watch the batches of a connection and emit one event for each batch that finishes, with the batch as payload.

    :param statuses: Terminal statuses of batches, such as ``completed``, ``failed``, ``expired`` and ``cancelled``;
        ``None`` for all.
    :param endpoint: Only batches for this endpoint, such as ``/v1/chat/completions``: one of OpenAI's reference of
        batches, which the gateway has for other providers as well, with or without ``/v1`` (Azure).
    :param metadata: Only batches whose metadata holds these pairs, with others or without, such as
        ``{"airflow_dag_id": "reports"}``.
    :param lookback: By default 25 hours: a batch has a day, and may finish a little later.
    :param kwargs: The other arguments of :class:`BasePortkeyEventTrigger`.
    """

    #: A filter, unlike the operators' parameter of that name: ``None`` for any.
    endpoint: str | None = None

    def __init__(
        self,
        *,
        endpoint: str | None = None,
        lookback: float = 90_000.0,
        **kwargs: Any,
    ) -> None:
        from airflow_provider_portkey.jobs.batch import ENDPOINTS
        from airflow_provider_portkey.validation import one_of

        super().__init__(lookback=lookback, **kwargs)
        self.endpoint = one_of(*ENDPOINTS, optional=True)("endpoint", endpoint)

    @classmethod
    def watched(cls, kwargs: Mapping[str, Any]) -> Watched:  # noqa: ARG003
        """Return all batches."""
        from airflow_provider_portkey.polling.run_tracker import ALL_BATCHES

        return ALL_BATCHES

    def _fields(self) -> dict[str, str | None]:
        return {"endpoint": self.endpoint}


async def _take_snapshot(
    client: AsyncPortkeyClient, watched: Watched, scope: Scope, known: Snapshot | None = None
) -> Snapshot:
    from airflow_provider_portkey.polling.drivers import adrive
    from airflow_provider_portkey.polling.run_tracker import plan_snapshot

    return await adrive(plan_snapshot(watched, scope, known), client.get)


def _described(watched: Watched) -> str:
    """Return the list's name for messages: ``runs of thread 'thread_1'``."""
    of = "".join(f" of {name.removesuffix('_id')} {value!r}" for name, value in watched.ids.items())
    return watched.list_spec.kind + of


def _load() -> None:
    """Import what watching needs, in a thread: the imports would block the event loop."""
    from airflow_provider_portkey.polling import drivers, poller, run_tracker  # noqa: F401
    from airflow_provider_portkey.state import asset  # noqa: F401
    from airflow_provider_portkey.triggers import event_delivery  # noqa: F401
