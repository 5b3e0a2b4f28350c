"""Reports: a run or a batch as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_portkey.tasks.base import PortkeyTaskMixin

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class PortkeyRunReportOperator(PortkeyTaskMixin, BaseOperator):
    """
    Write a run as one HTML page: timeline, tokens and cost, tool calls, messages, errors.

    The page has no scripts, requests nothing from anywhere, and shows model output as text only. The page is whole at
    its path or absent, and has the same bytes for the same run. On Airflow 3.1 and newer the task instance has a tab
    with the page. Needs the extra ``report``.

    :param thread_id: The run's thread (templated).
    :param run_id: The run (templated).
    :param path: The file: a local path or any URL of ``ObjectStoragePath``, such as ``s3://bucket/{{ ds }}/run.html``
        (templated).
    :param include_messages: Show the texts of the messages that the run wrote, which takes further requests
        (templated).
    :param portkey_conn_id: The Airflow connection to Portkey (templated).
    :param object_storage_conn_id: The Airflow connection to the object store, if the store needs one (templated).
    :param overwrite: Replace an existing file, rather than fail before the first request (templated).
    """

    template_fields: Sequence[str] = (
        *PortkeyTaskMixin.template_fields,
        "thread_id",
        "run_id",
        "path",
        "include_messages",
        "object_storage_conn_id",
        "overwrite",
    )

    def __init__(
        self,
        *,
        thread_id: str,
        run_id: str,
        path: str,
        include_messages: bool = True,
        portkey_conn_id: str = "portkey_default",
        object_storage_conn_id: str | None = None,
        overwrite: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.thread_id = thread_id
        self.run_id = run_id
        self.path = path
        self.include_messages = include_messages
        self.portkey_conn_id = portkey_conn_id
        self.object_storage_conn_id = object_storage_conn_id
        self.overwrite = overwrite
        self._validate()

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Write the page and return its manifest.

        :raises PortkeyInvalidArgumentError: naming the parameter that is wrong.
        :raises PortkeyDestinationExistsError: where the file exists and ``overwrite`` is off.
        :raises PortkeyPathError: where the file cannot be written.
        """
        from airflow_provider_portkey.report.export import write_run_report

        self._begin(context)
        return write_run_report(
            self.hook,
            self.thread_id,
            self.run_id,
            path=self.path,
            object_storage_conn_id=self.object_storage_conn_id,
            include_messages=self.include_messages,
            overwrite=self.overwrite,
        )
