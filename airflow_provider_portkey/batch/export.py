"""The export of a batch: its output and errors to files, counted and compared with the requests of its input."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.batch.input import lines_of
from airflow_provider_portkey.batch.lines import BatchLines, with_advice
from airflow_provider_portkey.batch.outcome_columns import STATUSES
from airflow_provider_portkey.batch.reconcile import BatchReconciler
from airflow_provider_portkey.batch.schema import ResponseSchema
from airflow_provider_portkey.batch.table import BatchTable, TableFiles, invalid_name
from airflow_provider_portkey.exceptions import (
    PortkeyBatchRequestsFailedError,
    PortkeyInvalidArgumentError,
    PortkeyNotFoundError,
)
from airflow_provider_portkey.export.atomic import check_destination, check_distinct, file_path, names_of, uri_of
from airflow_provider_portkey.export.formats import check_installed
from airflow_provider_portkey.export.jsonl import iter_objects
from airflow_provider_portkey.export.manifest import build_manifest, timestamp_now
from airflow_provider_portkey.export.writer import RowWriter, open_writer
from airflow_provider_portkey.jobs.batch import BATCH
from airflow_provider_portkey.jobs.values import cost_of
from airflow_provider_portkey.metrics import count_cost

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_portkey.hooks.portkey import PortkeyHook

log = logging.getLogger(__name__)

#: The fields of a line of an output or error file, for formats that have columns.
BATCH_OUTPUT_COLUMNS = {"id": "text", "custom_id": "text", "response": "json", "error": "json"}


@dataclass(kw_only=True)
class BatchExport:
    """
    One export of one batch, with the parameters of ``PortkeyBatchOutputToObjectStorageOperator``.

    :raises PortkeyInvalidArgumentError: for a path that names no file, or two equal paths.
    :raises PortkeyDestinationExistsError: where a file exists and ``overwrite`` is off.
    """

    hook: PortkeyHook
    batch_id: str
    path: str
    error_path: str | None
    input_path: str | None
    object_storage_conn_id: str | None
    reconcile: bool
    source: str
    layout: str
    json_schema: Mapping[str, Any] | None
    invalid_path: str | None
    file_format: str
    compression: str | None
    csv_formulas: str
    overwrite: bool

    def __post_init__(self) -> None:
        self._lines = BatchLines(hook=self.hook, batch_id=self.batch_id, source=self.source)
        self._table = self._open_table() if self.layout == "table" else None
        if self._table:
            self._input = file_path(self.input_path, self.object_storage_conn_id) if self.input_path else None
            return
        for name in ("json_schema", "invalid_path"):
            if (value := getattr(self, name)) is not None:
                raise PortkeyInvalidArgumentError(name, value, "None, or layout='table'")

        def path_of(field: str, value: str | None) -> ObjectStoragePath | None:
            return None if value is None else file_path(value, self.object_storage_conn_id, field=field)

        self._output = file_path(self.path, self.object_storage_conn_id)
        self._errors = path_of("error_path", self.error_path)
        self._input = path_of("input_path", self.input_path if self.reconcile else None)
        check_distinct({"path": self._output, "error_path": self._errors}, {"input_path": [self._input]})
        check_installed(self.file_format, self.compression)
        for destination in filter(None, (self._output, self._errors)):
            check_destination(destination, overwrite=self.overwrite)

    @property
    def inputs(self) -> list[str]:
        """URIs of the files that are read, beside the batch itself."""
        return [uri_of(self._input)] if self._input else []

    def write(self) -> dict[str, Any]:
        """
        Write the files and return the manifest.

        :raises PortkeyRemoteJobNotFinishedError: where the batch has no terminal status.
        :raises PortkeyLineInvalidError: naming a line that is no JSON object.
        """
        started_at = timestamp_now()
        batch = self._lines.terminal_batch()
        written = self._table.write(batch) if self._table else self._write_lines(batch)
        of_lines, of_batch = written["usage"], batch.get("usage")
        cost = cost_of(of_lines)
        if cost_of(of_batch) is None:  # the wait for the batch has counted the batch's own cost
            count_cost(BATCH.kind, str(batch.get("status")), cost)
        written["usage"] = of_lines or (of_batch if isinstance(of_batch, dict) else None) or None
        return build_manifest(
            **written,
            started_at=started_at,
            cost=cost_of(of_batch) if cost is None else cost,
        )

    def _write_lines(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Write the lines as they are, and return the fields of the manifest, its cost apart."""
        with closing(self._reconciler(batch)) as reconciler, ExitStack() as files:
            output = files.enter_context(self._open(self._output))
            errors = files.enter_context(self._open(self._errors)) if self._errors else None
            for row in self._lines.output_rows(batch):
                if reconciler.add(row):
                    output.write(row)
            for row in self._lines.error_rows(batch):
                if reconciler.add(row, error_file=True):
                    (errors or output).write(row)
        summary = output.summary()
        summary["non_finite_values"] += errors.non_finite_values if errors else 0
        return {
            **summary,
            **names_of(errors.path if errors else None, "error_"),
            "error_rows": errors.rows if errors else None,
            "error_bytes": errors.bytes if errors else None,
            "error_sha256": errors.sha256 if errors else None,
            "batch_id": self.batch_id,
            "batch_status": batch.get("status"),
            **reconciler.counts(),
        }

    def _open_table(self) -> BatchTable:
        for name, value, only in (("error_path", self.error_path, None), ("reconcile", self.reconcile, True)):
            if value is not only:
                raise PortkeyInvalidArgumentError(name, value, f"{only}, or layout='lines'")
        schema = None if self.json_schema is None else ResponseSchema(self.json_schema)
        if schema is None and self.invalid_path is not None:
            raise PortkeyInvalidArgumentError("invalid_path", self.invalid_path, "None, or a json_schema beside it")
        files = TableFiles(
            path=self.path,
            invalid_path=(self.invalid_path or invalid_name(self.path)) if schema else None,
            object_storage_conn_id=self.object_storage_conn_id,
            file_format=self.file_format,
            compression=self.compression,
            csv_formulas=self.csv_formulas,
            overwrite=self.overwrite,
            read={"input_path": [self.input_path] if self.input_path else []},
        )
        return BatchTable(
            lines=self._lines,
            files=files,
            input_path=self.input_path,
            object_storage_conn_id=self.object_storage_conn_id,
            schema=schema,
        )

    def _reconciler(self, batch: Mapping[str, Any]) -> BatchReconciler:
        if not self.reconcile:
            return BatchReconciler(None)
        found: tuple[Iterator[dict[str, Any]], str] | None
        if self._input is not None:
            name = str(self._input)
            found = iter_objects(lines_of(self._input), name), name
        elif (found := self._lines.input_rows(batch)) is None:
            log.warning("Batch %r has no input file: its outcomes are not compared with requests.", self.batch_id)
            return BatchReconciler(None)
        try:
            return BatchReconciler(found[0], name=found[1])
        except PortkeyNotFoundError as error:
            advice = "The batch's input is not there to compare its output with: set input_path, or reconcile=False."
            raise with_advice(error, advice) from None

    def _open(self, path: ObjectStoragePath) -> AbstractContextManager[RowWriter]:
        return open_writer(
            path,
            columns=BATCH_OUTPUT_COLUMNS,
            file_format=self.file_format,
            compression=self.compression,
            csv_formulas=self.csv_formulas,
            overwrite=self.overwrite,
        )


