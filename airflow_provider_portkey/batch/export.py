"""The export of a batch: its output and errors to files, counted and compared with the requests of its input."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from airflow_provider_portkey.batch.input import read_chunks
from airflow_provider_portkey.batch.reconcile import BatchReconciler
from airflow_provider_portkey.client.paths import same_id
from airflow_provider_portkey.exceptions import (
    PortkeyBatchRequestsFailedError,
    PortkeyError,
    PortkeyInvalidArgumentError,
    PortkeyNotFoundError,
    PortkeyRemoteJobNotFinishedError,
    PortkeyUnexpectedResponseError,
)
from airflow_provider_portkey.export.atomic import check_destination, file_path, uri_of
from airflow_provider_portkey.export.formats import check_installed
from airflow_provider_portkey.export.jsonl import iter_objects, split_lines
from airflow_provider_portkey.export.local_files import path_errors
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
    file_format: str
    compression: str | None
    csv_formulas: str
    overwrite: bool

    def __post_init__(self) -> None:
        def path_of(field: str, value: str | None) -> ObjectStoragePath | None:
            return None if value is None else file_path(value, self.object_storage_conn_id, field=field)

        self._output = file_path(self.path, self.object_storage_conn_id)
        self._errors = path_of("error_path", self.error_path)
        self._input = path_of("input_path", self.input_path if self.reconcile else None)
        if self._errors and uri_of(self._errors) == uri_of(self._output):
            raise PortkeyInvalidArgumentError("error_path", self.error_path, "another file than path, or None")
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
        batch = self._terminal_batch()
        reconciler = self._reconciler(batch)
        with ExitStack() as files:
            output = files.enter_context(self._open(self._output))
            errors = files.enter_context(self._open(self._errors)) if self._errors else None
            for row in self._output_rows(batch):
                if reconciler.add(row):
                    output.write(row)
            for row in self._error_rows(batch):
                if reconciler.add(row, error_file=True):
                    (errors or output).write(row)
        summary = output.summary()
        summary["non_finite_values"] += errors.non_finite_values if errors else 0
        counts, of_batch = reconciler.counts(), batch.get("usage")
        cost = cost_of(counts["usage"])
        if cost_of(of_batch) is None:  # the wait for the batch has counted the batch's own cost
            count_cost(BATCH.kind, str(batch.get("status")), cost)
        counts["usage"] = counts["usage"] or (of_batch if isinstance(of_batch, dict) else None) or None
        return build_manifest(
            **summary,
            started_at=started_at,
            error_uri=errors.uri if errors else None,
            error_rows=errors.rows if errors else None,
            error_bytes=errors.bytes if errors else None,
            error_sha256=errors.sha256 if errors else None,
            batch_id=self.batch_id,
            batch_status=batch.get("status"),
            **counts,
            cost=cost_of(of_batch) if cost is None else cost,
        )

    def _terminal_batch(self) -> dict[str, Any]:
        batch = self.hook.get_batch(self.batch_id)
        status = batch.get("status")
        if status not in BATCH.terminal_statuses:
            raise PortkeyRemoteJobNotFinishedError(
                f"Batch {self.batch_id!r} is still {status}: wait for it with PortkeyBatchSensor before its output."
            )
        if status not in BATCH.success_statuses or status in BATCH.partial_statuses:
            reason = BATCH.error_message(batch)
            log.warning("Batch %r is %s%s", self.batch_id, status, f": {reason}" if reason else ".")
        return batch

    def _reconciler(self, batch: Mapping[str, Any]) -> BatchReconciler:
        if not self.reconcile:
            return BatchReconciler(None)
        if self._input is not None:
            chunks, name = _content_of(self._input), str(self._input)
        elif file_id := _file_id(batch, "input"):
            chunks, name = self.hook.iter_file_content(file_id), f"input file {file_id!r}"
        else:
            log.warning("Batch %r has no input file: its outcomes are not compared with requests.", self.batch_id)
            return BatchReconciler(None)
        try:
            return BatchReconciler(iter_objects(split_lines(chunks), name), name=name)
        except PortkeyNotFoundError as error:
            advice = "The batch's input is not there to compare its output with: set input_path, or reconcile=False."
            raise _with_advice(error, advice) from None

    def _output_rows(self, batch: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        file_id = _file_id(batch, "output")
        if self._has_output_file(batch):
            try:
                if file_id:
                    lines = split_lines(self.hook.iter_file_content(file_id))
                    yield from iter_objects(lines, f"output file {file_id!r}")
            except PortkeyNotFoundError as error:
                if batch["status"] not in BATCH.success_statuses and _is_folder(batch):
                    log.warning("Batch %r has no output: %s", self.batch_id, error)
                    return
                advice = "The batch's output file is a folder: set source='portkey'." if _is_folder(batch) else ""
                raise (_with_advice(error, advice) if advice else error) from None
        elif batch["status"] != "failed":  # without output: Portkey would respond with the batch's errors
            name = f"the output of batch {self.batch_id!r}"
            try:
                yield from iter_objects(split_lines(self.hook.iter_batch_output(self.batch_id)), name)
            except PortkeyNotFoundError:
                if file_id or batch["status"] in BATCH.success_statuses:
                    raise

    def _has_output_file(self, batch: Mapping[str, Any]) -> bool:
        """
        Return whether the output is that of ``output_file_id``, if any, rather than that of ``/batches/{id}/output``.

        Anthropic and batches that Portkey manages have no such file, Bedrock has a folder.
        """
        if self.source != "auto":
            return self.source == "file"
        if _file_id(batch, "output"):
            return not _is_folder(batch)
        if _file_id(batch, "error"):
            return True
        return batch["status"] not in BATCH.success_statuses and _file_id(batch, "input") is not None

    def _error_rows(self, batch: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the rows of the error file; of Vertex it is a folder, which costs a warning and not the output."""
        if not (file_id := _file_id(batch, "error")):
            return
        left_out = "The error file %r of batch %r is left out: %s"
        try:
            lines = split_lines(self.hook.iter_file_content(file_id))
            first = next(filter(bytes.strip, lines), b"")
        except PortkeyError as error:
            if getattr(error, "transient", False):
                raise
            log.warning(left_out, file_id, self.batch_id, error)
            return
        if first.lstrip().startswith(b"<"):
            log.warning(left_out, file_id, self.batch_id, "it is a page or the listing of a folder.")
            return
        yield from iter_objects(chain([first], lines), f"error file {file_id!r}")

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
    names = ("succeeded", "failed", "missing", "duplicate", "unexpected")
    counts = ", ".join(f"{manifest[name]} {name}" for name in names if manifest[name] is not None)
    where = manifest["uri"] + (f", errors in {manifest['error_uri']}" if manifest["error_uri"] else "")
    requests = manifest["requests"]
    summary = f"Batch {manifest['batch_id']!r}: of {requests} requests {counts}. The output is in {where}."
    ratio = (requests - manifest["succeeded"]) / requests if requests else 0.0
    if max_failure_ratio is not None and ratio > max_failure_ratio:
        raise PortkeyBatchRequestsFailedError(
            f"{summary} The failure ratio {ratio:.3g} is above max_failure_ratio={max_failure_ratio:g}.",
            manifest=manifest,
        )
    log.info("%s", summary)


def _file_id(batch: Mapping[str, Any], kind: str) -> str | None:
    """
    Return the id of a batch's input, output or error file, ``None`` where the batch has none.

    :raises PortkeyUnexpectedResponseError: where the id is no string.
    """
    file_id = batch.get(f"{kind}_file_id")
    if file_id is not None and not isinstance(file_id, str):
        raise PortkeyUnexpectedResponseError(f"Batch {batch.get('id')!r} has {kind}_file_id={file_id!r}, no id.")
    return file_id or None


def _is_folder(batch: Mapping[str, Any]) -> bool:
    """Return whether the output file of a batch is a folder: by its name, or because it is the error file too."""
    output = _file_id(batch, "output")
    return output is not None and (unquote(output).endswith("/") or same_id(output, _file_id(batch, "error")))


def _with_advice(error: PortkeyNotFoundError, advice: str) -> PortkeyNotFoundError:
    return PortkeyNotFoundError(f"{error} {advice}", server_message=error.server_message, status_code=error.status_code)


def _content_of(path: ObjectStoragePath) -> Iterator[bytes]:
    with path_errors(path, "read"), cast("Any", path).open("rb") as file:
        yield from read_chunks(file)
