"""Waiting on the triggerer for a run, and for many runs of a thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.exceptions import PortkeyRequestError
from airflow_provider_portkey.triggers.job import BasePortkeyTrigger

if TYPE_CHECKING:
    from airflow_provider_portkey.client.aio import AsyncPortkeyClient
    from airflow_provider_portkey.polling.coalescing import PollGroup
    from airflow_provider_portkey.polling.poller import Poller, PollOutcome
    from airflow_provider_portkey.polling.run_group import RunGroupPoller


class PortkeyRunTrigger(BasePortkeyTrigger):
    """
    Look at a run until it has ended; waits for several runs of one thread look together.

    :param thread_id: The run's thread.
    :param run_id: The run.
    :param wait: ``deadline`` and the other arguments of :class:`BasePortkeyTrigger`.
    """

    _company: PollGroup

    def __init__(self, *, thread_id: str, run_id: str, **wait: Any) -> None:
        from airflow_provider_portkey.jobs.run import RUN

        super().__init__(ids={"thread_id": thread_id, "run_id": run_id}, **wait)
        self.job = RUN

    async def _follow(self, client: AsyncPortkeyClient, poller: Poller) -> dict[str, Any]:
        from airflow_provider_portkey.polling.coalescing import join

        async with join(client, self.ids["thread_id"], self.ids["run_id"]) as self._company:
            return await super()._follow(client, poller)

    async def _answer(self, client: AsyncPortkeyClient, wait: float) -> Mapping[str, Any]:
        pause, interval = self._pause(wait), self.poll_interval
        run = await self._company.look(client, self.ids["run_id"], pause=pause, wait=wait, interval=interval)
        return await client.get(self.job.path, self.ids) if run is None else run


class PortkeyThreadRunsTrigger(BasePortkeyTrigger):
    """
    Look at many runs of a thread until all have ended, or one has ended well.

    :param thread_id: The thread.
    :param run_ids: The runs; ``None`` for those that are active at the first look.
    :param wait_for: ``"all"`` or ``"any"``.
    :param max_failed_runs: How many runs may end badly where all are waited for; ``None`` for any number.
    :param created_within: Seconds before the first look in which an active run was created.
    :param known: What the task that deferred knows of the runs.
    :param wait: ``deadline`` and the other arguments of :class:`BasePortkeyTrigger`.
    """

    def __init__(
        self,
        *,
        thread_id: str,
        run_ids: Sequence[str] | None = None,
        wait_for: str = "all",
        max_failed_runs: int | None = 0,
        created_within: float = 3600.0,
        known: Mapping[str, Any] | None = None,
        **wait: Any,
    ) -> None:
        from airflow_provider_portkey.jobs.run import RUN

        super().__init__(ids={"thread_id": thread_id}, **wait)
        self.job = RUN
        self.run_ids = run_ids
        self.wait_for = wait_for
        self.max_failed_runs = max_failed_runs
        self.created_within = created_within
        self.known = dict(known or {})
        self._group: RunGroupPoller | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments that make this trigger anew in another process."""
        classpath, arguments = super().serialize()
        return classpath, {
            **arguments,
            "run_ids": self.run_ids,
            "wait_for": self.wait_for,
            "max_failed_runs": self.max_failed_runs,
            "created_within": self.created_within,
            "known": self.known,
        }

    def _to_cancel(self) -> list[dict[str, str]]:
        waiting = self._group.waiting if self._group else self.known.get("waiting", self.run_ids)
        return [{**self.ids, "run_id": run_id} for run_id in waiting or ()]

    def _new_poller(self, **wait: Any) -> RunGroupPoller:
        from airflow_provider_portkey.polling.run_group import RunGroupPoller

        self._group = RunGroupPoller(
            self.ids["thread_id"],
            self.run_ids,
            wait_for=self.wait_for,
            max_failed_runs=self.max_failed_runs,
            created_within=self.created_within,
            known=self.known,
            **wait,
        )
        return self._group

    async def _look(self, client: AsyncPortkeyClient, poller: RunGroupPoller, wait: float) -> PollOutcome:
        from airflow_provider_portkey.polling.drivers import read_pages

        await self._pause(wait)
        found = await read_pages(client, self.ids["thread_id"], poller.pages(time.time()))
        alone = poller.unanswered(found)
        calls = (client.get(self.job.path, {**self.ids, "run_id": run_id}) for run_id in alone)
        failed: dict[str, PortkeyRequestError] = {}
        for run_id, answer in zip(alone, await asyncio.gather(*calls, return_exceptions=True), strict=True):
            if isinstance(answer, PortkeyRequestError):
                failed[run_id] = answer
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found[run_id] = answer
        return poller.on_poll(found, failed, time.time())
