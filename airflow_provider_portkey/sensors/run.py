"""Waiting for a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.sensors.base import BasePortkeySensor, declared

if TYPE_CHECKING:
    from airflow_provider_portkey.triggers.run import PortkeyRunTrigger


class PortkeyRunSensor(BasePortkeySensor):
    """
    Wait until a run has ended, and return it without its instructions and tools.

    It succeeds at ``completed``, fails with the run's own reason at ``failed``, ``cancelled``, ``expired`` and
    ``incomplete``, and goes on at every other status, also at one that nobody knows.

    :param thread_id: The run's thread (templated).
    :param run_id: The run (templated).
    :param kwargs: The arguments of :class:`BasePortkeySensor` and of Airflow's sensors.
    """

    template_fields: Sequence[str] = ("portkey_conn_id", "thread_id", "run_id")
    ui_color = "#e8e4f8"
    job = declared("run", "RUN")

    def __init__(self, *, thread_id: str, run_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.thread_id = thread_id
        self.run_id = run_id

    def _new_trigger(self, **wait: Any) -> PortkeyRunTrigger:
        from airflow_provider_portkey.triggers.run import PortkeyRunTrigger

        return PortkeyRunTrigger(thread_id=self.thread_id, run_id=self.run_id, **wait)
