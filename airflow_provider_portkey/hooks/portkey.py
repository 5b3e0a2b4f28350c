"""The hook: one method for each Portkey call."""

from __future__ import annotations

from typing import Any

from airflow_provider_portkey.hooks.analytics import AnalyticsMixin
from airflow_provider_portkey.hooks.batches import BatchesMixin
from airflow_provider_portkey.hooks.connection import form_behaviour, form_widgets
from airflow_provider_portkey.hooks.fine_tuning import FineTuningMixin
from airflow_provider_portkey.hooks.log_exports import LogExportsMixin
from airflow_provider_portkey.hooks.responses import ResponsesMixin
from airflow_provider_portkey.hooks.threads import ThreadsMixin


class PortkeyHook(ThreadsMixin, ResponsesMixin, FineTuningMixin, BatchesMixin, LogExportsMixin, AnalyticsMixin):
    """
    Send requests to Portkey with the settings of an Airflow connection.

    :param portkey_conn_id: The Airflow connection of type ``portkey``, read at the first request.
    :param trace_id: Sent with every request as ``x-portkey-trace-id``; the connection's own trace id wins.
    """

    conn_name_attr = "portkey_conn_id"
    default_conn_name = "portkey_default"
    conn_type = "portkey"
    hook_name = "Portkey"

    # Both methods are defined in this class: Airflow before 3.2 does not read those of a base class.
    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the behaviour of the form's standard fields, for Airflow before 3.2."""
        return form_behaviour()

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's own fields, for Airflow before 3.2."""
        return form_widgets()
