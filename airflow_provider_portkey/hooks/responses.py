"""The calls of jobs that belong to no thread: responses, fine-tuning jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from airflow_provider_portkey.client.pagination import MAX_LIMIT, Item
from airflow_provider_portkey.hooks.base import BasePortkeyHook
from airflow_provider_portkey.jobs.fine_tuning import FINE_TUNING
from airflow_provider_portkey.jobs.response import RESPONSE


class JobCalls(BasePortkeyHook):
    """One method for each call on a response or a fine-tuning job."""

    def get_response(self, response_id: str) -> dict[str, Any]:
        """Return one response with its output."""
        return self.get_job(RESPONSE, {"response_id": response_id})

    def cancel_response(self, response_id: str) -> dict[str, Any]:
        """Ask for a background response to be cancelled and return it."""
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
        """Return an iterator over what a response was given; parameters as in :meth:`iter_list`."""
        return self.iter_list(
            RESPONSE.path + "/input_items",
            {"response_id": response_id},
            page_size=page_size,
            order=order,
            after=after,
            max_items=max_items,
            on_page=on_page,
        )

    def get_fine_tuning_job(self, fine_tuning_job_id: str) -> dict[str, Any]:
        """Return one fine-tuning job."""
        return self.get_job(FINE_TUNING, {"fine_tuning_job_id": fine_tuning_job_id})

    def iter_fine_tuning_events(
        self, fine_tuning_job_id: str, *, max_items: int | None = None, on_page: Callable[[int], None] | None = None
    ) -> Iterator[Item]:
        """Return an iterator over a fine-tuning job's events, the latest first: the list takes no order."""
        path = FINE_TUNING.path + "/events"
        return self.iter_list(
            path, {"fine_tuning_job_id": fine_tuning_job_id}, ordered=False, max_items=max_items, on_page=on_page
        )

    def iter_fine_tuning_checkpoints(
        self, fine_tuning_job_id: str, *, max_items: int | None = None, on_page: Callable[[int], None] | None = None
    ) -> Iterator[Item]:
        """Return an iterator over a fine-tuning job's checkpoints, the latest first: the list takes no order."""
        path = FINE_TUNING.path + "/checkpoints"
        return self.iter_list(
            path, {"fine_tuning_job_id": fine_tuning_job_id}, ordered=False, max_items=max_items, on_page=on_page
        )
