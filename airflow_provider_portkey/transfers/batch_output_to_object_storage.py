"""The outcomes of a batch's requests to files in object storage, as they are or joined to the rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_portkey.tasks.base import PortkeyFileTaskMixin
from airflow_provider_portkey.transfers.base import BasePortkeyToObjectStorageOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_portkey.export.formats import Columns


class PortkeyBatchOutputToObjectStorageOperator(BasePortkeyToObjectStorageOperator):
    """
    Write the outcome of each of a batch's requests to a file.

    The manifest counts failed, missing, duplicate and unexpected outcomes.
    A batch that expired or was cancelled is exported with the outcomes that it has. Files appear whole or not at all;
    of several outcomes of one request only the first is kept.

    With ``layout="table"`` the file has one row for each request of the input, in the input's order, with the key
    columns that ``PortkeyBatchInputOperator`` wrote beside the input, and ``custom_id``, ``status``, ``text``,
    ``parsed``, ``error_code``, ``error_message``, ``finish_reason``, ``input_tokens``, ``output_tokens``,
    ``total_tokens``, ``cost`` and ``model``.

    :param batch_id: The batch, which must have a terminal status (templated).
    :param path: The file of the output: a local path or any URL that ``ObjectStoragePath`` takes (templated).
    :param error_path: The file of the lines of the batch's error file; ``None`` to write these lines behind those of
        the output file at ``path`` (templated).
    :param input_path: The requests to compare the outcomes with; ``None`` to fetch the batch's own input file from
        the provider (templated).
    :param reconcile: Whether to compare the outcomes with the requests (templated).
    :param source: ``"file"`` reads the batch's output file; ``"portkey"`` reads the output as Portkey assembles it
        for providers that have no such file, which the open-source gateway cannot carry; ``"auto"`` reads the output
        file where the batch has one that is no folder (templated).
    :param layout: ``"lines"``: the lines as the provider wrote them; ``"table"``: one row for each request
        (templated).
    :param json_schema: A JSON schema that the text of each response of a table has to fit. A row that does not fit has
        the status ``invalid``, and is written once more to ``invalid_path``.
    :param invalid_path: The rows that do not fit ``json_schema``; ``None`` for a file beside the table with
        ``.invalid`` before its ending (templated).
    :param max_failure_ratio: Ratio of requests, 0 to 1, that may fail or have no outcome; the task fails above it,
        once all files are written. 0: any failure fails the task; ``None``: any number may fail (templated).
    :param kwargs: The arguments of :class:`BasePortkeyToObjectStorageOperator`: ``file_format``, ``compression``,
        ``csv_formulas``, ``overwrite`` and the connections.
    """

    template_fields: Sequence[str] = (
        *BasePortkeyToObjectStorageOperator.template_fields,
        "batch_id",
        "error_path",
        "input_path",
        "reconcile",
        "source",
        "layout",
        "invalid_path",
        "max_failure_ratio",
    )
    rows_from = "/batches/{batch_id}/output"

    def __init__(
        self,
        *,
        batch_id: str,
        error_path: str | None = None,
        input_path: str | None = None,
        reconcile: bool = True,
        source: str = "auto",
        layout: str = "lines",
        json_schema: Mapping[str, Any] | None = None,
        invalid_path: str | None = None,
        max_failure_ratio: float | None = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.batch_id = batch_id
        self.error_path = error_path
        self.input_path = input_path
        self.reconcile = reconcile
        self.source = source
        self.layout = layout
        self.json_schema = json_schema
        self.invalid_path = invalid_path
        self.max_failure_ratio = max_failure_ratio
        self._validate()
        if json_schema is not None:
            from airflow_provider_portkey.batch.schema import ResponseSchema

            ResponseSchema(json_schema)

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Write the files and return the manifest, which is in XCom also where the task fails because of failed requests.

        :raises PortkeyInvalidArgumentError: where parameters are for another layout.
        :raises PortkeyRemoteJobNotFinishedError: where the batch has no terminal status.
        :raises PortkeyDestinationExistsError: where a file exists and ``overwrite`` is off.
        :raises PortkeyLineInvalidError: naming a line that is no JSON object.
        :raises PortkeyBatchRequestsFailedError: where more requests failed than ``max_failure_ratio`` allows.
        """
        from airflow_provider_portkey.batch.export import BatchExport, check_failures
        from airflow_provider_portkey.tasks.xcom import result_where_it_fails

        self._begin(context)
        export = BatchExport(
            hook=self.hook,
            batch_id=self.batch_id,
            path=self.path,
            error_path=self.error_path,
            input_path=self.input_path,
            object_storage_conn_id=self.object_storage_conn_id,
            reconcile=self.reconcile,
            source=self.source,
            layout=self.layout,
            json_schema=self.json_schema,
            invalid_path=self.invalid_path,
            file_format=self.file_format,
            compression=self.compression,
            csv_formulas=self.csv_formulas,
            overwrite=self.overwrite,
        )
        manifest = export.write()
        self._report(context, manifest, *export.inputs)
        with result_where_it_fails(context, manifest):
            check_failures(manifest, self.max_failure_ratio)
        return manifest

    def columns(self) -> Columns:
        """Return the declared columns of a table of outcomes."""
        from airflow_provider_portkey.batch.export import BATCH_OUTPUT_COLUMNS
        from airflow_provider_portkey.batch.outcome_columns import OUTCOME_COLUMNS

        return OUTCOME_COLUMNS if self.layout == "table" else BATCH_OUTPUT_COLUMNS


