"""Waiting for a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_provider_portkey.sensors.base import BasePortkeySensor, declared


class PortkeyBatchSensor(BasePortkeySensor):
    """
    Wait until a batch has ended, and return it; its counts of requests are in the log as they move.

    :param batch_id: The batch (templated).
    :param kwargs: The arguments of :class:`BasePortkeySensor` and of Airflow's sensors.
    """

    template_fields: Sequence[str] = ("portkey_conn_id", "batch_id")
    ui_color = "#e8e4f8"
    job = declared("batch", "BATCH")

    def __init__(self, *, batch_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.batch_id = batch_id
