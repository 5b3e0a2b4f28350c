"""Portkey's own logs of a stretch of time to a file in object storage, in one task."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import PokeReturnValue

from airflow_provider_portkey.exceptions import (
    PortkeyInvalidArgumentError,
    PortkeyRowsMismatchError,
    PortkeySubmissionUnknownError,
)
from airflow_provider_portkey.lazy import lazy_attribute
from airflow_provider_portkey.tasks.wait import BasePortkeyWaitOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath

    from airflow_provider_portkey.log_export.session import LogPlan, LogRequest
    from airflow_provider_portkey.polling.poller import Poller
    from airflow_provider_portkey.triggers.job import BasePortkeyTrigger

#: Seconds after which a log is taken to have arrived: collectors of Portkey's logs wait as long.
_ARRIVAL = 300.0
#: Filters that the operator itself sets.
_OWN_FILTERS = frozenset(
    {"time_of_generation_min", "time_of_generation_max", "created_at", "page_size", "current_page"}
)


class PortkeyLogsToObjectStorageOperator(BasePortkeyWaitOperator):
    """
    Export the logs of a window to one file of JSON lines: draft, start, wait, download, in one task.

    A window with more logs than one export holds is cut in time until each part fits, by what Portkey counts; the
    parts are exported side by side and joined in the order of time. The rows that came are compared with what was
    counted before anything is written to ``path``. A task that is started again goes on where it was: no export is
    started twice.

    :param path: Where to: a local path or any URL that ``ObjectStoragePath`` takes, such as
        ``s3://bucket/{{ ds }}/logs.jsonl`` (templated).
    :param window_start: The first moment whose logs are exported, with its zone (templated).
    :param window_end: The moment after the last one; its own logs are not exported (templated).
    :param requested_data: The fields of each row (templated); all that Portkey's schema names.
    :param filters: Which logs of the window, such as ``{"ai_model": "gpt-4o"}`` (templated).
    :param workspace_id: The workspace, by its slug (templated).
    :param object_storage_conn_id: The Airflow connection to the object store, if one is needed (templated).
    :param compression: ``None``, ``"gzip"`` or ``"zstd"``.
    :param overwrite: Replace a file that is there already, rather than fail before anything is exported.
    :param on_mismatch: What to do where more or fewer rows came than Portkey had counted: ``"fail"`` and write
        nothing, or ``"warn"``.
    :param cancel_on_kill: Cancel every export that still runs when the task is killed or marked.
    :param kwargs: The arguments of :class:`BasePortkeyWaitOperator` and of Airflow's sensors; ``timeout`` is for the wait
        for all parts together.
    """

    template_fields: Sequence[str] = (
        "portkey_conn_id",
        "object_storage_conn_id",
        "path",
        "window_start",
        "window_end",
        "requested_data",
        "filters",
        "workspace_id",
    )
    ui_color = "#e8e4f8"
    job = lazy_attribute("jobs.log_export", "LOG_EXPORT")
    _exports: LogPlan | None = None
    #: What was read, and the manifest of what was written, once it has landed.
    _landed: tuple[list[str], Mapping[str, Any]] | None = None

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
        compression: str | None = None,
        overwrite: bool = True,
        on_mismatch: str = "fail",
        cancel_on_kill: bool = True,
        **kwargs: Any,
    ) -> None:
        from airflow_provider_portkey.jobs.log_export import FIELDS
        from airflow_provider_portkey.parameters import validate_parameters

        super().__init__(cancel_on_kill=cancel_on_kill, **kwargs)
        self.path = path
        self.window_start = window_start
        self.window_end = window_end
        self.requested_data = FIELDS if requested_data is None else requested_data
        self.filters = filters
        self.workspace_id = workspace_id
        self.object_storage_conn_id = object_storage_conn_id
        self.compression = compression
        self.overwrite = overwrite
        self.on_mismatch = on_mismatch
        validate_parameters(self)

    def execute(self, context: Context) -> Any:
        """
        Export, wait, write the file, and return its manifest.

        :raises PortkeyDestinationExistsError: where a file is there already and ``overwrite`` is off.
        :raises PortkeyRemoteJobFailedError: where an export ended badly.
        :raises PortkeyWindowTooFullError: where one second has more logs than an export holds.
        :raises PortkeyRowsMismatchError: where more or fewer rows came than Portkey had counted.
        """
        from airflow_provider_portkey.export.atomic import refuse_existing
        from airflow_provider_portkey.export.formats import check_installed

        self._trace(context)
        with self._skipping():
            check_installed("jsonl", self.compression)
            refuse_existing(self._destination(), overwrite=self.overwrite)
            request = self._request(context)
            exports = self._exports = self._new_plan(context)
            exports.attach(request)
            if exports.current is None:
                return self._deliver(context, exports)
        return super().execute(context)

    def poke(self, context: Context) -> PokeReturnValue:
        """Look at one export after the other, until there is one that has not ended; write the file after the last."""
        exports = self._known(context)
        while exports.current:
            ended = super().poke(context)
            if not ended:
                return ended
            self._turn(exports)
        with self._skipping():
            return PokeReturnValue(True, self._deliver(context, exports))

    def execute_complete(self, context: Context, event: Any = None) -> Any:
        """Go on with the next export, or write the file and return its manifest; or raise what the event says."""
        self._trace(context)
        exports = self._known(context)
        super().execute_complete(context, event)
        self._turn(exports)
        return self._look_or_defer(context)

    def on_kill(self) -> None:
        """Cancel every export that still runs, unless it was not asked for, when the task is killed on the worker."""
        if self.cancel_on_kill and self._exports:
            self.log.info("Cancelling the log exports, because the task was killed.")
            self._exports.cancel()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Return what was read and written, with rows, bytes and fields, for Airflow's OpenLineage provider."""
        from airflow_provider_portkey.export.openlineage import operator_lineage

        return operator_lineage(*self._landed, dict.fromkeys(self.requested_data, "")) if self._landed else None

    def _look_or_defer(self, context: Context) -> Any:
        exports = self._known(context)
        while exports.current:
            super()._look_or_defer(context)  # which defers, unless this export has ended
            self._turn(exports)
        with self._skipping():
            return self._deliver(context, exports)

    def _turn(self, exports: LogPlan) -> None:
        """Turn from an export that has ended well to the next one."""
        if exports.current:
            exports.done(exports.current)
        self._poller = self._poller_since(exports.since)

    @property
    def _job_ids(self) -> dict[str, str]:
        part = self._exports.current if self._exports else None
        return {"export_id": part.export_id if part else ""}

    def _start(self, context: Context) -> Poller:
        # The wait began with the first of the processes that share it, in every mode.
        poller = super()._start(context)
        poller.started = self._known(context).since
        poller.deadline = poller.started + self.timeout
        return poller

    def _new_plan(self, context: Context) -> LogPlan:
        from airflow_provider_portkey.log_export.session import LogPlan
        from airflow_provider_portkey.state.task import TaskState

        try_number = getattr(context.get("ti"), "try_number", None)
        return LogPlan(hook=self.hook, task_state=TaskState(context), try_number=try_number)

    def _known(self, context: Context) -> LogPlan:
        """Return the exports; in a process that only goes on, as the one before left them."""
        if self._exports is None:
            exports = self._new_plan(context)
            if not exports.recall():
                raise PortkeySubmissionUnknownError(
                    "What this task had exported is not to be found any more in Airflow's task state store (before "
                    "Airflow 3.3: in its Variable). See Portkey's list of exports, and clear the task to export anew."
                )
            self._exports = exports
            self._poller = self._poller_since(exports.since)
        return self._exports

    def _request(self, context: Context) -> LogRequest:
        from airflow_provider_portkey.export.window import read_window
        from airflow_provider_portkey.log_export.session import LogRequest

        window = read_window(self.window_start, self.window_end)
        if window.end.timestamp() > time.time() - _ARRIVAL:
            self.log.warning(
                "The window ends at %s, which is not %d minutes ago: later logs of it will be missing.",
                window.end,
                _ARRIVAL // 60,
            )
        filters = self.filters or {}
        if not isinstance(filters, Mapping) or _OWN_FILTERS & filters.keys():
            own = ", ".join(sorted(_OWN_FILTERS))
            expected = f"filters by name, without those that the operator itself sets ({own})"
            raise PortkeyInvalidArgumentError("filters", filters, expected)
        fields = self.requested_data
        if isinstance(fields, str) or not fields or not all(isinstance(name, str) for name in fields):
            raise PortkeyInvalidArgumentError("requested_data", fields, "a list of fields, such as ['id', 'cost']")
        ti: Any = context.get("ti")
        where = f" {ti.dag_id}.{ti.task_id} {ti.run_id}" if hasattr(ti, "run_id") else ""
        return LogRequest(window, filters, fields, self.workspace_id or None, f"Airflow{where}")

    def _destination(self) -> ObjectStoragePath:
        from airflow_provider_portkey.export.atomic import file_path

        return file_path(self.path, self.object_storage_conn_id)

    def _deliver(self, context: Context, exports: LogPlan) -> dict[str, Any]:
        from airflow_provider_portkey.export.manifest import SCHEMA_VERSION
        from airflow_provider_portkey.export.openlineage import report_lineage
        from airflow_provider_portkey.export.window import read_window
        from airflow_provider_portkey.log_export.rows import write_rows
        from airflow_provider_portkey.state.task import TaskState

        written = write_rows(
            exports.plan,
            self.hook.iter_log_export,
            self._destination(),
            compression=self.compression,
            overwrite=self.overwrite,
            on_differences=lambda differences: self._on_differences(differences, exports),
        )
        source = self.hook.uri_of("/logs", {})
        report_lineage(self.hook, inputs=[source], outputs=[written["uri"]])
        self._landed = [source], written
        TaskState(context).clear()
        self.log.info("%d logs (%d bytes) are in %s.", written["rows"], written["bytes"], self.path)
        parts = written.pop("parts")
        return {
            **written,
            **read_window(self.window_start, self.window_end).to_dict(),
            "parts": parts,
            "started_at": _moment(exports.since),
            "finished_at": _moment(time.time()),
            "schema_version": SCHEMA_VERSION,
        }

    def _on_differences(self, differences: list[str], exports: LogPlan) -> None:
        message = f"What came is not what Portkey had counted: {'; '.join(differences[:5])}."
        if self.on_mismatch == "warn":
            self.log.warning("%s", message)
            return
        exports.forget()
        raise PortkeyRowsMismatchError(
            f"{message} Nothing was written, and a retry exports anew. Logs that arrive late are the usual reason: "
            "let the task start some minutes after the end of its window."
        )

    def _new_trigger(self, **wait: Any) -> BasePortkeyTrigger:
        from airflow_provider_portkey.log_export.plan import STARTED
        from airflow_provider_portkey.triggers.job import PortkeyLogExportTrigger

        first, *others = self._exports.plan.of_stage(STARTED) if self._exports else []
        return PortkeyLogExportTrigger(export_id=first.export_id, others=[part.export_id for part in others], **wait)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).isoformat(timespec="milliseconds")
