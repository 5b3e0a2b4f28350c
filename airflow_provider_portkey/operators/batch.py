"""Creating a batch from a file of requests, and a quality gate on its results."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_portkey import lazy_attribute
from airflow_provider_portkey.exceptions import PortkeyBatchCheckFailedError, PortkeyInvalidArgumentError
from airflow_provider_portkey.tasks.submit import BasePortkeySubmitOperator, build_body

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_portkey.batch.capacity import CapacityWait
    from airflow_provider_portkey.polling.wait_state import WaitState
    from airflow_provider_portkey.state.task import TaskState

#: Pairs of a batch's metadata (OpenAI's reference: 16), without the operator's own.
_MAX_METADATA = 15
#: The thresholds of the quality gate.
_THRESHOLDS = ("min_success_ratio", "min_valid_ratio", "min_score", "max_score")


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
    :param wait_for_capacity: Where the provider's batch queue is full (the batch failed with codes of
        ``retryable_error_codes`` only), submit the uploaded file again and again until the batch is accepted, at most
        for ``timeout`` in all (templated).
    :param capacity_interval: Seconds between two of these submissions (templated).
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
        "wait_for_capacity",
        "capacity_interval",
    )
    _kept: ClassVar[tuple[str, ...]] = ("upload",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"metadata": "json", "extra_body": "json"}
    job = lazy_attribute("jobs.batch", "BATCH")
    _capacity_since: float | None = None

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
        wait_for_capacity: bool = False,
        capacity_interval: float = 300.0,
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
        self.wait_for_capacity = wait_for_capacity
        self.capacity_interval = capacity_interval
        self._validate()

    def _validate(self) -> None:
        super()._validate()
        if getattr(self, "wait_for_capacity", False) is True and not self.wait_for_completion:
            expected = "False where wait_for_completion is False: the batch itself says that the queue is full"
            raise PortkeyInvalidArgumentError("wait_for_capacity", True, expected)

    def execute(self, context: Context) -> Any:
        """
        Create the batch unless that was done before, and wait; as the base, and until the queue has room.

        :raises PortkeyWaitTimeoutError: also where the provider's queue had no room in time.
        """
        return self._with_capacity(context, partial(super().execute, context))

    def execute_complete(self, context: Context, event: Any = None) -> Any:
        """Return the batch, or raise the error that the trigger's event stands for; or wait for the queue."""
        return self._with_capacity(context, partial(super().execute_complete, context, event))

    def submit_again(self, context: Context, event: Any = None) -> Any:
        """Create the batch again, after a deferred wait for the queue."""
        return self.execute(context)

    def _with_capacity(self, context: Context, step: Callable[[], Any]) -> Any:
        if not self.wait_for_capacity:
            return step()
        from airflow_provider_portkey.batch.capacity import QueueFullSignal, reschedule, sleep_trigger

        while True:
            try:
                return step()
            except QueueFullSignal as full:
                reason = str(full)
            with self._skipping():
                seconds = self._capacity(context).next_submission(reason)
            self.log.info("The provider's batch queue is full; submitting again in %g s. %s", seconds, reason)
            if self.deferrable:
                trigger, timeout = sleep_trigger(seconds)
                self.defer(trigger=trigger, method_name="submit_again", timeout=timeout)
            if self._is_polled_by_processes:
                raise reschedule(seconds)
            time.sleep(seconds)
            step = partial(super().execute, context)

    def _conclude(self, context: Context, event: Any) -> dict[str, Any]:
        if not self.wait_for_capacity:
            return super()._conclude(context, event)
        from airflow_provider_portkey.batch.capacity import QueueFullSignal, is_queue_full
        from airflow_provider_portkey.state.task import TaskState

        if is_queue_full(self._event_job, event):
            task_state = TaskState(context)
            known = task_state.read()
            task_state.write({name: known[name] for name in self._kept if name in known})
            self._submitted = None
            raise QueueFullSignal(event["message"])
        found = super()._conclude(context, event)
        self._capacity(context).clear()
        return found

    def _new_wait_state(self, started_at: float) -> WaitState:
        return super()._new_wait_state(started_at if self._capacity_since is None else self._capacity_since)

    def _begin(self, context: Context) -> None:
        super()._begin(context)
        # One timeout for all submissions of a try.
        self._capacity_since = self._capacity(context).begin() if self.wait_for_capacity else None

    def _capacity(self, context: Context) -> CapacityWait:
        from airflow_provider_portkey.batch.capacity import CapacityWait

        return CapacityWait(context, interval=self.capacity_interval, timeout=self.timeout)

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
        if len(metadata) > _MAX_METADATA:
            expected = f"at most {_MAX_METADATA} pairs: a batch has 16, and one is the operator's own"
            raise PortkeyInvalidArgumentError("metadata", metadata, expected)
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
            # A batch of this file with another key is one that the full queue refused.
            key = idempotency_key_of(batch)
            return key == idempotency_key if key else same_id(batch.get("input_file_id"), file_id)

        batch = self._search(self.hook.iter_batches, is_own, since=since)
        return super().find_by_idempotency_key(task_state, idempotency_key) if batch is None and not file_id else batch


