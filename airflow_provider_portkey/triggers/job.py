"""Waiting on the triggerer for a job that its user declared, and for one log export of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
