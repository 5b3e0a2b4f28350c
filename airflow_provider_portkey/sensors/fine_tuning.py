"""Waiting for a fine-tuning job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_provider_portkey.sensors.base import BasePortkeySensor, declared


class PortkeyFineTuningJobSensor(BasePortkeySensor):
    """
    Wait until a fine-tuning job has ended, and return it.

    :param job_id: The fine-tuning job (templated).
    :param kwargs: The arguments of :class:`BasePortkeySensor` and of Airflow's sensors.
    """

    template_fields: Sequence[str] = ("portkey_conn_id", "job_id")
    ui_color = "#e8e4f8"
    job = declared("fine_tuning", "FINE_TUNING")

    def __init__(self, *, job_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
