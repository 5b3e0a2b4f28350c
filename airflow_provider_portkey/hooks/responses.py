"""The calls of background responses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from airflow_provider_portkey.client.pagination import Item
from airflow_provider_portkey.hooks.base import BasePortkeyHook
from airflow_provider_portkey.jobs.lists import RESPONSE_INPUT_ITEMS
from airflow_provider_portkey.jobs.response import RESPONSE
from airflow_provider_portkey.parameters import MAX_LIMIT


class ResponsesMixin(BasePortkeyHook):
    """One method for each call on a response."""

    def get_response(self, response_id: str) -> dict[str, Any]:
        """Return one response with its output."""
        return self.get_job(RESPONSE, {"response_id": response_id})

    def cancel_response(self, response_id: str) -> dict[str, Any]:
        """Cancel a background response and return it."""
        return self.cancel_job(RESPONSE, {"response_id": response_id})

    def iter_response_input_items(
        self,
        response_id: str,
        *,
        page_size: int = MAX_LIMIT,
        order: str = "desc",
        after: str | None = None,
        max_items: int | None = None,
        on_page: Callable[[int], None] | None = None,
    ) -> Iterator[Item]:
        """Return an iterator over a response's input items; parameters as in :meth:`list`."""
        paging: dict[str, Any] = {"page_size": page_size, "after": after, "max_items": max_items, "on_page": on_page}
        return self.list(RESPONSE_INPUT_ITEMS, {"response_id": response_id}, order=order, **paging)
