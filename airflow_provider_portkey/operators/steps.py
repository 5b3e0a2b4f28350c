"""The steps of a run to XCom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_portkey.tasks.base import XCOM_MAX_BYTES, PortkeyTaskMixin

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class PortkeyRunStepsOperator(PortkeyTaskMixin, BaseOperator):
    """
    Return the steps of a run, for the few kilobytes that XCom is made for.

    :param thread_id: The run's thread (templated).
    :param run_id: The run (templated).
    :param portkey_conn_id: The Airflow connection to Portkey (templated).
    :param order: ``"asc"`` or ``"desc"``, by the time of creation (templated).
    :param include: Names of additional fields to request, such as
        ``step_details.tool_calls[*].file_search.results[*].content`` (templated).
    :param max_bytes: Fail where the steps as JSON are larger. The default is what a 64 kB column of a metadata database
        holds with room to spare (templated).
    """

    template_fields: Sequence[str] = (
        *PortkeyTaskMixin.template_fields,
        "thread_id",
        "run_id",
        "order",
        "include",
        "max_bytes",
    )

    def __init__(
        self,
        *,
        thread_id: str,
        run_id: str,
        portkey_conn_id: str = "portkey_default",
        order: str = "asc",
        include: Sequence[str] | None = None,
        max_bytes: int = XCOM_MAX_BYTES,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.thread_id = thread_id
        self.run_id = run_id
        self.portkey_conn_id = portkey_conn_id
        self.order = order
        self.include = include
        self.max_bytes = max_bytes
        self._validate()

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """
        Return the steps, each as received.

        :raises PortkeyXComTooLargeError: at the first step beyond ``max_bytes``; later pages are not requested.
        """
        from airflow_provider_portkey.tasks.xcom import fit_for_xcom

        self._begin(context)
        return fit_for_xcom(
            self.hook.iter_run_steps(self.thread_id, self.run_id, order=self.order, include=self.include),
            max_bytes=self.max_bytes,
            what=f"steps of run {self.run_id!r}",
            instead="PortkeyRunStepsToObjectStorageOperator",
        )
