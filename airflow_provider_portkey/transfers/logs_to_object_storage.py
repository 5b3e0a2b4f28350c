"""Portkey's own logs of a window to a file in object storage, in one task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_portkey import lazy_attribute
from airflow_provider_portkey.exceptions import PortkeySubmissionUnknownError
from airflow_provider_portkey.tasks.base import PortkeyFileTaskMixin
from airflow_provider_portkey.tasks.wait import BasePortkeyWaitOperator

if TYPE_CHECKING:
    from datetime import datetime

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_portkey.log_export.export import LogExportFile
    from airflow_provider_portkey.log_export.session import LogExportSession
    from airflow_provider_portkey.polling.job_sequence import JobSequencePoller
    from airflow_provider_portkey.polling.wait_state import WaitState
    from airflow_provider_portkey.triggers.job import PortkeyRemoteJobsTrigger


class PortkeyLogsToObjectStorageOperator(PortkeyFileTaskMixin, BasePortkeyWaitOperator):
    """
    Export the logs of a window: draft, start, wait, download, in one task; to one file, or to one for each day.

    A window with more logs than one export holds is cut in time until each part fits, by Portkey's own count; the
    parts are exported side by side and joined in the order of time. The downloaded rows are compared with the count
    before anything is written to ``path``. A task that is started again continues where it was: no export is started
    twice.

    :param path: The file: a local path or any URL that ``ObjectStoragePath`` takes, such as
        ``s3://bucket/{{ ds }}/logs.jsonl`` (templated).
    :param window_start: The start of the window, with its zone (templated).
    :param window_end: The end of the window; logs at the end itself are not exported (templated).
    :param requested_data: The fields of each row; ``None`` for all that Portkey's schema names (templated).
    :param filters: Which logs of the window, such as ``{"ai_model": "gpt-4o"}`` (templated).
    :param workspace_id: The workspace, by its slug (templated).
    :param object_storage_conn_id: The Airflow connection to the object store, if one is needed (templated).
    :param file_format: ``"jsonl"``, with each line as Portkey sent it; ``"json"``, ``"csv"`` or ``"parquet"``
        (templated).
    :param compression: ``None``, ``"gzip"`` or ``"zstd"`` (templated).
    :param csv_formulas: As of :class:`BasePortkeyToObjectStorageOperator` (templated).
    :param overwrite: Replace an existing file, rather than fail before anything is exported (templated).
    :param on_mismatch: What to do where the rows are more or fewer than Portkey had counted: ``"fail"`` and write
        nothing, or ``"warn"`` (templated).
    :param partition_by: ``"date"``: ``path`` is a folder with a Hive partition for each day in UTC,
        ``date=YYYY-MM-DD``, and a file of the window in each; ``None``: ``path`` is one file (templated).
    :param cancel_on_kill: Cancel every active export when the task is killed or marked.
    :param kwargs: The arguments of :class:`BasePortkeyWaitOperator` and of Airflow's sensors; ``timeout`` bounds the
        wait for all parts together.
    """

    template_fields: Sequence[str] = (
        *BasePortkeyWaitOperator.template_fields,
        "object_storage_conn_id",
        "path",
        "window_start",
        "window_end",
        "requested_data",
        "filters",
        "workspace_id",
        "file_format",
        "compression",
        "csv_formulas",
        "overwrite",
        "on_mismatch",
        "partition_by",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"filters": "json"}
    job = lazy_attribute("jobs.log_export", "LOG_EXPORT")
    _needs_wait_state = True
    _session: LogExportSession | None = None
    _poller: JobSequencePoller

    def __init__(
        self,
        *,
        path: str,
        window_start: str | datetime = "{{ data_interval_start }}",
        window_end: str | datetime = "{{ data_interval_end }}",
        requested_data: Sequence[str] | None = None,
        filters: Mapping[str, Any] | None = None,
        workspace_id: str | None = None,
        object_storage_conn_id: str | None = None,
        file_format: str = "jsonl",
        compression: str | None = None,
        csv_formulas: str = "keep",
        overwrite: bool = True,
        on_mismatch: str = "fail",
        partition_by: str | None = None,
        cancel_on_kill: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(cancel_on_kill=cancel_on_kill, **kwargs)
        self.path = path
        self.window_start = window_start
        self.window_end = window_end
        self.requested_data = requested_data
        self.filters = filters
        self.workspace_id = workspace_id
        self.object_storage_conn_id = object_storage_conn_id
        self.file_format = file_format
        self.compression = compression
        self.csv_formulas = csv_formulas
        self.overwrite = overwrite
        self.on_mismatch = on_mismatch
        self.partition_by = partition_by
        self._validate()

    def execute(self, context: Context) -> Any:
        """
        Export, wait, write the file, and return its manifest.

        :raises PortkeyDestinationExistsError: where the file exists and ``overwrite`` is off.
        :raises PortkeyRemoteJobFailedError: where an export failed.
        :raises PortkeyWindowTooFullError: where one second has more logs than an export holds.
        :raises PortkeyRowsMismatchError: where the rows are more or fewer than Portkey had counted.
        """
        self._begin(context)
        with self._skipping():
            export = self._export(context)
            export.check_destination()
            self._session = self._new_session(context)
            self._session.attach(export.request)
            if not self._session.pending:
                return self._write(context, self._session)
        return super().execute(context)

    def on_kill(self) -> None:
        """Cancel every active export, unless that was not requested, when the task is killed on the worker."""
        if self.cancel_on_kill and self._session:
            self.log.info("Cancelling the log exports, because the task was killed.")
            self._session.cancel()

    def _export(self, context: Context) -> LogExportFile:
        from airflow_provider_portkey.log_export.export import LogExportFile

        ti: Any = context.get("ti")
        task = f" {ti.dag_id}.{ti.task_id} {ti.run_id}" if hasattr(ti, "run_id") else ""
        return LogExportFile(
            path=self.path,
            window_start=self.window_start,
            window_end=self.window_end,
            requested_data=self.requested_data,
            filters=self.filters,
            workspace_id=self.workspace_id,
            object_storage_conn_id=self.object_storage_conn_id,
            file_format=self.file_format,
            compression=self.compression,
            csv_formulas=self.csv_formulas,
            overwrite=self.overwrite,
            on_mismatch=self.on_mismatch,
            partition_by=self.partition_by,
            description=f"Airflow{task}",
        )

    def _new_session(self, context: Context) -> LogExportSession:
        from airflow_provider_portkey.log_export.session import LogExportSession
        from airflow_provider_portkey.state.task import TaskState

        return LogExportSession(hook=self.hook, task_state=TaskState(context))

    def _new_poller(self, state: WaitState, known: Mapping[str, Any]) -> JobSequencePoller:
        from airflow_provider_portkey.polling.job_sequence import JobSequencePoller

        pending = known.get("pending") or (self._session.pending if self._session else [])
        return JobSequencePoller(self.job, pending, state)

    def _known(self) -> dict[str, Any]:
        return {**super()._known(), "pending": self._poller.pending}

    def _new_trigger(self, **arguments: Any) -> PortkeyRemoteJobsTrigger:
        from airflow_provider_portkey.triggers.job import PortkeyRemoteJobsTrigger

        return PortkeyRemoteJobsTrigger(job_spec=self.job.to_dict(), pending=self._poller.pending, **arguments)

    def _conclude(self, context: Context, event: Any) -> dict[str, Any]:
        super()._conclude(context, event)
        if self._session is None:
            self._session = self._new_session(context)
            if not self._session.recall():
                raise PortkeySubmissionUnknownError(
                    "The exports of this task are not in Airflow's task state store any more (before Airflow 3.3: in "
                    "its Variable). Portkey's list of exports shows them; clear the task to export again."
                )
        return self._write(context, self._session)

    def _write(self, context: Context, session: LogExportSession) -> dict[str, Any]:
        export = self._export(context)
        manifest = export.write(session, self.hook)
        self._report_files(context, manifest, inputs=[self.hook.uri_of("/logs", {})], columns=export.columns)
        return manifest
