"""Waiting on the triggerer for a run, and for many runs of a thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey import lazy_attribute
from airflow_provider_portkey.triggers.job import BasePortkeyTrigger

if TYPE_CHECKING:
    from airflow_provider_portkey.client.aio import AsyncPortkeyClient
    from airflow_provider_portkey.polling.coalescing import SharedPolling
    from airflow_provider_portkey.polling.run_group import RunGroupPoller
    from airflow_provider_portkey.polling.wait_state import WaitState


class PortkeyRunTrigger(BasePortkeyTrigger):
    """
    Poll a run until the run has finished; waits for several runs of one thread share their polls.

    :param thread_id: The run's thread.
    :param run_id: The run.
    :param kwargs: ``wait_state`` and the other arguments of :class:`BasePortkeyTrigger`.
    """

    job = lazy_attribute("jobs.run", "RUN")

    def __init__(self, *, thread_id: str, run_id: str, **kwargs: Any) -> None:
        super().__init__(ids={"thread_id": thread_id, "run_id": run_id}, **kwargs)

    def _polling(self, client: AsyncPortkeyClient) -> AbstractAsyncContextManager[SharedPolling]:
        from airflow_provider_portkey.polling.coalescing import shared_polling

        return shared_polling(client, **self.ids)


class PortkeyThreadRunsTrigger(BasePortkeyTrigger):
    """
    Poll many runs of a thread until all have finished, or one has succeeded.

    :param thread_id: The thread.
    :param run_ids: The runs; ``None`` for the runs that are active at the first poll.
    :param wait_for: ``"all"`` or ``"any"``.
    :param max_failed_runs: How many runs may fail where all are waited for; ``None`` for any number.
    :param created_within: Seconds before the first poll within which an active run was created.
    :param known: What the task that deferred knows of the runs.
    :param kwargs: ``wait_state`` and the other arguments of :class:`BasePortkeyTrigger`.
    """

    job = lazy_attribute("jobs.run", "RUN")

    def __init__(
        self,
        *,
        thread_id: str,
        run_ids: Sequence[str] | None = None,
        wait_for: str = "all",
        max_failed_runs: int | None = 0,
        created_within: float = 3600.0,
        known: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(ids={"thread_id": thread_id}, **kwargs)
        self.run_ids = run_ids
        self.wait_for = wait_for
        self.max_failed_runs = max_failed_runs
        self.created_within = created_within
        self.known = dict(known or {})
        self._poller: RunGroupPoller | None = None

    def _job_arguments(self) -> dict[str, Any]:
        return {
            **self.ids,
            "run_ids": self.run_ids,
            "wait_for": self.wait_for,
            "max_failed_runs": self.max_failed_runs,
            "created_within": self.created_within,
            "known": self.known,
        }

    def _to_cancel(self) -> list[dict[str, str]]:
        waiting = self._poller.waiting if self._poller else self.known.get("waiting", self.run_ids)
        return [{**self.ids, "run_id": run_id} for run_id in waiting or ()]

    def _new_poller(self, state: WaitState) -> RunGroupPoller:
        from airflow_provider_portkey.polling.run_group import RunGroupPoller

        self._poller = RunGroupPoller(
            self.ids["thread_id"],
            self.run_ids,
            state,
            wait_for=self.wait_for,
            max_failed_runs=self.max_failed_runs,
            created_within=self.created_within,
            known=self.known,
        )
        return self._poller
