"""Waiting on the triggerer for a job that its user declared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_portkey.triggers.base import BasePortkeyTrigger


class PortkeyJobTrigger(BasePortkeyTrigger):
    """
    Look at a job of any declared kind until it has ended.

    :param job: The declaration, as :meth:`Job.to_dict` gives it.
    :param ids: Which job.
    :param wait: ``deadline`` and the other arguments of :class:`BasePortkeyTrigger`.
    """

    def __init__(self, *, job: Mapping[str, Any], ids: Mapping[str, str], **wait: Any) -> None:
        from airflow_provider_portkey.jobs.base import Job

        super().__init__(ids=ids, **wait)
        self.job = Job(**job)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments that make this trigger anew in another process."""
        classpath, arguments = super().serialize()
        wait = {name: value for name, value in arguments.items() if name not in self.ids}
        return classpath, {"job": self.job.to_dict(), "ids": self.ids, **wait}
