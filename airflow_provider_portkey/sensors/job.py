"""Waiting for a job of a kind that this provider does not know, declared by its user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.exceptions import PortkeyInvalidArgument
from airflow_provider_portkey.sensors.base import BasePortkeySensor

if TYPE_CHECKING:
    from airflow_provider_portkey.jobs.base import Job


class PortkeyJobSensor(BasePortkeySensor):
    """
    Wait until a job has ended that Portkey passes through to its provider, and return it without its bulky fields.

    :param job: The declaration: where the job is looked at, and what its statuses mean.
    :param ids: Which job: a value for each ``{name}`` in the declaration's path (templated).
    :param kwargs: The arguments of :class:`BasePortkeySensor` and of Airflow's sensors.
    """

    template_fields: Sequence[str] = ("portkey_conn_id", "ids")
    ui_color = "#e8e4f8"

    def __init__(self, *, job: Job, ids: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job = job  # type: ignore[misc]
        self.ids = dict(ids)
        if self.ids.keys() != set(job.id_names):
            raise PortkeyInvalidArgument("ids", sorted(self.ids), f"one value for each of {', '.join(job.id_names)}")

    @property
    def _job_ids(self) -> dict[str, str]:
        return self.ids
