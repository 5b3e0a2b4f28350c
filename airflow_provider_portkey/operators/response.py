"""Creating background responses, and their output items to XCom."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.lazy import lazy_attribute
from airflow_provider_portkey.tasks.base import XCOM_MAX_BYTES, PortkeyTaskMixin
from airflow_provider_portkey.tasks.submit import BasePortkeySubmitOperator, build_body

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


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
            self.hook.list(RESPONSE_OUTPUT_ITEMS, {"response_id": self.response_id}),
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
