"""Creating a batch from a file of requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_portkey.lazy import lazy_attribute
from airflow_provider_portkey.tasks.submit import BasePortkeySubmitOperator, build_body

if TYPE_CHECKING:
    from airflow_provider_portkey.state.task import TaskState


class PortkeyCreateBatchOperator(BasePortkeySubmitOperator):
    """
    Upload a file of requests, create a batch from the file, and wait until the batch has a terminal status.

    Every line is checked before a byte is sent. A retry, a rescheduled poll and a restart after a crash continue where
    the earlier try stopped: the file is uploaded once, and one batch is created. A file that the provider still
    processes is waited for.

    Anthropic takes no file: lines of ``{"custom_id", "params"}`` are sent in the body of the request, without
    ``endpoint`` and ``completion_window``.

    :param input_path: The requests, one JSON object on each line: a local path or any URL that
        ``ObjectStoragePath`` takes (templated).
    :param object_storage_conn_id: The Airflow connection to the object store, if one is needed (templated).
    :param endpoint: The endpoint of the requests (templated).
    :param line_endpoint: The ``url`` that each line must have; ``None`` for ``endpoint``. Azure takes
        ``/chat/completions`` and ``/v1/chat/completions`` (templated).
    :param check_input: Check every line; ``False`` for lines in a provider's own format, which are only counted
        (templated).
    :param input_mode: ``"file"`` uploads the requests, ``"inline"`` sends them in the body; ``"auto"`` does the latter
        where the first line has ``params`` and no ``url`` (templated).
    :param completion_window: Time that the provider may take, ``"24h"``, or ``"immediate"`` where Portkey itself
        manages the batch (templated).
    :param metadata: Stored with the batch, up to 15 pairs of strings, as a mapping or as JSON; the operator adds
        ``airflow_idempotency_key`` and, where there is room for them, the ids of the task (templated).
    :param extra_body: Further fields of the batch, such as ``model``, ``role_arn``, ``provider_options`` or
        ``portkey_options``, as a mapping or as JSON (templated).
    :param max_requests: Limit of requests in the file, ``None`` for no limit (templated).
    :param kwargs: The arguments of :class:`BasePortkeySubmitOperator` and of Airflow's sensors.
    """

    template_fields: Sequence[str] = (
        *BasePortkeySubmitOperator.template_fields,
        "object_storage_conn_id",
        "input_path",
        "endpoint",
        "line_endpoint",
        "check_input",
        "input_mode",
        "completion_window",
        "metadata",
        "extra_body",
        "max_requests",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"metadata": "json", "extra_body": "json"}
    job = lazy_attribute("jobs.batch", "BATCH")

    def __init__(
        self,
        *,
        input_path: str,
        object_storage_conn_id: str | None = None,
        endpoint: str = "/v1/chat/completions",
        line_endpoint: str | None = None,
        check_input: bool = True,
        input_mode: str = "auto",
        completion_window: str = "24h",
        metadata: Mapping[str, str] | str | None = None,
        extra_body: Mapping[str, Any] | str | None = None,
        max_requests: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.input_path = input_path
        self.object_storage_conn_id = object_storage_conn_id
        self.endpoint = endpoint
        self.line_endpoint = line_endpoint
        self.check_input = check_input
        self.input_mode = input_mode
        self.completion_window = completion_window
        self.metadata = metadata
        self.extra_body = extra_body
        self.max_requests = max_requests
        self._validate()

    def submit(self, task_state: TaskState, idempotency_key: str) -> Mapping[str, Any]:
        """
        Check the file, upload the file unless an earlier try did, and create the batch.

        :raises PortkeyBatchInputInvalidError: naming the lines that are no requests; nothing was sent then.
        :raises PortkeyRemoteJobFailedError: where the provider could not process the uploaded file.
        """
        from airflow_provider_portkey.batch.staging import submit_batch
        from airflow_provider_portkey.client.task_metadata import with_task_metadata
        from airflow_provider_portkey.export.atomic import file_path
        from airflow_provider_portkey.tasks.idempotency import (
            BEFORE_SUBMISSION,
            IDEMPOTENCY_KEY,
            refuse_idempotency_key,
        )
        from airflow_provider_portkey.validation import json_object

        metadata = json_object("metadata", self.metadata) or {}
        refuse_idempotency_key(metadata)
        own = {
            "endpoint": self.endpoint,
            "completion_window": self.completion_window,
            "metadata": with_task_metadata({**metadata, IDEMPOTENCY_KEY: idempotency_key}, self.hook.job_metadata),
        }
        reserved = (*own, "input_file_id", "requests")
        # Portkey documents no metadata of inline requests: only what the caller wants is sent.
        inline = {"metadata": own["metadata"]} if metadata else {}
        return submit_batch(
            self.hook,
            task_state,
            idempotency_key,
            file_path(self.input_path, self.object_storage_conn_id, field="input_path"),
            build_body(own, self.extra_body, reserved=reserved),
            inline_body=build_body(inline, self.extra_body, reserved=reserved),
            line_endpoint=self.line_endpoint or self.endpoint,
            max_requests=self.max_requests,
            mode=self.input_mode,
            check=self.check_input,
            before_creation=self._refuse_after_kill,
            repeat=BEFORE_SUBMISSION.repeat,
        )

    def find_by_idempotency_key(self, task_state: TaskState, idempotency_key: str) -> Mapping[str, Any] | None:
        """
        Return the batch that an earlier try may have created, by its metadata or by its input file.

        :raises PortkeySubmissionUnknownError: where the batches cannot be listed, and where the list does not show the
            batch of inline requests: its metadata need not be stored.
        """
        from airflow_provider_portkey.batch.staging import posted_upload
        from airflow_provider_portkey.client.paths import same_id
        from airflow_provider_portkey.tasks.idempotency import idempotency_key_of

        if not (posted := posted_upload(task_state)):
            return None
        file_id, since = posted

        def is_own(batch: Mapping[str, Any]) -> bool:
            return idempotency_key_of(batch) == idempotency_key or same_id(batch.get("input_file_id"), file_id)

        batch = self._search(self.hook.iter_batches, is_own, since=since)
        return super().find_by_idempotency_key(task_state, idempotency_key) if batch is None and not file_id else batch
