"""Waiting on the triggerer's event loop, for a job of any kind that is declared."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_portkey.exceptions import (
    PortkeyAuthenticationError,
    PortkeyConnectionInvalidError,
    PortkeyConnectionLookupError,
    PortkeyPaginationError,
    PortkeyRequestError,
)

if TYPE_CHECKING:
    from airflow_provider_portkey.client.aio import AsyncPortkeyClient
    from airflow_provider_portkey.client.settings import ConnectionSettings
    from airflow_provider_portkey.jobs.spec import JobSpec
    from airflow_provider_portkey.polling.coalescing import DirectPolling, SharedPolling
    from airflow_provider_portkey.polling.events import Event
    from airflow_provider_portkey.polling.job_sequence import JobSequencePoller
    from airflow_provider_portkey.polling.poller import Poller, PollOutcome
    from airflow_provider_portkey.polling.wait_state import WaitState

#: Seconds for cancelling a job: Airflow itself gives ``on_kill`` 30.
_CANCEL_TIMEOUT = 25.0
#: Cancelled jobs that the log names.
_MAX_NAMED = 5


@dataclass(frozen=True)
class _Rejected:
    """Settings that were refused with 401, until the connection is read again."""

    settings: ConnectionSettings
    error: PortkeyAuthenticationError


class BasePortkeyTrigger(BaseTrigger):
    """
    Poll a job until the job has finished, and emit one event that says how.

    A subclass names the kind of job. All arguments are plain values that survive the trip through the database;
    credentials do not travel, the connection is read where the trigger runs.

    :param ids: The job's ids by name.
    :param wait_state: The wait, as :meth:`WaitState.to_dict` gives it.
    :param portkey_conn_id: The Airflow connection.
    :param cancel_on_kill: Cancel the job when a user marks or clears the deferred task (Airflow 3.3 and newer).
    :param trace_id: Sent with every request to Portkey.
    :param task_metadata: Sent with every request as Portkey metadata: which task waits.
    """

    job: JobSpec

    def __init__(
        self,
        *,
        ids: Mapping[str, str],
        wait_state: Mapping[str, Any],
        portkey_conn_id: str = "portkey_default",
        cancel_on_kill: bool = False,
        trace_id: str | None = None,
        task_metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ids = dict(ids)
        self.wait_state = dict(wait_state)
        self.portkey_conn_id = portkey_conn_id
        self.cancel_on_kill = cancel_on_kill
        self.trace_id = trace_id
        self.task_metadata = dict(task_metadata or {})

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments that make this trigger again in another process."""
        from airflow_provider_portkey.json_values import storable

        cls = type(self)
        arguments = {
            **self._job_arguments(),
            "wait_state": self.wait_state,
            "portkey_conn_id": self.portkey_conn_id,
            "cancel_on_kill": self.cancel_on_kill,
            "trace_id": self.trace_id,
            "task_metadata": self.task_metadata,
        }
        return f"{cls.__module__}.{cls.__qualname__}", storable(arguments)

    def _job_arguments(self) -> dict[str, Any]:
        """Return the arguments that say which job."""
        return {**self.ids}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield the only event: how the wait ended."""
        yield TriggerEvent(await self._wait())  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Cancel the job, if that was requested, when a user marks or clears the deferred task."""
        if not self.cancel_on_kill or self.job.cancel_path is None:
            return
        if not (to_cancel := self._to_cancel()):
            return
        from airflow_provider_portkey.async_log import write_line

        names = list(map(self.job.describe, to_cancel[:_MAX_NAMED]))
        names += [f"{more} more"] if (more := len(to_cancel) - _MAX_NAMED) > 0 else []
        async with asyncio.timeout(_CANCEL_TIMEOUT), await self._open() as client:
            # The jobs do not wait for the line, and a job that cannot be cancelled any more keeps none of the others.
            line = write_line(self.log.info, "Cancelling %s, because the task was stopped.", ", ".join(names))
            calls = (client.post(self.job.cancel_path, ids, self.job.cancel_body) for ids in to_cancel)
            results = await asyncio.gather(line, *calls, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _open(self) -> AbstractAsyncContextManager[AsyncPortkeyClient]:
        return await open_portkey(self.portkey_conn_id, self.trace_id, self.task_metadata)

    def _to_cancel(self) -> list[dict[str, str]]:
        """Return the jobs that the task waits for."""
        return [self.ids]

    async def _wait(self) -> dict[str, Any]:
        """Poll until the wait has ended, and return the event."""
        await asyncio.to_thread(_load)
        from airflow_provider_portkey.polling.drivers import sleep_to_grid
        from airflow_provider_portkey.polling.wait_state import WaitState
        from airflow_provider_portkey.triggers.beginning import take_turn

        poller = self._new_poller(WaitState.from_dict(self.wait_state))
        rejected: _Rejected | None = None
        while True:
            try:
                opening = await self._open()
                await take_turn()
                async with opening as client, self._polling(client) as polling:
                    event, rejected = await self._poll(poller, polling, client.settings, rejected)
            except (PortkeyConnectionInvalidError, PortkeyConnectionLookupError) as error:
                event = await self._report(poller.on_failure(error, time.time()))
                if event is None:
                    await sleep_to_grid(poller.state.next_poll_at - time.time())
            if event is not None:
                return event

    async def _poll(
        self,
        poller: Poller,
        polling: DirectPolling | SharedPolling,
        settings: ConnectionSettings,
        rejected: _Rejected | None,
    ) -> tuple[Event | None, _Rejected | None]:
        """
        Poll with the settings of one look-up of the connection.

        :param rejected: The settings that were refused with 401 before this look-up.
        :return: The event; or ``None`` and these settings, where the connection has to be read again.
        """
        from airflow_provider_portkey.polling.phase import keep_phase

        if rejected is not None and rejected.settings == settings:
            if event := await self._report(poller.on_failure(rejected.error, time.time())):
                return event, None
            rejected = None
        while True:
            due_at = poller.state.next_poll_at
            try:
                # Without a name: a wait would keep its latest response until the next poll.
                outcome = poller.on_response(await polling.next_response(poller), now := time.time())
                poller.state = keep_phase(poller.state, due_at, now)
            except PortkeyAuthenticationError as error:
                if rejected is None:  # perhaps the key was rotated
                    return None, _Rejected(settings, error)
                outcome = poller.on_failure(error, time.time())
            except (PortkeyRequestError, PortkeyPaginationError) as error:
                outcome = poller.on_failure(error, time.time())
            rejected = None
            if event := await self._report(outcome):
                return event, None

    async def _report(self, outcome: PollOutcome) -> Event | None:
        if outcome.report:
            from airflow_provider_portkey.async_log import write_line

            await write_line(outcome.log_to, self.log)
        return outcome.event

    def _new_poller(self, state: WaitState) -> Poller:
        from airflow_provider_portkey.polling.poller import Poller

        return Poller(self.job, self.ids, state)

    def _polling(self, client: AsyncPortkeyClient) -> AbstractAsyncContextManager[DirectPolling | SharedPolling]:
        """Open what returns the job's next response when the next poll is due."""
        from airflow_provider_portkey.polling.coalescing import DirectPolling

        return nullcontext(DirectPolling(client))


class PortkeyRemoteJobTrigger(BasePortkeyTrigger):
    """
    Poll a job of any declared kind until the job has finished.

    :param job_spec: The declaration, as :meth:`JobSpec.to_dict` gives it.
    :param ids: The job's ids by name.
    :param kwargs: ``wait_state`` and the other arguments of :class:`BasePortkeyTrigger`.
    """

    def __init__(self, *, job_spec: Mapping[str, Any], ids: Mapping[str, str], **kwargs: Any) -> None:
        from airflow_provider_portkey.jobs.spec import JobSpec

        super().__init__(ids=ids, **kwargs)
        self.job = JobSpec(**job_spec)

    def _job_arguments(self) -> dict[str, Any]:
        return {"job_spec": self.job.to_dict(), "ids": self.ids}


class PortkeyRemoteJobsTrigger(BasePortkeyTrigger):
    """
    Poll several jobs of a declared kind until all have succeeded, or one has failed.

    :param job_spec: The declaration, as :meth:`JobSpec.to_dict` gives it.
    :param pending: The jobs, by their ids; at least one.
    :param kwargs: ``wait_state`` and the other arguments of :class:`BasePortkeyTrigger`.
    """

    def __init__(self, *, job_spec: Mapping[str, Any], pending: Sequence[Mapping[str, str]], **kwargs: Any) -> None:
        from airflow_provider_portkey.jobs.spec import JobSpec

        super().__init__(ids=pending[0], **kwargs)
        self.job = JobSpec(**job_spec)
        self.pending = [dict(ids) for ids in pending]
        self._poller: JobSequencePoller | None = None

    def _job_arguments(self) -> dict[str, Any]:
        return {"job_spec": self.job.to_dict(), "pending": self.pending}

    def _to_cancel(self) -> list[dict[str, str]]:
        return self._poller.pending if self._poller else self.pending

    def _new_poller(self, state: WaitState) -> JobSequencePoller:
        from airflow_provider_portkey.polling.job_sequence import JobSequencePoller

        self._poller = JobSequencePoller(self.job, self.pending, state)
        return self._poller


async def open_portkey(
    portkey_conn_id: str, trace_id: str | None = None, task_metadata: Mapping[str, str] | None = None
) -> AbstractAsyncContextManager[AsyncPortkeyClient]:
    """
    Read an Airflow connection, and return what opens a client of it on the running loop.

    :param trace_id: Sent by the client.
    :param task_metadata: Sent by the client.
    :raises PortkeyConnectionInvalidError: naming every field that is wrong.
    :raises PortkeyConnectionLookupError: where Airflow did not return the connection.
    """
    await asyncio.to_thread(_load)
    from airflow_provider_portkey.client.aio import open_client
    from airflow_provider_portkey.triggers.beginning import look_up

    return open_client(await look_up(portkey_conn_id, trace_id), trace_id=trace_id, task_metadata=task_metadata)


def _load() -> None:
    """Import what a wait needs, in a thread: the imports would block the event loop for tenths of a second."""
    from airflow_provider_portkey.client import aio  # noqa: F401
    from airflow_provider_portkey.polling import coalescing, phase, run_group  # noqa: F401
    from airflow_provider_portkey.triggers import beginning  # noqa: F401
