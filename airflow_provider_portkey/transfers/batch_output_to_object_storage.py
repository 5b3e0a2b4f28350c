"""The outcomes of a batch's requests to files in object storage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

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
        max_failure_ratio: float | None = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.batch_id = batch_id
        self.error_path = error_path
        self.input_path = input_path
        self.reconcile = reconcile
        self.source = source
        self.max_failure_ratio = max_failure_ratio
        self._validate()

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Write the files and return the manifest.

        :raises PortkeyRemoteJobNotFinishedError: where the batch has no terminal status.
        :raises PortkeyDestinationExistsError: where a file exists and ``overwrite`` is off.
        :raises PortkeyLineInvalidError: naming a line that is no JSON object.
        :raises PortkeyBatchRequestsFailedError: where more requests failed than ``max_failure_ratio`` allows.
        """
        from airflow_provider_portkey.batch.export import BatchExport, check_failures

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
            file_format=self.file_format,
            compression=self.compression,
            csv_formulas=self.csv_formulas,
            overwrite=self.overwrite,
        )
        manifest = export.write()
        self._report(context, manifest, *export.inputs)
        check_failures(manifest, self.max_failure_ratio)
        return manifest

    def columns(self) -> Columns:
        """Return the declared columns of a table of outcomes."""
        from airflow_provider_portkey.batch.export import BATCH_OUTPUT_COLUMNS

        return BATCH_OUTPUT_COLUMNS
