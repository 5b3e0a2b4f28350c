"""Fine-tuning jobs, their events and their checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_portkey.testing.app import ApiRequest, ApiRoute
from airflow_provider_portkey.testing.paging import Items, PageQuery, Record
from airflow_provider_portkey.testing.resources.base import JobResource
from airflow_provider_portkey.testing.scenario import Job

#: Portkey's schema has a lower one than for any other list.
_CHECKPOINTS_LIMIT = 10

#: Training steps between two checkpoints.
_STEPS = 10


@dataclass(kw_only=True)
class FineTuningJob(Job):
    """
    A fine-tuning job; further parameters are those of :class:`.Job`.

    :param job_id: ``ftjob_000001`` and so on where not given.
    :param events: their number; or for each the fields that are not to be generated. All exist from the start.
    :param checkpoints: the same for its checkpoints.
    :param error: what a failed job reports: ``code``, ``message`` and ``param``.
    :param trained_tokens: what a succeeded job reports.
    """

    job_id: str | None = None
    events: int | Iterable[Mapping[str, Any]] = 5
    checkpoints: int | Iterable[Mapping[str, Any]] = 2
    error: Mapping[str, Any] | None = None
    trained_tokens: int = 1000
    event_records: Items[Record] = field(init=False, default_factory=Items)
    checkpoint_records: Items[Record] = field(init=False, default_factory=Items)


class FineTuningJobs(JobResource[FineTuningJob]):
    """All fine-tuning jobs."""

    job_class = FineTuningJob
    name = "fine_tuning_jobs"
    kind = "fine-tuning job"
    path = "/fine_tuning/jobs/{job_id}"
    id_prefix = "ftjob"
    default_statuses = "succeeded"
    list_parameters = ("limit", "after")
    not_cancellable = frozenset({"succeeded", "failed", "cancelled"})

    def prepare(self, job: FineTuningJob) -> None:
        lists = (("ftevent", job.events, job.event_records), ("ftckpt", job.checkpoints, job.checkpoint_records))
        for prefix, given, records in lists:
            make = _event if prefix == "ftevent" else _checkpoint
            for number, plan in enumerate([{}] * given if isinstance(given, int) else given):
                records.add(Record({"id": self.store.new_id(prefix), **make(job, number), **plan}))

    def serialize(self, job: FineTuningJob) -> dict[str, Any]:
        succeeded = job.status == "succeeded"
        message = "The mock server fails this job, as planned."
        error = job.error or {"code": "server_error", "message": message, "param": None}
        return {
            "id": job.id,
            "object": "fine_tuning.job",
            "created_at": job.created,
            "status": job.status,
            "model": "mock-model",
            "fine_tuned_model": f"ft:mock-model:{job.id}" if succeeded else None,
            "finished_at": job.reached_at(job.status) if job.status in self.not_cancellable else None,
            "error": error if job.status == "failed" else None,
            "trained_tokens": job.trained_tokens if succeeded else None,
            "hyperparameters": {"n_epochs": 1, "batch_size": 1, "learning_rate_multiplier": 1.0},
            "organization_id": "org-mock-server",
            "training_file": "file_training",
            "seed": 1,
            "metadata": {},
            "result_files": [],
            "integrations": [],
            **dict.fromkeys(("validation_file", "estimated_finish")),
            **job.fields,
        }

    def routes(self) -> Iterator[ApiRoute]:
        yield from super().routes()
        yield "GET", self.path + "/events", self._list_events
        yield "GET", self.path + "/checkpoints", self._list_checkpoints

    def _list_events(self, request: ApiRequest) -> dict[str, Any]:
        query = PageQuery.parse(request.query, names=("limit", "after"))
        page = self.find(request.ids).event_records.list_page(query, Record.serialize)
        # Of all lists, only this one has no first_id and no last_id.
        return {name: page[name] for name in ("object", "data", "has_more")}

    def _list_checkpoints(self, request: ApiRequest) -> dict[str, Any]:
        query = PageQuery.parse(request.query, names=("limit", "after"), default_limit=_CHECKPOINTS_LIMIT)
        return self.find(request.ids).checkpoint_records.list_page(query, Record.serialize)


def _event(job: FineTuningJob, number: int) -> dict[str, Any]:
    data = {"step": number + 1, "train_loss": 1 / (number + 1)}
    message = f"Step {number + 1}: training loss={data['train_loss']:.2f}"
    event = {"object": "fine_tuning.job.event", "created_at": job.created + number}
    return {**event, "level": "info", "message": message, "type": "metrics", "data": data}


def _checkpoint(job: FineTuningJob, number: int) -> dict[str, Any]:
    step = (number + 1) * _STEPS
    checkpoint = {"object": "fine_tuning.job.checkpoint", "created_at": job.created + step, "step_number": step}
    model = f"ft:mock-model:{job.id}:ckpt-step-{step}"
    metrics = {"step": step, "train_loss": 1 / step, "train_mean_token_accuracy": 0.5}
    return {**checkpoint, "fine_tuning_job_id": job.id, "fine_tuned_model_checkpoint": model, "metrics": metrics}
