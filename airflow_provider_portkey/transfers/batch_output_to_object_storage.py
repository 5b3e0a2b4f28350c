"""What became of a batch's requests, to files in object storage, and held against what was asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any, cast

from airflow_provider_portkey.exceptions import (
    PortkeyBatchRequestsFailedError,
    PortkeyInvalidArgumentError,
    PortkeyNotFoundError,
    PortkeyRemoteJobNotFinishedError,
)
from airflow_provider_portkey.transfers.base import BasePortkeyToObjectStorageOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath

    from airflow_provider_portkey.batch.reconcile import BatchReconciler
    from airflow_provider_portkey.export.formats import Columns
    from airflow_provider_portkey.export.writer import RowWriter
    from airflow_provider_portkey.hooks.portkey import PortkeyHook

#: Bytes of a file of requests that are read at once.
_PIECE = 1024 * 1024


class PortkeyBatchOutputToObjectStorageOperator(BasePortkeyToObjectStorageOperator):
    """
    Write the outcome of each of a batch's requests to a file, and count in the manifest what is not as it should be.

    Works for a batch that expired or was cancelled as well, with what it has. Files appear whole or not at all; of
    several outcomes of one request only the first is kept.

    :param batch_id: The batch, which must have ended (templated).
    :param path: Where the output goes: a local path or any URL that ``ObjectStoragePath`` takes (templated).
    :param error_path: Where the lines of the batch's error file go; ``None`` to have them behind those of the output
        file at ``path`` (templated).
    :param input_path: The requests, to hold the outcomes against; ``None`` to fetch the batch's own input file from
        the provider (templated).
    :param reconcile: Whether to hold the outcomes against the requests at all.
    :param source: ``"file"`` reads the batch's output file; ``"portkey"`` the output as Portkey puts it together
        for providers that have no such file, which the open-source gateway cannot carry.
    :param max_failure_ratio: Fail once all has landed where more than this share of the requests, 0 to 1, failed or has
        no outcome; 0 fails on any, ``None`` never.
    :param kwargs: The arguments of :class:`BasePortkeyToObjectStorageOperator`: ``file_format``, ``compression``,
        ``overwrite`` and the connections.
    """

    template_fields: Sequence[str] = (
        *BasePortkeyToObjectStorageOperator.template_fields,
        "batch_id",
        "error_path",
        "input_path",
    )
    rows_from = "/batches/{batch_id}/output"

    def __init__(
        self,
        *,
        batch_id: str,
        error_path: str | None = None,
        input_path: str | None = None,
        reconcile: bool = True,
        source: str = "file",
        max_failure_ratio: float | None = None,
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

        :raises PortkeyRemoteJobNotFinishedError: where the batch still goes on.
        :raises PortkeyDestinationExistsError: where a file is there already and ``overwrite`` is off.
        :raises PortkeyLineInvalidError: naming a line that is no JSON object.
        :raises PortkeyBatchRequestsFailedError: where more requests failed than ``max_failure_ratio`` allows.
        """
        from airflow_provider_portkey.export.atomic import refuse_existing, uri_of
        from airflow_provider_portkey.export.formats import check_installed
        from airflow_provider_portkey.export.manifest import build_manifest, timestamp_now

        self._begin(context)
        path = self._path("path", self.path)
        error_path = self._path("error_path", self.error_path) if self.error_path is not None else None
        if error_path is not None and uri_of(error_path) == uri_of(path):
            raise PortkeyInvalidArgumentError("error_path", self.error_path, "another file than path, or None")
        check_installed(self.file_format, self.compression)
        for destination in filter(None, (path, error_path)):
            refuse_existing(destination, overwrite=self.overwrite)
        started_at, hook = timestamp_now(), self.hook
        batch = self._ended_batch(hook)
        outcomes = self._outcomes(hook, batch)
        with ExitStack() as files:
            output = files.enter_context(self._writer(path))
            errors = files.enter_context(self._writer(error_path)) if error_path is not None else None
            for row in self._output_lines(hook, batch):
                if outcomes.take(row):
                    output.write(row)
            for row in self._error_lines(hook, batch):
                if outcomes.take(row, error_file=True):
                    (errors or output).write(row)
        manifest = build_manifest(
            **output.summary(),
            error_uri=errors.uri if errors else None,
            error_rows=errors.rows if errors else None,
            error_bytes=errors.bytes if errors else None,
            error_sha256=errors.sha256 if errors else None,
            started_at=started_at,
            batch_id=self.batch_id,
            batch_status=batch.get("status"),
            **outcomes.counts(),
        )
        requests = [uri_of(self._path("input_path", self.input_path))] if self.reconcile and self.input_path else []
        self._report_lineage(manifest, *requests)
        return self._judged(manifest, outcomes)

    def columns(self) -> Columns:
        """Return the declared columns of a table of outcomes."""
        from airflow_provider_portkey.batch.reconcile import BATCH_OUTPUT_COLUMNS

        return BATCH_OUTPUT_COLUMNS

    def _path(self, field: str, value: str) -> ObjectStoragePath:
        from airflow_provider_portkey.export.atomic import file_path

        return file_path(value, self.object_storage_conn_id, field=field)

    def _writer(self, path: ObjectStoragePath) -> AbstractContextManager[RowWriter]:
        from airflow_provider_portkey.export.writer import open_writer

        return open_writer(
            path,
            columns=self.columns(),
            file_format=self.file_format,
            compression=self.compression,
            overwrite=self.overwrite,
        )

    def _ended_batch(self, hook: PortkeyHook) -> dict[str, Any]:
        from airflow_provider_portkey.jobs.batch import BATCH

        batch = hook.get_batch(self.batch_id)
        status = batch.get("status")
        if status in BATCH.active_statuses:
            raise PortkeyRemoteJobNotFinishedError(
                f"Batch {self.batch_id!r} is still {status}: wait for it with PortkeyBatchSensor before its output."
            )
        if status not in BATCH.success_statuses:
            reason = BATCH.error_message(batch)
            self.log.warning("Batch %r is %s%s", self.batch_id, status, f": {reason}" if reason else ".")
        return batch

    def _outcomes(self, hook: PortkeyHook, batch: Mapping[str, Any]) -> BatchReconciler:
        from airflow_provider_portkey.batch.reconcile import BatchReconciler

        if not self.reconcile:
            return BatchReconciler(None)
        if self.input_path is not None:
            pieces, name = _read(self._path("input_path", self.input_path)), str(self.input_path)
        else:
            file_id = str(batch.get("input_file_id") or "")
            pieces, name = hook.iter_file_content(file_id), f"input file {file_id!r}"
        try:
            return BatchReconciler(_objects(pieces, name), name=name)
        except PortkeyNotFoundError as error:
            advice = "The batch's input is not there to hold its output against: set input_path, or reconcile=False."
            raise PortkeyNotFoundError(
                f"{error} {advice}", server_message=error.server_message, status_code=error.status_code
            ) from None

    def _output_lines(self, hook: PortkeyHook, batch: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        from airflow_provider_portkey.jobs.batch import BATCH

        file_id = batch.get("output_file_id")
        if self.source == "file":
            if file_id:
                yield from _objects(hook.iter_file_content(file_id), f"output file {file_id!r}")
        elif batch.get("status") != "failed":  # which has no output: Portkey would answer with the batch's errors
            name = f"the output of batch {self.batch_id!r}"
            try:
                yield from _objects(hook.iter_batch_output(self.batch_id), name)
            except PortkeyNotFoundError:
                if file_id or batch.get("status") in BATCH.success_statuses:
                    raise

    def _error_lines(self, hook: PortkeyHook, batch: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        if file_id := batch.get("error_file_id"):
            yield from _objects(hook.iter_file_content(file_id), f"error file {file_id!r}")

    def _judged(self, manifest: dict[str, Any], outcomes: BatchReconciler) -> dict[str, Any]:
        names = ("succeeded", "failed", "missing", "duplicate", "unexpected")
        counts = ", ".join(f"{manifest[name]} {name}" for name in names if manifest[name] is not None)
        where = manifest["uri"] + (f", errors in {manifest['error_uri']}" if manifest["error_uri"] else "")
        what = f"Batch {self.batch_id!r}: of {manifest['requests']} requests {counts}. The output is in {where}."
        share = outcomes.failure_ratio
        if self.max_failure_ratio is not None and share > self.max_failure_ratio:
            raise PortkeyBatchRequestsFailedError(
                f"{what} A share of {share:.3g} did not succeed, more than max_failure_ratio={self.max_failure_ratio:g}.",
                manifest=manifest,
            )
        self.log.info("%s", what)
        return manifest


def _read(path: ObjectStoragePath) -> Iterator[bytes]:
    with cast("Any", path).open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def _objects(pieces: Iterator[bytes], name: str) -> Iterator[dict[str, Any]]:
    from airflow_provider_portkey.export.jsonl import iter_objects, split_lines

    return iter_objects(split_lines(pieces), name)
