"""The base of tasks that read a list: which list, and which part of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_portkey.exceptions import PortkeyInvalidArgumentError
from airflow_provider_portkey.tasks.base import PortkeyTaskMixin

if TYPE_CHECKING:
    from airflow_provider_portkey.jobs.list_spec import ListSpec


class BasePortkeyListOperator(PortkeyTaskMixin, BaseOperator):
    """
    Read a list page by page. A subclass names the list, and has an attribute for each id in the path of the list.

    :param order: ``"asc"`` or ``"desc"``, by the time of creation; ``None`` for the list's own order (templated).
    :param after: Start after the item with this id (templated).
    :param max_items: Stop after this number of items (templated).
    :param page_size: Items for each request, 1 to 100 (templated).
    """

    template_fields: Sequence[str] = (
        *PortkeyTaskMixin.template_fields,
        "order",
        "after",
        "max_items",
        "page_size",
    )
    list_spec: ListSpec

    def __init__(
        self,
        *,
        order: str | None = None,
        after: str | None = None,
        max_items: int | None = None,
        page_size: int = 100,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.order = order
        self.after = after
        self.max_items = max_items
        self.page_size = page_size

    @property
    def _path_ids(self) -> Mapping[str, str]:
        """The ids of the path of the list."""
        return {name: getattr(self, name) for name in self.list_spec.id_names}

    @property
    def _parameters(self) -> Mapping[str, Any]:
        """Further query parameters."""
        return {}

    def _iter_items(self, on_page: Callable[[int], None] | None = None) -> Iterator[dict[str, Any]]:
        """
        Return an iterator over the items.

        :raises PortkeyInvalidArgumentError: at the call, before any request.
        """
        return self.hook.list(
            self.list_spec,
            self._path_ids,
            page_size=self.page_size,
            max_items=self.max_items,
            order=self.order,
            after=self.after,
            on_page=on_page,
            **self._parameters,
        )


class BasePortkeyCustomListOperator(BasePortkeyListOperator):
    """
    Read a list that the DAG author names.

    :param list_spec: The list: one of ``airflow_provider_portkey.jobs``, or a declaration of the DAG author.
    :param ids: A value for each ``{name}`` in the path of the list, also as a JSON string (templated).
    :param parameters: Further query parameters of the list, also as a JSON string (templated).
    :raises PortkeyInvalidArgumentError: where the arguments do not fit the list.
    """

    template_fields: Sequence[str] = (*BasePortkeyListOperator.template_fields, "ids", "parameters")
    template_fields_renderers: ClassVar[dict[str, str]] = {"ids": "json", "parameters": "json"}

    def __init__(
        self,
        *,
        list_spec: ListSpec,
        ids: Mapping[str, str] | str | None = None,
        parameters: Mapping[str, Any] | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.list_spec = list_spec
        self.ids = ids
        self.parameters = parameters

    @property
    def _path_ids(self) -> Mapping[str, str]:
        from airflow_provider_portkey.client.paths import path_ids

        return path_ids(self.list_spec.path, self.ids)

    @property
    def _parameters(self) -> Mapping[str, Any]:
        from airflow_provider_portkey.validation import json_object

        given = json_object("parameters", self.parameters) or {}
        if own := sorted(given.keys() & set(self.template_fields)):
            raise PortkeyInvalidArgumentError("parameters", own, "no parameter that the task itself has")
        return given

    def _validate(self) -> None:
        """Check the parameters that are not templated, also by the list."""
        from airflow_provider_portkey.parameters import is_template

        super()._validate()
        if not is_template(self.ids):
            _ = self._path_ids
        if not is_template(self.parameters):
            given = {"order": self.order, "after": self.after, **self._parameters}
            self.list_spec.query(**{name: value for name, value in given.items() if not is_template(value)})
