"""
What tasks have in common.

:class:`PortkeyTaskMixin` has the connection, a hook that sends the trace id of the try, and the link to the trace;
:class:`PortkeyFileTaskMixin` reports what a task read and wrote.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey import lazy_attribute

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_portkey.export.formats import Columns
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
    _task_metadata: Mapping[str, str] | None = None

    @cached_property
    def hook(self) -> PortkeyHook:
        """The hook on the rendered connection id."""
        from airflow_provider_portkey.hooks.portkey import PortkeyHook

        return PortkeyHook(self.portkey_conn_id, trace_id=self._trace_id, task_metadata=self._task_metadata)

    def _begin(self, context: Context) -> None:
        """
        Check the rendered parameters, and send the trace id of this try and the task's metadata from here on.

        A task does this first in each of its processes.

        :raises PortkeyInvalidArgumentError: naming the parameter that is wrong.
        """
        from airflow_provider_portkey.client.task_metadata import task_metadata_of
        from airflow_provider_portkey.links import trace_id_of
        from airflow_provider_portkey.parameters import validate_parameters

        validate_parameters(self, rendered=True)
        trace_id = trace_id_of(context.get("ti"))
        if trace_id != self._trace_id:
            self._trace_id = trace_id
            self._task_metadata = task_metadata_of(context.get("ti"))
            self.__dict__.pop("hook", None)

    def _validate(self) -> None:
        """Check the parameters that are not templated; the last thing that a constructor does."""
        from airflow_provider_portkey.parameters import validate_parameters

        validate_parameters(self)


class PortkeyFileTaskMixin:
    """Mixed into operators that write files: says what was read and written."""

    #: The URIs of what was read, the manifest, and the columns, after the files were written.
    _lineage: tuple[list[str], Mapping[str, Any], Columns] | None = None

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Return what was read and written, with rows, bytes and columns, for Airflow's OpenLineage provider."""
        from airflow_provider_portkey.export.openlineage import operator_lineage

        return operator_lineage(*self._lineage) if self._lineage else None

    def _report_files(
        self: Any,
        context: Context,
        manifest: Mapping[str, Any],
        *,
        inputs: Iterable[str],
        columns: Columns,
    ) -> None:
        """
        Report to the lineage, and with the events of the outlet assets; before anything that fails the task.

        :param manifest: Of what was written.
        :param inputs: The URIs of what was read.
        :param columns: The columns of the rows, empty for what has none.
        """
        from airflow_provider_portkey.export.openlineage import report_lineage, written_uris
        from airflow_provider_portkey.tasks.outlets import describe_outlets

        self._lineage = [*inputs], manifest, columns
        report_lineage(getattr(self, "hook", self), inputs=self._lineage[0], outputs=written_uris(manifest))
        describe_outlets(self, context, manifest)
