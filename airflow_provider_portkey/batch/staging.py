"""
The submission of a batch: the checked input is uploaded once, and the batch is created from that upload.

Requests of the inline shape are sent in the body of the request that creates the batch, without an upload.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.batch.input import BatchInput, open_batch_input
from airflow_provider_portkey.batch.processing import await_processed, is_processing
from airflow_provider_portkey.exceptions import (
    PortkeyBadRequestError,
    PortkeyBatchInputInvalidError,
    PortkeyError,
    PortkeyNotFoundError,
    PortkeyRemoteJobFailedError,
    PortkeyUnexpectedResponseError,
)
from airflow_provider_portkey.jobs.values import read_number

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_portkey.hooks.portkey import PortkeyHook
    from airflow_provider_portkey.state.task import TaskState

log = logging.getLogger(__name__)

#: Files that are searched for an upload whose outcome is unknown: ten pages of the list, newest first.
_FILES_SEARCHED = 1_000
#: Characters of the input's own name that the name of the upload keeps.
_NAME_KEPT = 60
#: Bytes of the inline requests of one batch at most (Anthropic's reference: 256 MB); they are in memory at once.
_MAX_INLINE_BYTES = 256 * 1024 * 1024


def submit_batch(
    hook: PortkeyHook,
    task_state: TaskState,
    idempotency_key: str,
    path: ObjectStoragePath,
    body: Mapping[str, Any],
    *,
    inline_body: Mapping[str, Any],
    line_endpoint: str,
    max_requests: int | None,
    mode: str,
    check: bool,
    before_creation: Callable[[], None],
    repeat: Callable[[Callable[[], dict[str, Any] | None]], dict[str, Any] | None],
) -> Mapping[str, Any]:
    """
    Check the input, upload the input unless an earlier try did, create the batch and return it.

    :param task_state: Holds what earlier tries of the task have done, and is kept up to date.
    :param idempotency_key: Ends the name of the uploaded file, by which a later try finds it.
    :param path: The input.
    :param body: The fields of the batch, without ``input_file_id``.
    :param inline_body: The fields of a batch of inline requests, without ``requests``.
    :param line_endpoint: The endpoint of the lines.
    :param max_requests: Limit of requests, ``None`` for no limit.
    :param mode: The operator's ``input_mode``.
    :param check: Whether to check the lines.
    :param before_creation: Called right before the batch is created; an exception prevents that.
    :param repeat: Repeats a request until it has a result, for a list that may lag.
    :raises PortkeyBatchInputInvalidError: naming the bad lines; nothing was sent then.
    :raises PortkeyRemoteJobFailedError: where the provider could not process the uploaded file.
    """
    earlier = task_state.read()
    # An earlier idempotency key was refused: there is no batch of it to search for.
    same = earlier.get("since_idempotency_key") == idempotency_key
    since = earlier["since"] if same else time.time()
    state = {"idempotency_key": idempotency_key, "since_idempotency_key": idempotency_key, "since": since}

    def create(upload: Mapping[str, Any], file: Mapping[str, Any]) -> Mapping[str, Any]:
        if is_processing(file):
            task_state.write({**state, "upload": upload, "processing": True})
            try:
                await_processed(hook, file)
            except PortkeyRemoteJobFailedError:
                task_state.write(state)  # the next try uploads again
                raise
        task_state.write({**state, "upload": upload, "posted": True})
        before_creation()
        return hook.create_batch({**body, "input_file_id": upload["file_id"]})

    with open_batch_input(
        path, endpoint=line_endpoint, max_requests=max_requests, mode=mode, check=check
    ) as batch_input:
        log.info("%s has %d requests, %d bytes.", path, batch_input.requests, batch_input.bytes)
        if batch_input.inline:
            requests = _inline_requests(batch_input)
            task_state.write({**state, "posted": True})
            before_creation()
            return hook.create_batch({**inline_body, "requests": requests})
        if upload := _earlier_upload(hook, earlier, batch_input, repeat):
            status = "pending" if earlier.get("processing") else None
            try:
                return create(upload, {"id": upload["file_id"], "status": status})
            except (PortkeyBadRequestError, PortkeyNotFoundError) as error:
                log.warning("File %s, uploaded before, is refused: %s", upload["file_id"], error)
        name = _upload_name(batch_input, idempotency_key)
        task_state.write({**state, "uploading": name})
        file = hook.upload_batch_file(batch_input.file, filename=name)
    if not isinstance(file_id := file.get("id"), str) or not file_id:
        raise PortkeyUnexpectedResponseError(f"The response to the upload has no id, only {sorted(file)}.")
    log.info("Uploaded the input as %s, %s.", file_id, name)
    return create(_upload_of(file_id, batch_input), file)


def posted_upload(task_state: TaskState) -> tuple[str | None, float] | None:
    """
    Return the id of the file from which an earlier try may have created a batch, and when the first try began.

    :return: The id, ``None`` for inline requests, and epoch seconds; ``None`` where no try got as far as creating a
        batch.
    """
    earlier = task_state.read()
    return (earlier.get("upload", {}).get("file_id"), earlier["since"]) if earlier.get("posted") else None


def _earlier_upload(
    hook: PortkeyHook,
    earlier: Mapping[str, Any],
    batch_input: BatchInput,
    repeat: Callable[[Callable[[], dict[str, Any] | None]], dict[str, Any] | None],
) -> Mapping[str, Any] | None:
    """Return the upload of an earlier try, if it has the same content."""
    if upload := earlier.get("upload"):
        if upload == _upload_of(upload["file_id"], batch_input):
            log.info("An earlier try uploaded the input as %s.", upload["file_id"])
            return dict(upload)
        log.warning("%s has changed since an earlier try uploaded the file; uploading it again.", batch_input.uri)
    elif (name := earlier.get("uploading")) and batch_input.sha256[:12] in name:
        try:
            if upload := repeat(lambda: _find_upload(hook, name, batch_input)):
                log.info("An earlier try uploaded the input as %s.", upload["file_id"])
                return upload
        except PortkeyError as error:
            log.warning("The files cannot be listed to find an earlier upload; uploading the input again: %s", error)
    return None


def _inline_requests(batch_input: BatchInput) -> list[dict[str, Any]]:
    if batch_input.bytes > _MAX_INLINE_BYTES:
        raise PortkeyBatchInputInvalidError(
            f"{batch_input.uri} has {batch_input.bytes} bytes, more than the {_MAX_INLINE_BYTES} bytes of inline "
            "requests. Nothing was sent."
        )
    return list(batch_input.iter_requests())


def _find_upload(hook: PortkeyHook, name: str, batch_input: BatchInput) -> dict[str, Any] | None:
    for file in hook.iter_batch_files(max_items=_FILES_SEARCHED):
        if file.get("filename") == name and read_number(file.get("bytes")) == batch_input.bytes:
            return _upload_of(file["id"], batch_input)
    return None


def _upload_of(file_id: str, batch_input: BatchInput) -> dict[str, Any]:
    return {"file_id": file_id, "bytes": batch_input.bytes, "sha256": batch_input.sha256}


def _upload_name(batch_input: BatchInput, idempotency_key: str) -> str:
    """Return a name that only an upload of the same content by the same task has."""
    own = re.sub(r"[^\w.-]+", "_", batch_input.uri.rsplit("/", 1)[-1], flags=re.ASCII)
    return f"{own.removesuffix('.jsonl')[:_NAME_KEPT]}-{batch_input.sha256[:12]}-{idempotency_key}.jsonl"
