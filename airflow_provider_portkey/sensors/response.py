"""Waiting for a background response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_provider_portkey.sensors.base import BasePortkeySensor, declared


class PortkeyResponseSensor(BasePortkeySensor):
    """
    Wait until a background response has ended, and return it without its output, instructions and tools.

    :param response_id: The background response (templated).
    :param kwargs: The arguments of :class:`BasePortkeySensor` and of Airflow's sensors.
    """

    template_fields: Sequence[str] = ("portkey_conn_id", "response_id")
    ui_color = "#e8e4f8"
    job = declared("response", "RESPONSE")

    def __init__(self, *, response_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.response_id = response_id
