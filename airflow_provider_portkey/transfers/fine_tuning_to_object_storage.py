"""The events and checkpoints of a fine-tuning job to object storage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_portkey.transfers.base import BasePortkeyToObjectStorageOperator

if TYPE_CHECKING:
    from airflow_provider_portkey.export.formats import Columns, Row
    from airflow_provider_portkey.export.manifest import ExportStats


class _BaseFineTuningTransfer(BasePortkeyToObjectStorageOperator):
    template_fields: Sequence[str] = (*BasePortkeyToObjectStorageOperator.template_fields, "fine_tuning_job_id")

    def __init__(self, *, fine_tuning_job_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fine_tuning_job_id = fine_tuning_job_id
        self._validate()

    def _about(self) -> dict[str, Any]:
        # Before its rows: a job with a terminal status adds no rows.
        job = self.hook.get_fine_tuning_job(self.fine_tuning_job_id)
        return {
            "fine_tuning_job_id": self.fine_tuning_job_id,
            "fine_tuning_job_status": job.get("status"),
            "fine_tuned_model": job.get("fine_tuned_model"),
        }


class PortkeyFineTuningEventsToObjectStorageOperator(_BaseFineTuningTransfer):
    """
    Write the events of a fine-tuning job to a file, one row each, the latest first.

    :param fine_tuning_job_id: The fine-tuning job (templated).
    :param kwargs: ``path`` and the other parameters of :class:`BasePortkeyToObjectStorageOperator`.
    """

    rows_from = "/fine_tuning/jobs/{fine_tuning_job_id}/events"

    def columns(self) -> Columns:
        """Return the columns of a table of events."""
        from airflow_provider_portkey.jobs.fine_tuning import EVENT_COLUMNS

        return EVENT_COLUMNS

    def open_rows(self, stats: ExportStats) -> tuple[Mapping[str, Any], Iterator[Row]]:
        """Return the job's id, status and model, and its events."""
        return self._about(), self.hook.iter_fine_tuning_events(self.fine_tuning_job_id, on_page=stats.add_page)


class PortkeyFineTuningCheckpointsToObjectStorageOperator(_BaseFineTuningTransfer):
    """
    Write the checkpoints of a fine-tuning job to a file, one row each, the latest first.

    :param fine_tuning_job_id: The fine-tuning job (templated).
    :param kwargs: ``path`` and the other parameters of :class:`BasePortkeyToObjectStorageOperator`.
    """

    rows_from = "/fine_tuning/jobs/{fine_tuning_job_id}/checkpoints"

    def columns(self) -> Columns:
        """Return the columns of a table of checkpoints."""
        from airflow_provider_portkey.jobs.fine_tuning import CHECKPOINT_COLUMNS

        return CHECKPOINT_COLUMNS

    def open_rows(self, stats: ExportStats) -> tuple[Mapping[str, Any], Iterator[Row]]:
        """Return the job's id, status and model, and its checkpoints."""
        return self._about(), self.hook.iter_fine_tuning_checkpoints(self.fine_tuning_job_id, on_page=stats.add_page)
