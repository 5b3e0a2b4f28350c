"""A run's steps to XCom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_portkey.lazy import lazy_attribute

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class PortkeyRunStepsOperator(BaseOperator):
    """
    Return the steps of a run, for the few kilobytes that XCom is made for.

    :param thread_id: The run's thread (templated).
    :param run_id: The run (templated).
    :param portkey_conn_id: The Airflow connection (templated).
    :param order: ``"asc"`` or ``"desc"``, by the time of creation.
    :param include: Names of further fields to ask for, such as
        ``step_details.tool_calls[*].file_search.results[*].content`` (templated).
    :param max_bytes: Fail where the steps have more bytes as JSON. The default is what a 64 kB column of a
        metadata database holds with room to spare.
    """

    template_fields: Sequence[str] = ("portkey_conn_id", "thread_id", "run_id", "include")
    ui_color = "#e8e4f8"
    operator_extra_links = lazy_attribute("links", "TRACE_LINKS")

    def __init__(
        self,
        *,
        thread_id: str,
        run_id: str,
        portkey_conn_id: str = "portkey_default",
        order: str = "asc",
        include: Sequence[str] | None = None,
        max_bytes: int = 49_152,
        **kwargs: Any,
    ) -> None:
        from airflow_provider_portkey.tasks.xcom import check_max_bytes

        super().__init__(**kwargs)
        self.thread_id = thread_id
        self.run_id = run_id
        self.portkey_conn_id = portkey_conn_id
        self.order = order
        self.include = include
        self.max_bytes = max_bytes
        check_max_bytes(max_bytes)

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """
        Return the steps, each as Portkey sent it.

        :raises PortkeyXComTooLargeError: as soon as they are too large, without fetching the rest.
        """
        from airflow_provider_portkey.hooks.portkey import PortkeyHook
        from airflow_provider_portkey.links import trace_id_of
        from airflow_provider_portkey.tasks.xcom import fit_for_xcom

        hook = PortkeyHook(self.portkey_conn_id, trace_id=trace_id_of(context.get("ti")))
        return fit_for_xcom(
            hook.iter_run_steps(self.thread_id, self.run_id, order=self.order, include=self.include),
            max_bytes=self.max_bytes,
            what=f"steps of run {self.run_id!r}",
            instead="PortkeyRunStepsToObjectStorageOperator",
        )
