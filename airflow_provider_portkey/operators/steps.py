"""A run's steps to XCom."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_portkey.exceptions import PortkeyInvalidArgument, PortkeyXComTooLarge

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
        super().__init__(**kwargs)
        self.thread_id = thread_id
        self.run_id = run_id
        self.portkey_conn_id = portkey_conn_id
        self.order = order
        self.include = include
        self.max_bytes = max_bytes
        if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 1:
            raise PortkeyInvalidArgument("max_bytes", max_bytes, "a whole number of bytes, at least 1")

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """
        Return the steps, each as Portkey sent it.

        :raises PortkeyXComTooLarge: as soon as they are too large, without fetching the rest.
        """
        from airflow_provider_portkey.hooks.portkey import PortkeyHook

        hook = PortkeyHook(self.portkey_conn_id)
        steps: list[dict[str, Any]] = []
        size = 2
        for step in hook.iter_run_steps(self.thread_id, self.run_id, order=self.order, include=self.include):
            size += len(json.dumps(step)) + 2
            if size > self.max_bytes:
                raise PortkeyXComTooLarge(
                    f"The steps of run {self.run_id!r} have more than max_bytes={self.max_bytes} bytes as JSON "
                    f"(the first {len(steps) + 1} of them have {size}). Use PortkeyRunStepsToObjectStorageOperator, "
                    "which writes them to a file and returns a manifest, or raise max_bytes if your XCom backend "
                    "is made for it."
                )
            steps.append(step)
        self.log.info("Run %r has %d steps, %d bytes as JSON.", self.run_id, len(steps), size)
        return steps
