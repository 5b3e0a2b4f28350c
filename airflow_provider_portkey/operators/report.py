"""Reports: a run or a batch as one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_portkey.tasks.base import PortkeyFileTaskMixin, PortkeyTaskMixin

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class BasePortkeyReportOperator(PortkeyFileTaskMixin, PortkeyTaskMixin, BaseOperator):
    """
    Write one HTML page.

    The page has no scripts, requests nothing from anywhere, and shows model output as text only. The page is whole at
    its path or absent, and has the same bytes for the same content. On Airflow 3.1 and newer the task instance has a
    tab with the page. Needs the extra ``report``.

    :param path: The page: a local path or any URL of ``ObjectStoragePath``, such as ``s3://bucket/{{ ds }}/run.html``
        (templated).
    :param portkey_conn_id: The Airflow connection to Portkey (templated).
    :param object_storage_conn_id: The Airflow connection to the object store, if the store needs one (templated).
    :param overwrite: Replace an existing page, rather than fail before the first request (templated).
    """

    template_fields: Sequence[str] = (
        *PortkeyTaskMixin.template_fields,
        "object_storage_conn_id",
        "path",
        "overwrite",
    )

    def __init__(
        self,
        *,
        path: str,
        portkey_conn_id: str = "portkey_default",
        object_storage_conn_id: str | None = None,
        overwrite: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.portkey_conn_id = portkey_conn_id
        self.object_storage_conn_id = object_storage_conn_id
        self.overwrite = overwrite

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Write the page and return its manifest.

        :raises PortkeyInvalidArgumentError: naming the parameter that is wrong.
        :raises PortkeyDestinationExistsError: where the file exists and ``overwrite`` is off.
        :raises PortkeyPathError: where a file cannot be read or written.
        """
        self._begin(context)
        manifest, read = self._write(
            path=self.path, object_storage_conn_id=self.object_storage_conn_id, overwrite=self.overwrite
        )
        self._report_files(context, manifest, inputs=read, columns={})
        return manifest

    def _write(self, **destination: Any) -> tuple[dict[str, Any], list[str]]:
        """Write the page, and return its manifest and the URIs of what was read."""
        raise NotImplementedError


class PortkeyRunReportOperator(BasePortkeyReportOperator):
    """
    Write a run as one HTML page: timeline, tokens and cost, tool calls, messages, errors.

    :param thread_id: The run's thread (templated).
    :param run_id: The run (templated).
    :param include_messages: Show the texts of the messages that the run wrote, which takes further requests
        (templated).
    :param kwargs: The arguments of :class:`BasePortkeyReportOperator`.
    """

    template_fields: Sequence[str] = (
        *BasePortkeyReportOperator.template_fields,
        "thread_id",
        "run_id",
        "include_messages",
    )

    def __init__(self, *, thread_id: str, run_id: str, include_messages: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.thread_id = thread_id
        self.run_id = run_id
        self.include_messages = include_messages
        self._validate()

    def _write(self, **destination: Any) -> tuple[dict[str, Any], list[str]]:
        from airflow_provider_portkey.report.export import write_run_report

        messages = self.include_messages
        return write_run_report(self.hook, self.thread_id, self.run_id, include_messages=messages, **destination)


class PortkeyBatchReportOperator(BasePortkeyReportOperator):
    """
    Write a batch as one HTML page: phases, outcomes by status and code, tokens and cost, latency, failures.

    :param batch_id: The batch (templated).
    :param output_path: The outcomes, as ``PortkeyBatchOutputToObjectStorageOperator`` wrote them: a file of JSON lines,
        or a table whose name ends in ``.parquet`` (templated).
    :param error_path: A second file of outcomes: the one of that operator's ``error_path`` (templated).
    :param kwargs: The arguments of :class:`BasePortkeyReportOperator`.
    """

    template_fields: Sequence[str] = (
        *BasePortkeyReportOperator.template_fields,
        "batch_id",
        "output_path",
        "error_path",
    )

    def __init__(self, *, batch_id: str, output_path: str, error_path: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.batch_id = batch_id
        self.output_path = output_path
        self.error_path = error_path
        self._validate()

    def _write(self, **destination: Any) -> tuple[dict[str, Any], list[str]]:
        from airflow_provider_portkey.report.export import write_batch_report

        return write_batch_report(
            self.hook, self.batch_id, output_path=self.output_path, error_path=self.error_path, **destination
        )