def check_failures(manifest: Mapping[str, Any], max_failure_ratio: float | None) -> None:
    """
    Compare the counts of a manifest with the failures that the task accepts.

    :param max_failure_ratio: Ratio of requests that may fail or have no outcome, from 0 to 1, ``None`` for any number.
    :raises PortkeyBatchRequestsFailedError: where there are more.
    """
    names = (*STATUSES, "duplicate", "unexpected")
    counts = ", ".join(f"{manifest[name]} {name}" for name in names if manifest.get(name) is not None)
    beside = (("errors", manifest.get("error_uri")), ("invalid rows", manifest.get("invalid_uri")))
    where = manifest["uri"] + "".join(f", {kind} in {uri}" for kind, uri in beside if uri)
    requests = manifest["requests"]
    what = f"Batch {manifest['batch_id']!r}" if "batch_id" in manifest else "All rounds"
    summary = f"{what}: of {requests} requests {counts}. The output is in {where}."
    ratio = (requests - manifest["succeeded"]) / requests if requests else 0.0
    if max_failure_ratio is not None and ratio > max_failure_ratio:
        raise PortkeyBatchRequestsFailedError(
            f"{summary} The failure ratio {ratio:.3g} is above max_failure_ratio={max_failure_ratio:g}.",
            manifest=manifest,
        )
    log.info("%s", summary)
