"""The calls of fine-tuning jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from airflow_provider_portkey.client.pagination import Item
from airflow_provider_portkey.hooks.base import BasePortkeyHook
from airflow_provider_portkey.jobs.fine_tuning import FINE_TUNING


class FineTuningMixin(BasePortkeyHook):
    """One method for each call on a fine-tuning job."""

    def get_fine_tuning_job(self, fine_tuning_job_id: str) -> dict[str, Any]:
        """Return one fine-tuning job."""
        return self.get_job(FINE_TUNING, {"fine_tuning_job_id": fine_tuning_job_id})

    def iter_fine_tuning_events(
        self, fine_tuning_job_id: str, *, max_items: int | None = None, on_page: Callable[[int], None] | None = None
    ) -> Iterator[Item]:
        """Return an iterator over a fine-tuning job's events, newest first: the list has no parameter ``order``."""
        return self._iter_rows("/events", fine_tuning_job_id, max_items, on_page)

    def iter_fine_tuning_checkpoints(
        self, fine_tuning_job_id: str, *, max_items: int | None = None, on_page: Callable[[int], None] | None = None
    ) -> Iterator[Item]:
        """Return an iterator over a fine-tuning job's checkpoints, as in :meth:`iter_fine_tuning_events`."""
        return self._iter_rows("/checkpoints", fine_tuning_job_id, max_items, on_page)

    def _iter_rows(
        self, suffix: str, fine_tuning_job_id: str, max_items: int | None, on_page: Callable[[int], None] | None
    ) -> Iterator[Item]:
        ids = {"fine_tuning_job_id": fine_tuning_job_id}
        return self.iter_list(FINE_TUNING.path + suffix, ids, ordered=False, max_items=max_items, on_page=on_page)
