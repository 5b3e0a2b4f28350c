"""The base of transfers to object storage: rows of any kind to one file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_portkey.tasks.base import PortkeyFileTaskMixin, PortkeyTaskMixin

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_portkey.export.formats import Columns, Row
    from airflow_provider_portkey.export.manifest import ExportStats


class BasePortkeyToObjectStorageOperator(PortkeyFileTaskMixin, PortkeyTaskMixin, BaseOperator):
    """
    Write rows to a file, with one page of rows in memory and the next one on its way. A subclass provides the rows.

    The file is whole at its path or absent, and has the same bytes for the same rows.

    :param path: The file: a local path or any URL of ``ObjectStoragePath``, such as ``s3://bucket/{{ ds }}/rows.jsonl``
        (templated).
    :param portkey_conn_id: The Airflow connection to Portkey (templated).
    :param object_storage_conn_id: The Airflow connection to the object store, if the store needs one (templated).
    :param file_format: ``"jsonl"`` and ``"json"`` write each row as received, its keys sorted; ``"csv"`` and
        ``"parquet"`` have a column for each documented field, nested fields as JSON strings, and the column
        ``other_fields`` for all other fields (templated).
    :param compression: ``None``, ``"gzip"`` or ``"zstd"``; parquet compresses within the file, ``None`` is snappy
        (templated).
    :param csv_formulas: For csv files that people open in a spreadsheet: ``"escape"`` puts an apostrophe before texts
        that begin with ``=``, ``+``, ``-``, ``@``, tab or carriage return, which a spreadsheet would run as a formula;
        ``"keep"`` writes every text as it is (templated).
    :param overwrite: Replace an existing file, rather than fail before the first request (templated).
    """

    template_fields: Sequence[str] = (
        *PortkeyTaskMixin.template_fields,
        "object_storage_conn_id",
        "path",
        "file_format",
        "compression",
        "csv_formulas",
        "overwrite",
    )
    #: The path of the rows below the base URL, with ``{name}`` for an attribute: the input of the lineage.
    rows_from: ClassVar[str] = ""

    def __init__(
        self,
        *,
        path: str,
        portkey_conn_id: str = "portkey_default",
        object_storage_conn_id: str | None = None,
        file_format: str = "jsonl",
        compression: str | None = None,
        csv_formulas: str = "keep",
        overwrite: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.portkey_conn_id = portkey_conn_id
        self.object_storage_conn_id = object_storage_conn_id
        self.file_format = file_format
        self.compression = compression
        self.csv_formulas = csv_formulas
        self.overwrite = overwrite

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Write the file and return its manifest.

        :raises PortkeyInvalidArgumentError: naming the parameter that is wrong.
        :raises PortkeyDestinationExistsError: where the file exists and ``overwrite`` is off.
        :raises PortkeyPathError: where the file cannot be written.
        """
        from airflow_provider_portkey.export.atomic import check_destination, file_path
        from airflow_provider_portkey.export.formats import check_installed
        from airflow_provider_portkey.export.manifest import ExportStats, build_manifest
        from airflow_provider_portkey.export.progress import ExportProgress
        from airflow_provider_portkey.export.read_ahead import read_ahead
        from airflow_provider_portkey.export.writer import open_writer

        self._begin(context)
        path = file_path(self.path, self.object_storage_conn_id)
        check_installed(self.file_format, self.compression)
        check_destination(path, overwrite=self.overwrite)
        progress = ExportProgress(path)
        stats = ExportStats(progress)
        about, rows = self.open_rows(stats)
        with (
            progress,
            read_ahead(rows) as pages,
            open_writer(
                path,
                columns=self.columns(),
                file_format=self.file_format,
                compression=self.compression,
                csv_formulas=self.csv_formulas,
                overwrite=self.overwrite,
                progress=progress,
            ) as writer,
        ):
            for page in pages:
                writer.write_rows(page)
                stats.add_rows(page)
        manifest = build_manifest(**writer.summary(), **about, **stats.to_dict())
        self._report(context, manifest)
        self.log.info("%d rows (%d bytes) are in %s.", writer.rows, writer.bytes, path)
        return manifest

    def _report(self, context: Context, manifest: Mapping[str, Any], *other_inputs: str) -> None:
        """Report what was read and written: to the lineage, and with the events of the outlet assets."""
        self._report_files(context, manifest, inputs=[self.source_uri(), *other_inputs], columns=self.columns())

    def source_uri(self) -> str:
        """Return the URI of what is read."""
        return self.hook.uri_of(self.rows_from, vars(self))

    def columns(self) -> Columns:
        """Return the columns of a table of these rows."""
        raise NotImplementedError

    def open_rows(self, stats: ExportStats) -> tuple[Mapping[str, Any], Iterator[Row]]:
        """
        Return the manifest's part about what is exported, complete after the last row, and the rows.

        From the second hundred on, the rows are read in another thread than that of the task.

        :param stats: Its ``add_page`` counts each page that is received.
        """
        raise NotImplementedError
