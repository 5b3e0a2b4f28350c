"""A batch from a file of requests: checked, uploaded once, submitted once, waited for."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.exceptions import (
    PortkeyBadRequestError,
    PortkeyError,
    PortkeyInvalidArgumentError,
    PortkeyNotFoundError,
    PortkeyPaginationError,
    PortkeyRequestError,
    PortkeyUnexpectedResponseError,
)
from airflow_provider_portkey.lazy import lazy_attribute
from airflow_provider_portkey.tasks.submit import (
    IDEMPOTENCY_KEY,
    BasePortkeySubmitOperator,
    find_own,
    idempotency_key_of,
    refuse_idempotency_key,
)

if TYPE_CHECKING:
    from airflow_provider_portkey.batch.staging import BatchFile
    from airflow_provider_portkey.state.task import TaskState

#: Files that are looked through for an upload whose outcome is not known.
_FILES_LOOKED_AT = 1_000

_OWN_FIELDS = frozenset({"input_file_id", "endpoint", "completion_window", "metadata"})


class PortkeyCreateBatchOperator(BasePortkeySubmitOperator):
    """
    Upload a file of requests, make a batch of it, and wait until the batch has ended.

    Every line is checked before a byte is sent. A retry, a rescheduled look and a restart after a crash go on where
    the try before was: neither is the file uploaded again nor is a second batch made.

    :param input_path: The requests, one JSON object on each line: a local path or any URL that
        ``ObjectStoragePath`` takes (templated).
    :param object_storage_conn_id: The Airflow connection to the object store, if one is needed (templated).
    :param endpoint: What the requests are for; each line's ``url`` must be the same (templated).
    :param completion_window: How long the provider may take, ``"24h"``, or ``"immediate"`` where Portkey itself
        manages the batch (templated).
    :param metadata: Kept with the batch, up to 15 pairs of texts; the operator adds ``airflow_idempotency_key`` (templated).
    :param extra_body: More fields for the batch, such as ``model``, ``role_arn``, ``provider_options`` or
        ``portkey_options`` (templated).
    :param max_requests: Refuse a file with more requests; ``None`` for any number.
    :param kwargs: The arguments of :class:`BasePortkeySubmitOperator` and of Airflow's sensors.
    """

    template_fields: Sequence[str] = (
        "portkey_conn_id",
        "object_storage_conn_id",
        "input_path",
        "endpoint",
        "completion_window",
        "metadata",
        "extra_body",
    )
    ui_color = "#e8e4f8"
    job = lazy_attribute("jobs.batch", "BATCH")

    def __init__(
        self,
        *,
        input_path: str,
        object_storage_conn_id: str | None = None,
        endpoint: str = "/v1/chat/completions",
        completion_window: str = "24h",
        metadata: Mapping[str, str] | None = None,
        extra_body: Mapping[str, Any] | None = None,
        max_requests: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_path = input_path
        self.object_storage_conn_id = object_storage_conn_id
        self.endpoint = endpoint
        self.completion_window = completion_window
        self.metadata = metadata
        self.extra_body = extra_body
        self.max_requests = max_requests
        if max_requests is not None and (
            isinstance(max_requests, bool) or not isinstance(max_requests, int) or max_requests < 1
        ):
            raise PortkeyInvalidArgumentError("max_requests", max_requests, "a whole number of at least 1, or None")

    def submit(self, task_state: TaskState, idempotency_key: str) -> Mapping[str, Any]:
        """
        Check the file, upload it unless an earlier try did, and make the batch.

        :raises PortkeyBatchInputInvalidError: naming the lines that are no requests; nothing was sent then.
        """
        from airflow.providers.common.compat.sdk import ObjectStoragePath

        from airflow_provider_portkey.batch.staging import checked_file

        self._check_arguments()
        earlier = task_state.read()
        # Of an earlier idempotency_key, which was refused, nothing needs to be looked for.
        same = earlier.get("since_idempotency_key") == idempotency_key
        since = earlier["since"] if same else time.time()
        state = {"idempotency_key": idempotency_key, "since_idempotency_key": idempotency_key, "since": since}
        path = ObjectStoragePath(self.input_path, conn_id=self.object_storage_conn_id)
        with checked_file(path, endpoint=self.endpoint, max_requests=self.max_requests) as batch_file:
            self.log.info("%s has %d requests, %d bytes.", path, batch_file.requests, batch_file.bytes)
            if upload := self._earlier_upload(earlier, batch_file):
                task_state.write({**state, "upload": upload, "posted": True})
                try:
                    return self.hook.create_batch(self._body(upload["file_id"], idempotency_key))
                except (PortkeyBadRequestError, PortkeyNotFoundError) as error:
                    self.log.warning("File %s, uploaded before, is refused: %s", upload["file_id"], error)
            upload = self._upload(batch_file, task_state, state)
        task_state.write({**state, "upload": upload, "posted": True})
        return self.hook.create_batch(self._body(upload["file_id"], idempotency_key))

    def find_by_idempotency_key(self, task_state: TaskState, idempotency_key: str) -> Mapping[str, Any] | None:
        """
        Return the batch that an earlier try may have made, by its metadata or by its input file.

        :raises PortkeySubmissionUnknownError: where the batches cannot be listed.
        """
        earlier = task_state.read()
        if not earlier.get("posted"):
            return None  # that try never came so far
        file_id = earlier["upload"]["file_id"]

        def is_own(batch: Mapping[str, Any]) -> bool:
            return idempotency_key_of(batch) == idempotency_key or batch.get("input_file_id") == file_id

        try:
            if batch := find_own(self.hook.iter_batches(), is_own, since=earlier["since"]):
                self.log.info("An earlier try has made %s.", self.job.describe({"batch_id": batch["id"]}))
                return batch
        except (PortkeyPaginationError, PortkeyRequestError) as error:
            if getattr(error, "transient", False):
                raise
            self.log.warning("The batches cannot be listed: %s", error)
            return super().find_by_idempotency_key(task_state, idempotency_key)
        self.log.info("An earlier try broke off while it made its batch, and there is none; making it now.")
        return None

    def _check_arguments(self) -> None:
        """Look at what templates have filled in by now."""
        for name in ("metadata", "extra_body"):
            if not isinstance(value := getattr(self, name), Mapping | None):
                raise PortkeyInvalidArgumentError(name, value, "a dict, or None")
        refuse_idempotency_key(self.metadata or {})
        if own := sorted(_OWN_FIELDS & set(self.extra_body or {})):
            expected = f"nothing that has an argument of its own, as {', '.join(own)} has or the operator sets"
            raise PortkeyInvalidArgumentError("extra_body", self.extra_body, expected)

    def _body(self, file_id: str, idempotency_key: str) -> dict[str, Any]:
        return {
            **(self.extra_body or {}),
            "input_file_id": file_id,
            "endpoint": self.endpoint,
            "completion_window": self.completion_window,
            "metadata": {**(self.metadata or {}), IDEMPOTENCY_KEY: idempotency_key},
        }

    def _upload(self, batch_file: BatchFile, task_state: TaskState, state: Mapping[str, Any]) -> dict[str, Any]:
        name = batch_file.upload_name(state["idempotency_key"])
        task_state.write({**state, "uploading": name})
        answer = self.hook.upload_batch_file(batch_file.file, filename=name)
        if not isinstance(file_id := answer.get("id"), str) or not file_id:
            raise PortkeyUnexpectedResponseError(f"The answer to the upload has no id, only {sorted(answer)}.")
        self.log.info("Uploaded it as %s, %s.", file_id, name)
        return _upload_of(file_id, batch_file)

    def _earlier_upload(self, earlier: Mapping[str, Any], batch_file: BatchFile) -> dict[str, Any] | None:
        """Return what an earlier try uploaded, if it is what this one would."""
        if upload := earlier.get("upload"):
            if upload == _upload_of(upload["file_id"], batch_file):
                self.log.info("An earlier try has uploaded it as %s.", upload["file_id"])
                return dict(upload)
            self.log.warning("%s has changed since an earlier try uploaded it; uploading anew.", batch_file.uri)
        elif (name := earlier.get("uploading")) and batch_file.sha256[:12] in name:
            try:
                for file in self.hook.iter_batch_files(max_items=_FILES_LOOKED_AT):
                    if file.get("filename") == name and file.get("bytes") == batch_file.bytes:
                        self.log.info("An earlier try has uploaded it as %s.", file["id"])
                        return _upload_of(file["id"], batch_file)
            except PortkeyError as error:
                self.log.warning("Whether an earlier try uploaded the file cannot be seen; uploading it: %s", error)
        return None


def _upload_of(file_id: str, batch_file: BatchFile) -> dict[str, Any]:
    return {"file_id": file_id, "bytes": batch_file.bytes, "sha256": batch_file.sha256}
