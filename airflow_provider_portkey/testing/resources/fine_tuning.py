"""Fine-tuning jobs, their events and their checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from airflow_provider_portkey.testing.resources.jobs import Job
from airflow_provider_portkey.testing.store import Items


@dataclass(kw_only=True)
class FineTuningJob(Job):
    """
    A fine-tuning job; further parameters are those of :class:`.Job`.

    :param job_id: ``ftjob_000001`` and so on where not given.
    :param events: their number; all exist from the start.
    :param checkpoints: their number; all exist from the start.
    :param error: what a failed job reports: ``code``, ``message`` and ``param``.
    """

    job_id: str | None = None
    events: int = 5
    checkpoints: int = 2
    error: Mapping[str, Any] | None = None
    event_items: Items[dict[str, Any]] = field(init=False, default_factory=Items)
    checkpoint_items: Items[dict[str, Any]] = field(init=False, default_factory=Items)

    name = "fine_tuning_jobs"
    kind = "fine-tuning job"
    path = "/v1/fine_tuning/jobs/{job_id}"
    id_prefix = "ftjob"
    lists: ClassVar[Mapping[str, str]] = {"/events": "event_items", "/checkpoints": "checkpoint_items"}
    stages: ClassVar[Mapping[str, float]] = {"validating_files": 0, "running": 0.25, "succeeded": 1}
    final_statuses = frozenset({"succeeded", "failed", "cancelled"})
    template: ClassVar[Mapping[str, Any]] = {
        **{"object": "fine_tuning.job", "model": "mock-model"},
        "hyperparameters": {"n_epochs": 1, "batch_size": 1, "learning_rate_multiplier": 1.0},
        **{"training_file": "file_training", "validation_file": None, "result_files": [], "metadata": {}, "seed": 1},
    }

    def prepare(self) -> None:
        for step in range(1, self.events + 1):
            data = {"step": step, "train_loss": 1 / step}
            event = {"type": "metrics", "level": "info", "message": f"Step {step}: {data}", "data": data}
            self._add_item(self.event_items, "ftevent", step, {"object": "fine_tuning.job.event", **event})
        for step in range(1, self.checkpoints + 1):
            metrics = {"step": step, "train_loss": 1 / step}
            point = {"object": "fine_tuning.job.checkpoint", "step_number": step, "metrics": metrics}
            model = {"fine_tuning_job_id": self.id, "fine_tuned_model_checkpoint": f"ft:mock-model:{self.id}:{step}"}
            self._add_item(self.checkpoint_items, "ftckpt", step, {**point, **model})

    def details(self) -> dict[str, Any]:
        succeeded = self.status == "succeeded"
        return {
            "fine_tuned_model": f"ft:mock-model:{self.id}" if succeeded else None,
            "finished_at": self.reached_at(self.status) if self.status in self.final_statuses else None,
            "error": self.failure(self.error),
            "trained_tokens": 1000 if succeeded else None,
        }

    def _add_item(self, items: Items[dict[str, Any]], prefix: str, step: int, fields: dict[str, Any]) -> None:
        item_id = self.store.new_id(prefix)
        items.add(item_id, {"id": item_id, "created_at": self.created + step, **fields})
