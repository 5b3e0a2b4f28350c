"""Creating background responses and jobs of declared kinds, and the output items of responses to XCom."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_portkey import lazy_attribute
from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.tasks.base import XCOM_MAX_BYTES, PortkeyTaskMixin
from airflow_provider_portkey.tasks.submit import BasePortkeySubmitOperator, build_body

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_portkey.jobs.spec import JobSpec
    from airflow_provider_portkey.state.task import TaskState


class PortkeyCreateResponseOperator(BasePortkeySubmitOperator):
    """
    Create a response in the background, wait for it, and return it without its output, instructions and tools.

    :param model: The model (templated).
    :param input: The input of the model: a string, a list of items or that list as JSON, or the path of a ``.md``,
        ``.txt`` or ``.json`` file below the DAG's folder (templated).
    :param instructions: The model's instructions, also as the path of a file (templated).
    :param metadata: Stored with the response: a mapping of strings (templated).
    :param extra_body: Further fields of the request, such as ``tools`` or ``conversation`` (templated).
    :param kwargs: The arguments of :class:`BasePortkeySubmitOperator` and of Airflow's sensors.
    """

    template_fields: Sequence[str] = (
        *BasePortkeySubmitOperator.template_fields,
        "model",
        "input",
        "instructions",
        "metadata",
        "extra_body",
    )
    template_ext: Sequence[str] = (".json", ".md", ".txt")
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "input": "md",
        "instructions": "md",
        "metadata": "json",
        "extra_body": "json",
    }
    job = lazy_attribute("jobs.response", "RESPONSE")

    def __init__(
        self,
        *,
        model: str,
        input: str | list[Any],
        instructions: str | None = None,
        metadata: Mapping[str, str] | str | None = None,
        extra_body: Mapping[str, Any] | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.input = input
        self.instructions = instructions
        self.metadata = metadata
        self.extra_body = extra_body

    def request_body(self) -> Mapping[str, Any]:
        """Return the body of the request that creates the response."""
        from airflow_provider_portkey.validation import json_object

        for name in ("model", "input"):
            if not getattr(self, name):
                raise PortkeyInvalidArgumentError(name, getattr(self, name), "a value that is not empty")
        own = {
            "model": self.model,
            "input": _items(self.input),
            "instructions": self.instructions,
            "metadata": json_object("metadata", self.metadata),
        }
        return {**build_body(own, self.extra_body, reserved=("background", "stream")), "background": True}


class PortkeyCreateCustomJobOperator(BasePortkeySubmitOperator):
    """
    Create a job of a kind that the DAG author declares, wait for it, and return it without its excluded fields.

    A retry, a rescheduled poll and a restart after a crash continue with the job that was created. That holds without
    a gap where the declaration has ``list_spec`` and ``metadata_field``: the job is found by the idempotency key that
    the operator adds to its metadata.

    :param job_spec: The declaration, with ``create_path``.
    :param body: The body of the request that creates the job: a mapping, or a JSON string with an object (templated).
    :param ids: A value for each ``{name}`` in the declaration's ``create_path``, also as a JSON string (templated).
    :param on_requires_action: What to do when the job requires action: ``"fail"``, ``"wait"`` until somebody else has
        acted, or ``"return"`` to succeed with the job (templated).
    :param kwargs: The arguments of :class:`BasePortkeySubmitOperator` and of Airflow's sensors.
    :raises PortkeyInvalidArgumentError: where the declaration has no ``create_path``, or ``ids`` does not fit it.
    """

    template_fields: Sequence[str] = (*BasePortkeySubmitOperator.template_fields, "body", "ids", "on_requires_action")
    template_fields_renderers: ClassVar[dict[str, str]] = {"body": "json", "ids": "json"}

    def __init__(
        self,
        *,
        job_spec: JobSpec,
        body: Mapping[str, Any] | str,
        ids: Mapping[str, str] | str | None = None,
        on_requires_action: str = "fail",
        **kwargs: Any,
    ) -> None:
        from airflow_provider_portkey.parameters import is_template

        if job_spec.create_path is None:
            raise PortkeyInvalidArgumentError("job_spec", job_spec.kind, "a declaration with create_path")
        self.job = job_spec  # type: ignore[misc]
        super().__init__(**kwargs)
        self.body = body
        self.ids = ids
        self.on_requires_action = on_requires_action
        self._validate()
        if not is_template(ids):
            _ = self._parent_ids

    def submit(self, task_state: TaskState, idempotency_key: str) -> Mapping[str, Any]:
        """Create the job, with the idempotency key in its metadata where the declaration names the field."""
        from airflow_provider_portkey.tasks.idempotency import IDEMPOTENCY_KEY, refuse_idempotency_key
        from airflow_provider_portkey.validation import json_object

        body = dict(self.request_body())
        if field := self.job.metadata_field:
            metadata = json_object(f"body[{field!r}]", body.get(field)) or {}
            refuse_idempotency_key(metadata)
            body[field] = {**metadata, IDEMPOTENCY_KEY: idempotency_key}
        task_state.write({"requested_at": time.time(), **task_state.read(), "parent_ids": self._parent_ids})
        self._refuse_after_kill()
        return self.hook.create_job(self.job, body, self._parent_ids)

    def request_body(self) -> Mapping[str, Any]:
        """Return the body of the request, without the idempotency key."""
        from airflow_provider_portkey.validation import json_object

        body = json_object("body", self.body)
        if body is None:
            raise PortkeyInvalidArgumentError("body", self.body, "a dict, or a JSON string with an object")
        return body

    def find_by_idempotency_key(self, task_state: TaskState, idempotency_key: str) -> Mapping[str, Any] | None:
        """
        Return the job that an earlier try may have created, by its metadata.

        :raises PortkeySubmissionUnknownError: where the declaration has no list, and where the list cannot be read.
        """
        from airflow_provider_portkey.tasks.idempotency import idempotency_key_of

        known = task_state.read()
        if (since := known.get("requested_at")) is None:
            return None  # that try sent no request
        list_spec, field, parent_ids = self.job.list_spec, self.job.metadata_field, known["parent_ids"]
        if list_spec is None or field is None:
            return super().find_by_idempotency_key(task_state, idempotency_key)

        def is_own(job: Mapping[str, Any]) -> bool:
            return idempotency_key_of(job, field) == idempotency_key

        ids = {name: parent_ids[name] for name in list_spec.id_names}
        job = self._search(lambda: self.hook.list(list_spec, ids), is_own, since=since)
        return job and {**job, **parent_ids}

    @property
    def _parent_ids(self) -> dict[str, str]:
        from airflow_provider_portkey.validation import json_object

        ids = json_object("ids", self.ids) or {}
        if ids.keys() != set(self.job.create_id_names):
            names = ", ".join(self.job.create_id_names)
            expected = f"one value for each of {names}" if names else "no ids: create_path has none"
            raise PortkeyInvalidArgumentError("ids", sorted(ids), expected)
        return ids

    def _ids_of(self, job: Mapping[str, Any]) -> dict[str, str]:
        # A response need not name the ids that were given.
        return super()._ids_of({**self._parent_ids, **job})


class PortkeyResponseItemsOperator(PortkeyTaskMixin, BaseOperator):
    """
    Return the output items of a response, for the few kilobytes that XCom is made for.

    :param response_id: The response (templated).
    :param portkey_conn_id: The Airflow connection (templated).
    :param max_bytes: Fail where the items have more bytes as JSON (templated).
    """

    template_fields: Sequence[str] = (*PortkeyTaskMixin.template_fields, "response_id", "max_bytes")

    def __init__(
        self,
        *,
        response_id: str,
        portkey_conn_id: str = "portkey_default",
        max_bytes: int = XCOM_MAX_BYTES,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.response_id = response_id
        self.portkey_conn_id = portkey_conn_id
        self.max_bytes = max_bytes
        self._validate()

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """
        Return the items, each as Portkey sent it.

        :raises PortkeyXComTooLargeError: where the items are too large.
        """
        from airflow_provider_portkey.jobs.lists import RESPONSE_OUTPUT_ITEMS
        from airflow_provider_portkey.tasks.xcom import fit_for_xcom

        self._begin(context)
        return fit_for_xcom(
            RESPONSE_OUTPUT_ITEMS.items_of(self.hook.get_response(self.response_id)),
            max_bytes=self.max_bytes,
            what=f"items of response {self.response_id!r}",
            instead="PortkeyResponseItemsToObjectStorageOperator",
        )


def _items(value: Any) -> Any:
    """Return input items that are given as JSON as a list; any other string is the input itself."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            items = json.loads(value)
        except (ValueError, RecursionError):
            return value
        if items and all(isinstance(item, dict) for item in items):
            return items
    return value