class PortkeyBatchMergeOperator(PortkeyFileTaskMixin, BaseOperator):
    """
    Write one table from the tables of several parts and rounds: one row for each request of the first round.

    Of a request's outcomes the latest success counts, or else the latest outcome. A request that no table has is
    ``missing``. The manifest names each table that was read. Tables of a round without a batch need not be there.

    :param inputs: The files of the first round, such as the output of ``PortkeyBatchInputOperator`` (templated).
    :param outcomes: The tables of all rounds, earlier rounds first: paths, or the manifests of the exports; of mapped
        exports their output. Lists within the list are read as well (templated).
    :param path: The table (templated).
    :param object_storage_conn_id: The Airflow connection to the object store, if the store needs one (templated).
    :param file_format: ``"parquet"``, ``"jsonl"`` or ``"csv"`` (templated).
    :param compression: ``None``, ``"gzip"`` or ``"zstd"`` (templated).
    :param csv_formulas: ``"keep"``, or ``"escape"`` for files that people open in a spreadsheet (templated).
    :param overwrite: Replace an existing file, rather than fail (templated).
    :param invalid_path: The rows of the status ``invalid``; ``None`` for a file beside the table with ``.invalid``
        before its ending (templated).
    :param max_failure_ratio: Ratio of requests, 0 to 1, that may end without success; the task fails above it, once
        all files are written. 0: any fails the task; ``None``: any number may (templated).
    """

    template_fields: Sequence[str] = (
        "inputs",
        "outcomes",
        "path",
        "object_storage_conn_id",
        "file_format",
        "compression",
        "csv_formulas",
        "overwrite",
        "invalid_path",
        "max_failure_ratio",
    )
    ui_color = "#e8e4f8"

    def __init__(
        self,
        *,
        inputs: Any,
        outcomes: Any,
        path: str,
        object_storage_conn_id: str | None = None,
        file_format: str = "parquet",
        compression: str | None = None,
        csv_formulas: str = "keep",
        overwrite: bool = True,
        invalid_path: str | None = None,
        max_failure_ratio: float | None = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.inputs = inputs
        self.outcomes = outcomes
        self.path = path
        self.object_storage_conn_id = object_storage_conn_id
        self.file_format = file_format
        self.compression = compression
        self.csv_formulas = csv_formulas
        self.overwrite = overwrite
        self.invalid_path = invalid_path
        self.max_failure_ratio = max_failure_ratio
        from airflow_provider_portkey.parameters import validate_parameters

        validate_parameters(self)

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Write the table and return its manifest, which is in XCom also where the task fails because of failed requests.

        :raises PortkeyLineInvalidError: where a table or an input cannot be read.
        :raises PortkeyDestinationExistsError: where a file exists and ``overwrite`` is off.
        :raises PortkeyBatchRequestsFailedError: where more requests failed than ``max_failure_ratio`` allows.
        """
        from airflow_provider_portkey.batch.export import check_failures
        from airflow_provider_portkey.batch.outcome_columns import OUTCOME_COLUMNS
        from airflow_provider_portkey.batch.rounds import Rounds, read_paths
        from airflow_provider_portkey.batch.table import TableFiles, invalid_name
        from airflow_provider_portkey.export.manifest import build_manifest, timestamp_now
        from airflow_provider_portkey.parameters import validate_parameters
        from airflow_provider_portkey.tasks.xcom import result_where_it_fails

        validate_parameters(self, rendered=True)
        started_at = timestamp_now()
        rounds = Rounds(
            inputs=read_paths("inputs", self.inputs),
            tables=read_paths("outcomes", self.outcomes),
            object_storage_conn_id=self.object_storage_conn_id,
        )
        files = TableFiles(
            path=self.path,
            invalid_path=self.invalid_path or (invalid_name(self.path) if self.path else None),
            object_storage_conn_id=self.object_storage_conn_id,
            file_format=self.file_format,
            compression=self.compression,
            csv_formulas=self.csv_formulas,
            overwrite=self.overwrite,
            read={"inputs": rounds.inputs, "outcomes": rounds.tables},
        )
        manifest = build_manifest(**rounds.write_merged(files), started_at=started_at)
        self._report_files(context, manifest, inputs=rounds.uris, columns=OUTCOME_COLUMNS)
        with result_where_it_fails(context, manifest):
            check_failures(manifest, self.max_failure_ratio)
        return manifest
