"""Fine-tuning jobs, their events and their checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Unpack

from airflow_provider_portkey.testing.calls import Call, Endpoint
from airflow_provider_portkey.testing.course import Course, ScriptedJob, begin
from airflow_provider_portkey.testing.errors import bad_request, not_found
from airflow_provider_portkey.testing.paging import PageQuery, Shelf, as_page
from airflow_provider_portkey.testing.rooms.desk import Desk

TERMINAL_STATUSES = frozenset({"succeeded", "failed", "cancelled"})

#: Portkey's schema has it lower than that of any other list.
_CHECKPOINTS_LIMIT = 10

#: Training steps between two checkpoints.
_STEPS = 10


@dataclass
class Entry:
    """One event or checkpoint, by its id."""

    id: str
    shown: dict[str, Any]


@dataclass(kw_only=True)
class FineTuningJob(ScriptedJob):
    """One job; its parameters are those of :meth:`FineTuningJobs.add`."""

    error: Mapping[str, Any] | None
    trained_tokens: int
    events: Shelf[Entry] = field(default_factory=Shelf)
    checkpoints: Shelf[Entry] = field(default_factory=Shelf)


class FineTuningJobs:
    """Every fine-tuning job there is, and the calls that show and cancel them.

    :param desk: what it shares with the other rooms.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._jobs: dict[str, FineTuningJob] = {}

    def add(
        self,
        *,
        job_id: str | None = None,
        events: int | Iterable[Mapping[str, Any]] = 5,
        checkpoints: int | Iterable[Mapping[str, Any]] = 2,
        error: Mapping[str, Any] | None = None,
        trained_tokens: int = 1000,
        **course: Unpack[Course],
    ) -> dict[str, Any]:
        """Start a fine-tuning job.

        :param job_id: ``ftjob_000001`` and so on where not given.
        :param events: how many it has, from the beginning; or for each the fields that are not to be
            generated.
        :param checkpoints: the same for its checkpoints.
        :param error: what a failed job reports: ``code``, ``message`` and ``param``.
        :param trained_tokens: what a job that succeeded reports.
        :param course: its way; see :class:`.Course`.
        :return: the job's object.
        :raises ValueError: for an id that is taken already, and for a script that makes no sense.
        """
        with self._desk.lock:
            now = self._desk.clock()
            job_id = job_id or self._desk.ids.new("ftjob", self._jobs)
            if job_id in self._jobs:
                raise ValueError(f"The id '{job_id}' is taken already")
            course.setdefault("statuses", "succeeded")
            job = FineTuningJob(id=job_id, error=error, trained_tokens=trained_tokens, **begin(now, **course))
            for number, plan in enumerate(_plans(events)):
                shown = _event(self._desk.ids.new("ftevent"), job, number) | dict(plan)
                job.events.add(Entry(shown["id"], shown))
            for number, plan in enumerate(_plans(checkpoints)):
                shown = _checkpoint(self._desk.ids.new("ftckpt"), job, number) | dict(plan)
                job.checkpoints.add(Entry(shown["id"], shown))
            job.script.settle(now)
            self._jobs[job_id] = job
            return job_object(job)

    def table(self) -> Iterator[tuple[str, str, Endpoint]]:
        """List every endpoint: its method, its path and what answers it."""
        job = "/fine_tuning/jobs/{job}"
        yield "GET", job, self._get
        yield "POST", job + "/cancel", self._cancel
        yield "GET", job + "/events", self._list_events
        yield "GET", job + "/checkpoints", self._list_checkpoints

    def _get(self, call: Call) -> dict[str, Any]:
        job = self._find(call)
        job.script.look(call.now)
        return job_object(job)

    def _cancel(self, call: Call) -> dict[str, Any]:
        job = self._find(call)
        job.script.settle(call.now)
        if job.status in TERMINAL_STATUSES:
            raise bad_request(f"A job that is {job.status} cannot be cancelled.")
        job.script.replace("cancelled", call.now)
        return job_object(job)

    def _list_events(self, call: Call) -> dict[str, Any]:
        page = _page(self._find(call).events, call, default_limit=20)
        # Without the ids of the first and the last one, which this list alone does not tell.
        return {name: page[name] for name in ("object", "data", "has_more")}

    def _list_checkpoints(self, call: Call) -> dict[str, Any]:
        return _page(self._find(call).checkpoints, call, default_limit=_CHECKPOINTS_LIMIT)

    def _find(self, call: Call) -> FineTuningJob:
        job = self._jobs.get(call.ids["job"])
        if job is None:
            raise not_found("fine-tuning job", call.ids["job"])
        return job


def job_object(job: FineTuningJob) -> dict[str, Any]:
    """Show a job as it stood at the last look, with what the API tells about that status."""
    succeeded = job.status == "succeeded"
    error = job.error or {
        "code": "server_error",
        "message": "The mock server was told to fail this job.",
        "param": None,
    }
    ended = [job.reached_at(status) for status in TERMINAL_STATUSES if job.status == status]
    return {
        "id": job.id,
        "object": "fine_tuning.job",
        "created_at": job.created_at,
        "status": job.status,
        "model": "mock-model",
        "fine_tuned_model": f"ft:mock-model:{job.id}" if succeeded else None,
        "finished_at": ended[0] if ended else None,
        "estimated_finish": None,
        "error": error if job.status == "failed" else None,
        "trained_tokens": job.trained_tokens if succeeded else None,
        "hyperparameters": {"n_epochs": 1, "batch_size": 1, "learning_rate_multiplier": 1.0},
        "organization_id": "org-mock server",
        "result_files": [],
        "training_file": "file_training",
        "validation_file": None,
        "integrations": [],
        "seed": 1,
        "metadata": {},
        **job.fields,
    }


def _plans(plans: int | Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    return [{}] * plans if isinstance(plans, int) else plans


def _page(shelf: Shelf[Entry], call: Call, *, default_limit: int) -> dict[str, Any]:
    query = {name: call.query[name] for name in ("after", "limit") if name in call.query}
    entries, has_more = shelf.page(PageQuery.parse(query, default_limit=default_limit))
    return as_page([entry.shown for entry in entries], has_more)


def _event(event_id: str, job: FineTuningJob, number: int) -> dict[str, Any]:
    return {
        "id": event_id,
        "object": "fine_tuning.job.event",
        "created_at": job.created_at + number,
        "level": "info",
        "message": f"Step {number + 1}: training loss={1 / (number + 1):.2f}",
        "type": "metrics",
        "data": {"step": number + 1, "train_loss": 1 / (number + 1)},
    }


def _checkpoint(checkpoint_id: str, job: FineTuningJob, number: int) -> dict[str, Any]:
    step = (number + 1) * _STEPS
    return {
        "id": checkpoint_id,
        "object": "fine_tuning.job.checkpoint",
        "created_at": job.created_at + step,
        "fine_tuning_job_id": job.id,
        "fine_tuned_model_checkpoint": f"ft:mock-model:{job.id}:ckpt-step-{step}",
        "step_number": step,
        "metrics": {"step": step, "train_loss": 1 / step, "train_mean_token_accuracy": 0.5},
    }
