"""Waiting for an export of Portkey's own logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_provider_portkey.sensors.base import BasePortkeySensor, declared


class PortkeyLogExportSensor(BasePortkeySensor):
    """
    Wait until a log export that was started elsewhere has ended, and return it.

    :param export_id: The export (templated).
    :param kwargs: The arguments of :class:`BasePortkeySensor` and of Airflow's sensors.
    """

    template_fields: Sequence[str] = ("portkey_conn_id", "export_id")
    ui_color = "#e8e4f8"
    job = declared("log_export", "LOG_EXPORT")

    def __init__(self, *, export_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.export_id = export_id
