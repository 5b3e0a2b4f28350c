"""A job of any kind, and the endpoints that get, list, create and cancel the jobs of one kind."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Generic, Literal, TypeAlias, TypeVar

from starlette.responses import Response

from airflow_provider_portkey.testing.app import ApiRequest, ApiRoute
from airflow_provider_portkey.testing.faults import ApiError, bad_request
from airflow_provider_portkey.testing.store import Items, Store
from airflow_provider_portkey.testing.timeline import Advance, Statuses, Timeline

Start: TypeAlias = Literal["now", "first-poll"]


def echo(body: Mapping[str, Any], *others: str) -> dict[str, Any]:
    """Return the fields of a create request that return in the new job's object: all but nulls and some others."""
    return {name: value for name, value in body.items() if value is not None and name not in others}


@dataclass(kw_only=True)
class Job:
    """
    The parameters that all kinds of jobs share.

    :param statuses: one status, or several, each with its seconds after the start:
        ``[("queued", 0), ("completed", 4)]``. Words unknown to the API are allowed.
    :param seconds: the duration of a job without ``statuses``, which succeeds.
    :param advance: ``time`` advances by the clock; ``per_poll`` advances one status at each request for this job,
        the first of which returns the first status.
    :param start: whether the seconds count from now or from the first request for this job.
    :param created_at: in seconds since the epoch; its start where not given. The job's other timestamps count from it.
    :param fields: values that replace generated ones in the job's object.
    :raises ValueError: for an id that is taken, and for an invalid timeline.
    """

    statuses: Statuses | None = None
    seconds: float = 0.0
    advance: Advance = "time"
    start: Start = "now"
    created_at: int | None = None
    fields: Mapping[str, Any] | None = None
    store: Store = field(init=False)
    id: str = field(init=False)
    created: int = field(init=False)
    timeline: Timeline = field(init=False)
    #: The number of items that the job is about, and of those processed, failed ones included.
    total: int = field(init=False, default=0)
    done: int = field(init=False, default=0)

    #: The kind's name in plans and in control endpoints, and in error messages.
    name: ClassVar[str]
    kind: ClassVar[str]
    #: The path of one job. The last id is the job's; another one before it is that of its parent.
    path: ClassVar[str]
    id_prefix: ClassVar[str]
    #: The paths that create such a job; without any, only a test does.
    create_paths: ClassVar[Collection[str]] = ()
    has_list: ClassVar[bool] = True
    #: The job's further endpoints: method and path below the job's, with the name of the function; and the paths of
    #: its lists, with the name of their items.
    endpoints: ClassVar[Mapping[str, str]] = {}
    lists: ClassVar[Mapping[str, str]] = {}
    #: The statuses of a job that succeeds, each with the share of the job's duration at which it begins.
    stages: ClassVar[Mapping[str, float]] = {"queued": 0, "in_progress": 0.25, "completed": 1}
    #: The statuses in which a cancel request is rejected, the HTTP status of the rejection, and the statuses from an
    #: accepted request on. In the first of them, a further request changes nothing.
    final_statuses: ClassVar[frozenset[str]]
    cancel_error_status: ClassVar[int] = 400
    cancel_statuses: ClassVar[tuple[str, ...]] = ("cancelled",)
    #: The statuses in which all items are processed.
    processed_statuses: ClassVar[frozenset[str]] = frozenset({"finalizing", "completed"})
    #: The constant fields of the job's object, and the statuses whose timestamps it has.
    template: ClassVar[Mapping[str, Any]] = {}
    timestamps: ClassVar[Collection[str]] = ()

    @classmethod
    def parse(cls, request: ApiRequest) -> dict[str, Any]:
        """Return the parameters of the job that a request creates."""
        raise NotImplementedError

    @classmethod
    def open_parent(cls, store: Store, parent_id: str, *, create: bool) -> None:
        """Check that the parent exists, or create it."""

    def prepare(self) -> None:
        """Complete a new job."""

    def details(self) -> dict[str, Any]:
        """Return the fields of the job's object that only this kind has."""
        return {}

    def respond_to_create(self, request: ApiRequest) -> dict[str, Any]:
        """Return the response to the request that created the job."""
        return self.serialize()

    @property
    def status(self) -> str:
        """The status as of the last update."""
        return self.timeline.status

    @classmethod
    def stages_of(cls, seconds: float) -> list[tuple[str, float]]:
        """Return the statuses of a job that succeeds after some seconds."""
        return [(status, seconds * share) for status, share in cls.stages.items()]

    def begin(self, store: Store, job_id: str) -> None:
        """Begin the scenario."""
        if self.start not in ("now", "first-poll"):
            raise ValueError(f"start has to be 'now' or 'first-poll', not {self.start!r}")
        now = store.clock()
        self.store, self.id, self.created = store, job_id, int(now) if self.created_at is None else self.created_at
        statuses = self.stages_of(self.seconds) if self.statuses is None else self.statuses
        self.timeline = Timeline(statuses, advance=self.advance, started=now if self.start == "now" else None)
        self.is_cancelled = False
        self.prepare()

    def update(self, now: float) -> None:
        """Apply the time that has passed."""
        self.timeline.update(now)
        if self.status == "in_progress":
            self.done = int(self.total * self.timeline.share(now))
        elif self.status in self.processed_statuses:
            self.done = self.total

    def serialize(self) -> dict[str, Any]:
        """Return the job's object as of now."""
        self.update(self.store.clock())
        times = {f"{status}_at": self.reached_at(status) for status in self.timestamps}
        shown = {**self.template, "id": self.id, "status": self.status, "created_at": self.created, **times}
        return {**shown, **self.details(), **(self.fields or {})}

    def reached_at(self, status: str) -> int | None:
        """Return when a status was first reached, in seconds since the epoch; ``None`` for never."""
        seconds = self.timeline.reached.get(status)
        return None if seconds is None else self.created + int(seconds)

    def failure(self, declared: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Return the reason of a failed job, as declared by the test or generated; ``None`` for any other job."""
        generated = {"code": "invalid_prompt", "message": f"The mock server fails this {self.kind}, as planned."}
        return dict(declared or generated) if self.status == "failed" else None

    def poll(self, request: ApiRequest) -> dict[str, Any]:
        """Respond to a request for this one job."""
        if self.timeline.started is None and self.created_at is None:
            self.created = int(request.now)  # a wait goes by the age of its job
        self.timeline.poll(request.now)
        return self.serialize()

    def cancel(self, request: ApiRequest) -> dict[str, Any]:
        """Respond to a request that cancels the job."""
        self.update(request.now)
        if self.status in self.final_statuses:
            message = f"The {self.kind} is {self.status} and cannot be cancelled."
            raise ApiError(self.cancel_error_status, message)
        if self.status != self.cancel_statuses[0]:
            self.timeline.replace(self.cancel_statuses, request.now, advance="per_poll")
            self.is_cancelled = True
        return self.serialize()

    def listed(self) -> dict[str, Any]:
        """Return the job's object for a list; it is a poll of a cancelled job, for who watches nothing else."""
        if self.is_cancelled:
            self.timeline.poll(self.store.clock())
        return self.serialize()


J = TypeVar("J", bound=Job)


class Jobs(Generic[J]):
    """All jobs of one kind."""

    def __init__(self, store: Store, job_class: type[J], *, seconds: float) -> None:
        self.store = store
        self.name = job_class.name
        self._job_class = job_class
        self._seconds = seconds
        self._jobs: dict[str, Items[J]] = {}
        *parents, self._id_parameter = re.findall(r"{(\w+)}", job_class.path)
        self._parent_parameter = parents[0] if parents else ""

    def add(self, **parameters: Any) -> dict[str, Any]:
        """Add a job, of which the parameters are those of its class, and return its object."""
        with self.store.lock:
            return self._add(parameters).serialize()

    def find(self, **ids: str) -> J:
        """Find the job that the ids of a path name, or raise a 404."""
        return self._siblings(ids).find(self._job_class.kind, ids[self._id_parameter])

    def routes(self) -> Iterator[ApiRoute]:
        """Return the endpoints: method, path and function."""
        path = self._job_class.path
        for create_path in self._job_class.create_paths:
            yield "POST", create_path, self._create
        for action, name in {"GET": "poll", "POST /cancel": "cancel", **self._job_class.endpoints}.items():
            method, _, suffix = action.partition(" ")
            yield method, path + suffix, partial(self._call, name)
        for list_path, name in self._job_class.lists.items():
            yield "GET", path + list_path, partial(self._list_items, name)
        if self._job_class.has_list:
            yield "GET", path.rpartition("/")[0], self._list

    def _siblings(self, ids: Mapping[str, str], *, create: bool = False) -> Items[J]:
        parent_id = ids.get(self._parent_parameter, "")
        self._job_class.open_parent(self.store, parent_id, create=create)
        return self._jobs.setdefault(parent_id, Items())

    def _add(self, parameters: Mapping[str, Any]) -> J:
        job = self._job_class(**parameters)
        siblings = self._siblings(parameters, create=True)
        job_id = getattr(job, self._id_parameter) or self.store.new_id(self._job_class.id_prefix, siblings)
        siblings.check_new(job_id)
        job.begin(self.store, job_id)
        return siblings.add(job_id, job)

    def _create(self, request: ApiRequest) -> dict[str, Any]:
        # As the test has planned it; the response counts as the first poll.
        if request.body.get("stream"):
            raise bad_request("The mock server does not stream.", param="stream")
        parameters = {"seconds": self._seconds, **self._job_class.parse(request)}
        plan = {**parameters, **self.store.take_plan(self.name)}
        job = self._add({**plan, "fields": {**parameters.get("fields", {}), **(plan.get("fields") or {})}})
        job.poll(request)
        return job.respond_to_create(request)

    def _call(self, name: str, request: ApiRequest) -> dict[str, Any] | Response:
        result: dict[str, Any] | Response = getattr(self.find(**request.ids), name)(request)
        return result

    def _list_items(self, name: str, request: ApiRequest) -> dict[str, Any]:
        items: Items[dict[str, Any]] = getattr(self.find(**request.ids), name)
        return items.page(request.query, dict)

    def _list(self, request: ApiRequest) -> dict[str, Any]:
        return self._siblings(request.ids).page(request.query, self._job_class.listed)
