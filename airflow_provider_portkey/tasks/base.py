"""The base of every task: its connection, a hook that sends the trace id of the try, and the link to the trace."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import TYPE_CHECKING

from airflow_provider_portkey import lazy_attribute

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_portkey.hooks.portkey import PortkeyHook

#: Bytes of JSON for XCom by default: three quarters of a 64 kB column of a metadata database.
XCOM_MAX_BYTES = 49_152


class PortkeyTaskMixin:
    """
    Mixed into Airflow's operators and sensors.

    :param portkey_conn_id: The Airflow connection to Portkey (templated).
    """

    template_fields: Collection[str] = ("portkey_conn_id",)
    ui_color = "#e8e4f8"
    operator_extra_links = lazy_attribute("links", "TRACE_LINKS")
    portkey_conn_id: str
    _trace_id: str | None = None

    @cached_property
    def hook(self) -> PortkeyHook:
        """The hook on the rendered connection id."""
        from airflow_provider_portkey.hooks.portkey import PortkeyHook

        return PortkeyHook(self.portkey_conn_id, trace_id=self._trace_id)

    def _begin(self, context: Context) -> None:
        """
        Check the rendered parameters, and send the trace id of this try with every request from here on.

        A task does this first in each of its processes.

        :raises PortkeyInvalidArgumentError: naming the parameter that is wrong.
        """
        from airflow_provider_portkey.links import trace_id_of
        from airflow_provider_portkey.parameters import validate_parameters

        validate_parameters(self, rendered=True)
        trace_id = trace_id_of(context.get("ti"))
        if trace_id != self._trace_id:
            self._trace_id = trace_id
            self.__dict__.pop("hook", None)

    def _validate(self) -> None:
        """Check the parameters that are not templated; the last thing that a constructor does."""
        from airflow_provider_portkey.parameters import validate_parameters

        validate_parameters(self)
