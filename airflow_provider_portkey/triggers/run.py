"""Waiting for a run on the triggerer."""

from __future__ import annotations

from typing import Any

from airflow_provider_portkey.triggers.base import BasePortkeyTrigger


class PortkeyRunTrigger(BasePortkeyTrigger):
    """
    Look at a run until it has ended.

    :param thread_id: The run's thread.
    :param run_id: The run.
    :param wait: ``deadline`` and the other arguments of :class:`BasePortkeyTrigger`.
    """

    def __init__(self, *, thread_id: str, run_id: str, **wait: Any) -> None:
        from airflow_provider_portkey.jobs.run import RUN

        super().__init__(ids={"thread_id": thread_id, "run_id": run_id}, **wait)
        self.job = RUN
