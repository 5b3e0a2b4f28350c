"""The items of a response to object storage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.transfers.base import BasePortkeyToObjectStorageOperator

if TYPE_CHECKING:
    from airflow_provider_portkey.export.formats import Columns, Row
    from airflow_provider_portkey.export.manifest import ExportStats

#: The column that ``include_input`` adds: ``"input"`` or ``"output"``.
_DIRECTION = "direction"


class PortkeyResponseItemsToObjectStorageOperator(BasePortkeyToObjectStorageOperator):
    """
    Write the output items of a response to a file, one row each, in the response's own order.

    :param response_id: The response (templated).
    :param include_input: Write the input items as well, before the output items and read page by page, and add the
        field ``direction``: ``"input"`` or ``"output"`` (templated).
    :param kwargs: ``path`` and the other parameters of :class:`BasePortkeyToObjectStorageOperator`.
    """

    template_fields: Sequence[str] = (
        *BasePortkeyToObjectStorageOperator.template_fields,
        "response_id",
        "include_input",
    )
    rows_from = "/responses/{response_id}"

    def __init__(self, *, response_id: str, include_input: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.response_id = response_id
        self.include_input = include_input
        self._validate()

    def columns(self) -> Columns:
        """Return the columns of a table of items."""
        from airflow_provider_portkey.jobs.response import ITEM_COLUMNS

        return ({_DIRECTION: "text"} if self.include_input else {}) | ITEM_COLUMNS

    def open_rows(self, stats: ExportStats) -> tuple[Mapping[str, Any], Iterator[Row]]:
        """Return the response's id, status, model and usage, and its items."""
        from airflow_provider_portkey.client.pagination import items_of
        from airflow_provider_portkey.jobs.response import RESPONSE

        response = self.hook.get_response(self.response_id)
        status = response.get("status")
        if status not in RESPONSE.terminal_statuses:
            self.log.warning("Response %r is still %s: later items will be missing.", self.response_id, status)
        about = {
            "response_id": self.response_id,
            "response_status": status,
            "model": response.get("model"),
            "usage": response.get("usage"),
        }
        output = items_of({"data": response.get("output")})
        if not self.include_input:
            return about, iter(output)
        inputs = self.hook.iter_response_input_items(self.response_id, order="asc", on_page=stats.add_page)
        return about, chain(
            ({_DIRECTION: "input", **item} for item in inputs), ({_DIRECTION: "output", **item} for item in output)
        )
