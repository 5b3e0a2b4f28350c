"""The calls of fine-tuning jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from airflow_provider_portkey.client.pagination import Item
from airflow_provider_portkey.hooks.base import BasePortkeyHook
from airflow_provider_portkey.jobs.fine_tuning import FINE_TUNING
from airflow_provider_portkey.jobs.lists import FINE_TUNING_CHECKPOINTS, FINE_TUNING_EVENTS


class FineTuningMixin(BasePortkeyHook):
    """One method for each call on a fine-tuning job."""

    def get_fine_tuning_job(self, fine_tuning_job_id: str) -> dict[str, Any]:
        """Return one fine-tuning job."""
        return self.get_job(FINE_TUNING, {"fine_tuning_job_id": fine_tuning_job_id})

    def iter_fine_tuning_events(
        self, fine_tuning_job_id: str, *, max_items: int | None = None, on_page: Callable[[int], None] | None = None
    ) -> Iterator[Item]:
        """Return an iterator over a fine-tuning job's events, newest first: the list has no parameter ``order``."""
        ids = {"fine_tuning_job_id": fine_tuning_job_id}
        return self.list(FINE_TUNING_EVENTS, ids, max_items=max_items, on_page=on_page)

    def iter_fine_tuning_checkpoints(
        self, fine_tuning_job_id: str, *, max_items: int | None = None, on_page: Callable[[int], None] | None = None
    ) -> Iterator[Item]:
        """Return an iterator over a fine-tuning job's checkpoints, as in :meth:`iter_fine_tuning_events`."""
        ids = {"fine_tuning_job_id": fine_tuning_job_id}
        return self.list(FINE_TUNING_CHECKPOINTS, ids, max_items=max_items, on_page=on_page)
