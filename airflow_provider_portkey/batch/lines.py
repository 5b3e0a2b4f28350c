"""The lines of a batch with a terminal status: output, errors and input, wherever the provider has them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from airflow_provider_portkey.client.paths import same_id
from airflow_provider_portkey.exceptions import (
    PortkeyError,
    PortkeyNotFoundError,
    PortkeyRemoteJobNotFinishedError,
    PortkeyUnexpectedResponseError,
)
from airflow_provider_portkey.export.jsonl import iter_objects, split_lines
from airflow_provider_portkey.jobs.batch import BATCH

if TYPE_CHECKING:
    from airflow_provider_portkey.hooks.portkey import PortkeyHook

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class BatchLines:
    """
    Reads the lines of one batch.

    :param source: The operator's ``source``.
    """

    hook: PortkeyHook
    batch_id: str
    source: str

    def terminal_batch(self) -> dict[str, Any]:
        """
        Return the batch, and warn where it did not succeed.

        :raises PortkeyRemoteJobNotFinishedError: where the batch has no terminal status.
        """
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

    def input_rows(self, batch: Mapping[str, Any]) -> tuple[Iterator[dict[str, Any]], str] | None:
        """Return the requests of the batch's own input file and the file's name; ``None`` where it has no such file."""
        if not (file_id := _file_id(batch, "input")):
            return None
        name = f"input file {file_id!r}"
        return iter_objects(split_lines(self.hook.iter_file_content(file_id)), name), name

    def output_rows(self, batch: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """
        Yield the rows of the output.

        :raises PortkeyLineInvalidError: naming a line that is no JSON object.
        """
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
                raise (with_advice(error, advice) if advice else error) from None
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

    def error_rows(self, batch: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
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


def with_advice(error: PortkeyNotFoundError, advice: str) -> PortkeyNotFoundError:
    """Return the error with what the user can do."""
    return PortkeyNotFoundError(f"{error} {advice}", server_message=error.server_message, status_code=error.status_code)
