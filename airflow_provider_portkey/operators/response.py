"""Making background responses, and their items to XCom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.lazy import lazy_attribute
from airflow_provider_portkey.tasks.submit import BasePortkeySubmitOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class PortkeyCreateResponseOperator(BasePortkeySubmitOperator):
    """
    Make a response in the background, wait for it, and return it without its output, instructions and tools.

    :param model: The model (templated).
    :param input: What the model is given: text, or a list of items (templated).
    :param instructions: What the model is told beforehand (templated).
    :param metadata: Goes with the response (templated).
    :param parameters: Further fields of the request, such as ``tools`` or ``conversation`` (templated).
    :param kwargs: The arguments of :class:`BasePortkeySubmitOperator` and of Airflow's sensors.
    """

    template_fields: Sequence[str] = ("portkey_conn_id", "model", "input", "instructions", "metadata", "parameters")
    ui_color = "#e8e4f8"
    job = lazy_attribute("jobs.response", "RESPONSE")

    def __init__(
        self,
        *,
        model: str,
        input: str | list[Any],
        instructions: str | None = None,
        metadata: Mapping[str, str] | None = None,
        parameters: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.input = input
        self.instructions = instructions
        self.metadata = metadata
        self.parameters = parameters

    def request_body(self) -> Mapping[str, Any]:
        """Return what is posted to make the response."""
        for name in ("model", "input"):
            if not getattr(self, name):
                raise PortkeyInvalidArgumentError(name, getattr(self, name), "something that is not empty")
        parameters = dict(self.parameters or {})
        own = {"model": self.model, "input": self.input, "instructions": self.instructions, "metadata": self.metadata}
        if twice := sorted({*own, "background", "stream"} & parameters.keys()):
            raise PortkeyInvalidArgumentError("parameters", twice, "fields that are no arguments of the operator")
        return {**parameters, **{name: value for name, value in own.items() if value is not None}, "background": True}


class PortkeyResponseItemsOperator(BaseOperator):
    """
    Return the output items of a response, for the few kilobytes that XCom is made for.

    :param response_id: The response (templated).
    :param portkey_conn_id: The Airflow connection (templated).
    :param max_bytes: Fail where the items have more bytes as JSON.
    """

    template_fields: Sequence[str] = ("portkey_conn_id", "response_id")
    ui_color = "#e8e4f8"
    operator_extra_links = lazy_attribute("links", "TRACE_LINKS")

    def __init__(
        self, *, response_id: str, portkey_conn_id: str = "portkey_default", max_bytes: int = 49_152, **kwargs: Any
    ) -> None:
        from airflow_provider_portkey.parameters import validate_parameters

        super().__init__(**kwargs)
        self.response_id = response_id
        self.portkey_conn_id = portkey_conn_id
        self.max_bytes = max_bytes
        validate_parameters(self)

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """
        Return the items, each as Portkey sent it.

        :raises PortkeyXComTooLargeError: where they are too large.
        """
        from airflow_provider_portkey.client.pagination import items_of
        from airflow_provider_portkey.hooks.portkey import PortkeyHook
        from airflow_provider_portkey.links import trace_id_of
        from airflow_provider_portkey.tasks.xcom import fit_for_xcom

        hook = PortkeyHook(self.portkey_conn_id, trace_id=trace_id_of(context.get("ti")))
        output = hook.get_response(self.response_id).get("output")
        return fit_for_xcom(
            items_of({"data": output}),
            max_bytes=self.max_bytes,
            what=f"items of response {self.response_id!r}",
            instead="PortkeyResponseItemsToObjectStorageOperator",
        )