class PortkeyBatchCheckOperator(BaseOperator):
    """
    Compare the results of a batch with thresholds, and fail or branch. No request is sent.

    Reads the joined table of a batch, or the output of a batch, row by row. The figures are in XCom, also where the
    task fails.

    :param path: The file: a local path or any URL of ``ObjectStoragePath`` (templated).
    :param manifest: In place of ``path``: what the task that wrote the file returned, or a list of these. Where the
        manifest counts the rows by status, and these counts suffice, the file is not read (templated).
    :param table_format: ``"jsonl"``, ``"csv"`` or ``"parquet"``; ``None`` for that of the manifest, or for
        the end of the file's name (templated).
    :param object_storage_conn_id: The Airflow connection to the object store, if one is needed (templated).
    :param min_success_ratio: The least share of the rows with the status ``succeeded``, 0 to 1 (templated).
    :param min_valid_ratio: The least share that fits the schema, of the rows with a response, 0 to 1 (templated).
    :param json_schema: A JSON schema that the text of each response has to fit; ``None`` to go by the status
        ``invalid``, which a table that was written with a schema has.
    :param score_field: The number to average: a path into ``parsed``, such as ``"review.score"`` (templated).
    :param scorer: In place of ``score_field``: a function, or its name (``"my_package.scores.relevance"``), that takes
        a row, with ``parsed`` as a value, and returns a number or ``None``.
    :param min_score: The least mean score (templated).
    :param max_score: The greatest mean score (templated).
    :param follow_task_ids_if_true: Task to follow where every threshold is met, or a list of tasks; other tasks
        directly downstream are skipped. Without this parameter and the next one the task fails where one is not met.
    :param follow_task_ids_if_false: Task to follow where a threshold is not met, or a list of tasks.
    """

    template_fields: Sequence[str] = (
        "path",
        "manifest",
        "table_format",
        "object_storage_conn_id",
        "min_success_ratio",
        "min_valid_ratio",
        "score_field",
        "min_score",
        "max_score",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"manifest": "json"}
    ui_color = "#e8e4f8"
    #: The scheduler skips tasks that are cleared below a branch which did not follow them.
    inherits_from_skipmixin = True

    def __init__(
        self,
        *,
        path: str | None = None,
        manifest: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        table_format: str | None = None,
        object_storage_conn_id: str | None = None,
        min_success_ratio: float | None = None,
        min_valid_ratio: float | None = None,
        json_schema: Mapping[str, Any] | None = None,
        score_field: str | None = None,
        scorer: Callable[[Mapping[str, Any]], float | None] | str | None = None,
        min_score: float | None = None,
        max_score: float | None = None,
        follow_task_ids_if_true: str | Sequence[str] | None = None,
        follow_task_ids_if_false: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.manifest = manifest
        self.table_format = table_format
        self.object_storage_conn_id = object_storage_conn_id
        self.min_success_ratio = min_success_ratio
        self.min_valid_ratio = min_valid_ratio
        self.json_schema = json_schema
        self.score_field = score_field
        self.scorer = scorer
        self.min_score = min_score
        self.max_score = max_score
        self.follow_task_ids_if_true = follow_task_ids_if_true
        self.follow_task_ids_if_false = follow_task_ids_if_false
        if (path is None) == (manifest is None):
            raise PortkeyInvalidArgumentError("path", path, "either path or manifest, not both")
        if score_field is not None and scorer is not None:
            raise PortkeyInvalidArgumentError("scorer", scorer, "None, or score_field=None: one of them")
        self._validate()
        if json_schema is not None:
            from airflow_provider_portkey.batch.schema import ResponseSchema

            ResponseSchema(json_schema)

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Return the figures: counts, ratios, the mean score, and the result of each check.

        :raises PortkeyInvalidArgumentError: naming the parameter that is wrong.
        :raises PortkeyLineInvalidError: naming a row that cannot be read.
        :raises PortkeyPathError: where a file cannot be read.
        :raises PortkeyBatchCheckFailedError: where a threshold is not met, unless the task branches.
        """
        from airflow_provider_portkey.batch.check import run_check

        self._validate(rendered=True)
        figures = run_check(
            path=self.path,
            manifest=self.manifest,
            table_format=self.table_format,
            object_storage_conn_id=self.object_storage_conn_id,
            json_schema=self.json_schema,
            score_field=self.score_field,
            scorer=self.scorer,
            thresholds={name: getattr(self, name) for name in _THRESHOLDS},
        )
        branches = (self.follow_task_ids_if_true, self.follow_task_ids_if_false) != (None, None)
        if figures["passed"] and not branches:
            return figures
        # A branch ends with an exception, as a failure does: Airflow would not keep what is returned.
        context["ti"].xcom_push(key="return_value", value=figures)
        if not branches:
            raise PortkeyBatchCheckFailedError(figures["summary"], figures=figures)
        self._branch(context, self.follow_task_ids_if_true if figures["passed"] else self.follow_task_ids_if_false)
        return figures

    def _validate(self, *, rendered: bool = False) -> None:
        from airflow_provider_portkey.parameters import validate_parameters

        validate_parameters(self, rendered=rendered)
        if all(getattr(self, name) is None for name in _THRESHOLDS):
            expected = f"a threshold: one of {', '.join(_THRESHOLDS)}"
            raise PortkeyInvalidArgumentError("min_success_ratio", None, expected)
        for name in ("follow_task_ids_if_true", "follow_task_ids_if_false"):
            followed = getattr(self, name)
            ids = [followed] if isinstance(followed, str) else followed
            if ids is not None and not (isinstance(ids, list | tuple) and all(isinstance(each, str) for each in ids)):
                raise PortkeyInvalidArgumentError(name, followed, "the id of a task, a list of them, or None")
        if self.score_field is not None and not self.score_field.strip():
            raise PortkeyInvalidArgumentError("score_field", self.score_field, "a path such as 'review.score', or None")
        low, high = self.min_score, self.max_score
        if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
            raise PortkeyInvalidArgumentError("max_score", high, f"a number of at least min_score={low:g}")
        wants_score = self.min_score is not None or self.max_score is not None
        if wants_score and self.score_field is None and self.scorer is None:
            raise PortkeyInvalidArgumentError("score_field", None, "score_field or scorer, for min_score and max_score")

    def _branch(self, context: Context, task_ids: str | Sequence[str] | None) -> None:
        """Skip the tasks directly downstream that are not followed."""
        from airflow.providers.common.compat.sdk import BranchMixIn

        # Not a base class: the import would cost every DAG file that has this operator.
        branch = type("_Branch", (BranchMixIn,), {"task_id": self.task_id})()
        branch.do_branch(context, task_ids if task_ids is None or isinstance(task_ids, str) else list(task_ids))
