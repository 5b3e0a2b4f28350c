"""Waiting on the triggerer's event loop: for any kind of job, for one that its user declared, for log exports."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_portkey.exceptions import PortkeyRequestError
from airflow_provider_portkey.jobs.spec import DEFAULT_POLL_INTERVAL, JobSpec

if TYPE_CHECKING:
    from airflow_provider_portkey.client.aio import AsyncPortkeyClient
    from airflow_provider_portkey.hooks.portkey import PortkeyHook
    from airflow_provider_portkey.polling.poller import Poller, PollOutcome

#: Seconds for cancelling a job: Airflow itself gives ``on_kill`` 30.
_CANCEL_TIMEOUT = 25.0
#: Of the jobs that are cancelled, so many are named in the log.
_NAMED = 5
#: Seconds between the moments at which waits wake up, all together: a turn of the event loop that serves many costs
#: hardly more than one that serves a single wait. It halves the CPU of a thousand waits (benchmarks/triggerer_cpu.py).
_GRID = 0.25


class BasePortkeyTrigger(BaseTrigger):
    """
    Look at a job until it has ended, and say how in one event.

    A subclass names the kind of job. All arguments are plain values that survive the trip through the database;
    settings do not travel, the connection is read where the trigger runs.

    :param ids: Which job.
    :param deadline: When the wait ends at the latest, epoch seconds.
    :param portkey_conn_id: The Airflow connection.
    :param poll_interval: Seconds between two looks.
    :param max_consecutive_failures: Looks that may fail in a row, ``None`` for any number.
    :param on_requires_action: ``"fail"``, ``"wait"`` or ``"return"`` when the job waits for its caller.
    :param cancel_on_kill: Cancel the job when a user marks or clears the deferred task (Airflow 3.3 and newer).
    :param started: When the wait began, epoch seconds; ``None`` for now.
    :param next_look: When to look first, epoch seconds; ``None`` for now.
    :param status: The status seen last by the task that deferred.
    :param failures: The failures in a row seen last by the task that deferred.
    :param progress: The counts seen last by the task that deferred.
    :param trace_id: Goes with every request to Portkey.
    """

    job: JobSpec

    def __init__(
        self,
        *,
        ids: Mapping[str, str],
        deadline: float,
        portkey_conn_id: str = "portkey_default",
        poll_interval: float = DEFAULT_POLL_INTERVAL,
        max_consecutive_failures: int | None = 5,
        on_requires_action: str = "fail",
        cancel_on_kill: bool = False,
        started: float | None = None,
        next_look: float | None = None,
        status: str | None = None,
        failures: int = 0,
        progress: str = "",
        trace_id: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ids = dict(ids)
        self.deadline = deadline
        self.portkey_conn_id = portkey_conn_id
        self.poll_interval = poll_interval
        self.max_consecutive_failures = max_consecutive_failures
        self.on_requires_action = on_requires_action
        self.cancel_on_kill = cancel_on_kill
        self.started = time.time() if started is None else started
        self.next_look = self.started if next_look is None else next_look
        self.status = status
        self.failures = failures
        self.progress = progress
        self.trace_id = trace_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments that make this trigger anew in another process."""
        cls = type(self)
        return f"{cls.__module__}.{cls.__qualname__}", {
            **self.ids,
            "deadline": self.deadline,
            "portkey_conn_id": self.portkey_conn_id,
            "poll_interval": self.poll_interval,
            "max_consecutive_failures": self.max_consecutive_failures,
            "on_requires_action": self.on_requires_action,
            "cancel_on_kill": self.cancel_on_kill,
            "started": self.started,
            "next_look": self.next_look,
            "status": self.status,
            "failures": self.failures,
            "progress": self.progress,
            "trace_id": self.trace_id,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield the one event that ends the wait."""
        yield TriggerEvent(await self._wait())  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Cancel the job, if it was asked for, when a user marks or clears the deferred task."""
        if not self.cancel_on_kill or self.job.cancel_path is None:
            return
        if not (to_cancel := self._to_cancel()):
            return
        names = list(map(self.job.describe, to_cancel[:_NAMED]))
        names += [f"{more} more"] if (more := len(to_cancel) - _NAMED) > 0 else []
        self.log.info("Cancelling %s, because the task was stopped.", ", ".join(names))
        async with asyncio.timeout(_CANCEL_TIMEOUT), self._client() as client:
            calls = (client.post(self.job.cancel_path, ids) for ids in to_cancel)
            # One that cannot be cancelled any more keeps none of the others.
            answers = await asyncio.gather(*calls, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    def _to_cancel(self) -> list[dict[str, str]]:
        """Return which jobs go with the task; a subclass adds those that the task waits for later."""
        return [self.ids]

    async def _wait(self) -> dict[str, Any]:
        poller = self._new_poller(
            started=self.started,
            deadline=self.deadline,
            poke_interval=self.poll_interval,
            max_consecutive_failures=self.max_consecutive_failures,
            on_requires_action=self.on_requires_action,
            status=self.status,
            failures=self.failures,
            progress=self.progress,
        )
        async with self._client() as client:
            return await self._follow(client, poller)

    def _new_poller(self, **wait: Any) -> Poller:
        from airflow_provider_portkey.polling.poller import Poller

        return Poller(self.job, self.ids, **wait)

    async def _follow(self, client: AsyncPortkeyClient, poller: Poller) -> dict[str, Any]:
        """Look until the wait has ended, and return the event."""
        wait = self.next_look - time.time()
        while True:
            try:
                outcome = await self._look(client, poller, wait)
            except PortkeyRequestError as error:
                outcome = poller.on_failure(error, time.time())
            outcome.log_to(self.log)
            if outcome.event is not None:
                return outcome.event
            wait = outcome.wait

    async def _look(self, client: AsyncPortkeyClient, poller: Any, wait: float) -> PollOutcome:
        """Look once, when so many seconds are over. A subclass looks at more than one job."""
        outcome: PollOutcome = poller.on_response(await self._answer(client, wait), time.time())
        return outcome

    async def _answer(self, client: AsyncPortkeyClient, wait: float) -> Mapping[str, Any]:
        """Return the job as it is when so many seconds are over. A subclass may learn it from others."""
        await self._pause(wait)
        return await client.get(self.job.path, self.ids)

    async def _pause(self, seconds: float) -> None:
        await sleep_to_grid(seconds)

    def _client(self) -> AbstractAsyncContextManager[AsyncPortkeyClient]:
        return open_portkey(self.portkey_conn_id, trace_id=self.trace_id)


class PortkeyRemoteJobTrigger(BasePortkeyTrigger):
    """
    Look at a job of any declared kind until it has ended.

    :param job_spec: The declaration, as :meth:`JobSpec.to_dict` gives it.
    :param ids: Which job.
    :param wait: ``deadline`` and the other arguments of :class:`BasePortkeyTrigger`.
    """

    def __init__(self, *, job_spec: Mapping[str, Any], ids: Mapping[str, str], **wait: Any) -> None:
        super().__init__(ids=ids, **wait)
        self.job = JobSpec(**job_spec)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments that make this trigger anew in another process."""
        classpath, arguments = super().serialize()
        wait = {name: value for name, value in arguments.items() if name not in self.ids}
        return classpath, {"job_spec": self.job.to_dict(), "ids": self.ids, **wait}


class PortkeyLogExportTrigger(BasePortkeyTrigger):
    """
    Look at a log export until it has ended.

    :param export_id: The export.
    :param others: Further exports of the same task, which are cancelled with it.
    :param wait: ``deadline`` and the other arguments of :class:`BasePortkeyTrigger`.
    """

    def __init__(self, *, export_id: str, others: Sequence[str] = (), **wait: Any) -> None:
        from airflow_provider_portkey.jobs.log_export import LOG_EXPORT

        super().__init__(ids={"export_id": export_id}, **wait)
        self.job = LOG_EXPORT
        self.others = list(others)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments that make this trigger anew in another process."""
        classpath, arguments = super().serialize()
        return classpath, {**arguments, "others": self.others}

    def _to_cancel(self) -> list[dict[str, str]]:
        return [self.ids, *({"export_id": export_id} for export_id in self.others)]


@asynccontextmanager
async def open_portkey(portkey_conn_id: str, *, trace_id: str | None = None) -> AsyncIterator[AsyncPortkeyClient]:
    """Read an Airflow connection and open a client of it on the running loop, which sends a trace id."""
    open_client, hook = await asyncio.to_thread(_load)
    async with open_client(await hook(portkey_conn_id).aget_settings(), trace_id=trace_id) as client:
        yield client


async def sleep_to_grid(seconds: float) -> None:
    """Sleep at least so long, and up to the next point of the common grid."""
    if seconds > 0:
        until = time.time() + seconds
        grid = min(_GRID, seconds / 10)
        await asyncio.sleep(until + -until % grid - time.time())


def _load() -> tuple[Callable[..., AbstractAsyncContextManager[AsyncPortkeyClient]], type[PortkeyHook]]:
    """Import what a wait needs, in a thread: it would hold up the event loop for tenths of a second."""
    from airflow_provider_portkey.client.aio import open_client
    from airflow_provider_portkey.hooks.portkey import PortkeyHook

    return open_client, PortkeyHook
