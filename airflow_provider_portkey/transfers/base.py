"""Rows of any kind to a file in object storage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_portkey.lazy import lazy_attribute

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_portkey.export.formats import Columns, Row
    from airflow_provider_portkey.export.manifest import ExportStats
    from airflow_provider_portkey.hooks.portkey import PortkeyHook


class BasePortkeyToObjectStorageOperator(BaseOperator):
    """
    Write rows to a file, with one page of them in task_state. A subclass says which rows.

    The file is at its path whole or not at all, and has the same bytes for the same rows.

    :param path: Where to: a local path or any URL that ``ObjectStoragePath`` takes, such as
        ``s3://bucket/{{ ds }}/rows.jsonl`` (templated).
    :param portkey_conn_id: The Airflow connection to Portkey (templated).
    :param object_storage_conn_id: The Airflow connection to the object store, if one is needed (templated).
    :param file_format: ``"jsonl"`` and ``"json"`` write each row as it came, its keys sorted; ``"csv"`` and
        ``"parquet"`` have a column for each field that is documented, nested ones as JSON text, and the column
        ``other_fields`` for what is not.
    :param compression: ``None``, ``"gzip"`` or ``"zstd"``; parquet compresses within the file, ``None`` is snappy.
    :param overwrite: Replace a file that is there already, rather than fail before anything is fetched.
    """

    template_fields: Sequence[str] = ("portkey_conn_id", "object_storage_conn_id", "path")
    ui_color = "#e8e4f8"
    operator_extra_links = lazy_attribute("links", "TRACE_LINKS")
    #: Where the rows come from, below the base URL, with ``{name}`` where an attribute goes: the input of the lineage.
    rows_from: ClassVar[str] = ""
    #: What was read, and the manifest of what was written, once it has landed.
    _landed: tuple[list[str], Mapping[str, Any]] | None = None

    def __init__(
        self,
        *,
        path: str,
        portkey_conn_id: str = "portkey_default",
        object_storage_conn_id: str | None = None,
        file_format: str = "jsonl",
        compression: str | None = None,
        overwrite: bool = True,
        **kwargs: Any,
    ) -> None:
        from airflow_provider_portkey.export.formats import check_format

        super().__init__(**kwargs)
        self.path = path
        self.portkey_conn_id = portkey_conn_id
        self.object_storage_conn_id = object_storage_conn_id
        self.file_format = file_format
        self.compression = compression
        self.overwrite = overwrite
        check_format(file_format, compression)

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Write the file and return its manifest.

        :raises PortkeyDestinationExistsError: where a file is there already and ``overwrite`` is off.
        """
        from airflow_provider_portkey.export.atomic import atomic_write, file_path, refuse_existing, uri_of
        from airflow_provider_portkey.export.formats import check_installed, encode
        from airflow_provider_portkey.export.manifest import ExportStats
        from airflow_provider_portkey.hooks.portkey import PortkeyHook
        from airflow_provider_portkey.links import trace_id_of

        path = file_path(self.path, self.object_storage_conn_id)
        check_installed(self.file_format, self.compression)
        refuse_existing(path, overwrite=self.overwrite)
        hook = PortkeyHook(self.portkey_conn_id, trace_id=trace_id_of(context.get("ti")))
        tally = ExportStats()
        about, rows = self.open(hook, tally)
        with (
            atomic_write(path, overwrite=self.overwrite) as written,
            encode(
                written.stream, columns=self.columns(), file_format=self.file_format, compression=self.compression
            ) as encoder,
        ):
            for row in rows:
                encoder.write(row)
                tally.row(row)
        manifest = tally.manifest(
            written, uri=uri_of(path), file_format=self.file_format, compression=self.compression, **about
        )
        self._note_lineage(hook, manifest)
        self.log.info("%d rows (%d bytes) are in %s.", tally.rows, written.bytes, path)
        return manifest

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Return what was read and written, with rows, bytes and columns, for Airflow's OpenLineage provider."""
        from airflow_provider_portkey.export.openlineage import operator_lineage

        return operator_lineage(*self._landed, self.columns()) if self._landed else None

    def _note_lineage(self, hook: PortkeyHook, manifest: Mapping[str, Any], *other_inputs: str) -> None:
        """Report what was read and what has landed."""
        from airflow_provider_portkey.export.lineage import report

        inputs = [hook.uri_of(self.rows_from, vars(self)), *other_inputs]
        report(hook, inputs=inputs, outputs=filter(None, (manifest["uri"], manifest.get("error_uri"))))
        self._landed = inputs, manifest

    def columns(self) -> Columns:
        """Return the declared columns of a table of these rows."""
        raise NotImplementedError

    def open(self, hook: PortkeyHook, tally: ExportStats) -> tuple[Mapping[str, Any], Iterator[Row]]:
        """
        Return what the manifest says of the rows' origin, and the rows.

        :param tally: Its ``page`` is told of each page that comes.
        """
        raise NotImplementedError
