"""The generic resource: jobs of one kind, and the endpoints that get, list and cancel them."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from typing import Any, ClassVar, Generic, TypeVar

from airflow_provider_portkey.testing.app import ApiRequest, ApiRoute
from airflow_provider_portkey.testing.errors import ApiError
from airflow_provider_portkey.testing.paging import Items, PageQuery
from airflow_provider_portkey.testing.scenario import Job
from airflow_provider_portkey.testing.store import Store
from airflow_provider_portkey.testing.timeline import Statuses, parse_statuses

J = TypeVar("J", bound=Job)


class JobResource(ABC, Generic[J]):
    """
    Jobs of one kind. A subclass declares the class variables, :meth:`serialize` and further routes.

    :param store: shared with the other resources.
    """

    job_class: type[J]
    #: The kind's name in plans and in control endpoints, and in error messages.
    name: ClassVar[str]
    kind: ClassVar[str]
    #: The path of one job. The last id is the job's; another one before it is that of its parent.
    path: ClassVar[str]
    id_prefix: ClassVar[str]
    default_statuses: ClassVar[Statuses] = "completed"
    #: The statuses from a cancel request on. In the first of them, a further request changes nothing.
    cancel_statuses: ClassVar[Statuses] = "cancelled"
    #: The statuses in which a cancel request is rejected, and the HTTP status of the rejection.
    not_cancellable: ClassVar[frozenset[str]]
    cancel_error_status: ClassVar[int] = 400
    #: The paging parameters of the list; without any there is no list.
    list_parameters: ClassVar[Collection[str]] = ()
    #: The fields of a create request that do not return in the job's object.
    not_echoed: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, store: Store) -> None:
        self.store = store
        self._jobs: dict[str, Items[J]] = {}
        *parents, self.id_parameter = re.findall(r"{(\w+)}", self.path)
        self._parent_parameter = parents[0] if parents else ""

    @abstractmethod
    def serialize(self, job: J) -> dict[str, Any]:
        """Return the job's object as of its last update."""

    def new_id(self, taken: Items[J]) -> str:
        """Return an id for a job without one."""
        return self.store.new_id(self.id_prefix, taken)

    def prepare(self, job: J) -> None:
        """Complete a new job before its first update."""

    def add(self, **parameters: Any) -> dict[str, Any]:
        """
        Add a job.

        :param parameters: those of the kind's job class.
        :return: the job's object.
        """
        with self.store.lock:
            job = self.job_class(**parameters)
            jobs = self.jobs(getattr(job, self._parent_parameter) if self._parent_parameter else "")
            job_id = getattr(job, self.id_parameter) or self.new_id(jobs)
            job.begin(self.store.clock(), job_id, self.default_statuses)
            jobs.check_new(job.id)
            self.prepare(job)
            jobs.add(job).update(self.store.clock())
            return self.serialize(job)

    def create(self, body: Mapping[str, Any], **defaults: Any) -> J:
        """
        Add a job for a client's request, as the test has planned it; the response counts as the first poll.

        :param defaults: parameters that the plan may replace.
        """
        plan = {**defaults, **self.store.take_plan(self.name)}
        echoed = {name: value for name, value in body.items() if value is not None and name not in self.not_echoed}
        self.add(**{**plan, "fields": {**echoed, **(plan.get("fields") or {})}})
        job = self.jobs(plan.get(self._parent_parameter, "")).newest
        job.poll(self.store.clock())
        return job

    def routes(self) -> Iterator[ApiRoute]:
        """Return the endpoints: method, path and function."""
        yield "GET", self.path, self._get
        yield "POST", self.path + "/cancel", self._cancel
        if self.list_parameters:
            yield "GET", self.list_path, self._list

    @property
    def list_path(self) -> str:
        """The path of the list."""
        return self.path.rpartition("/")[0]

    def jobs(self, parent_id: str = "") -> Items[J]:
        """Return the jobs of a parent, or all of a kind without parents."""
        return self._jobs.setdefault(parent_id, Items())

    def find(self, ids: Mapping[str, str]) -> J:
        """
        Find the job that the ids of a path name.

        :raises ApiError: 404 for an unknown one.
        """
        return self.jobs(ids.get(self._parent_parameter, "")).find(self.kind, ids[self.id_parameter])

    def _get(self, request: ApiRequest) -> dict[str, Any]:
        job = self.find(request.ids)
        job.poll(request.now)
        return self.serialize(job)

    def _list(self, request: ApiRequest) -> dict[str, Any]:
        jobs = self.jobs(request.ids.get(self._parent_parameter, ""))
        for job in jobs.page(query := PageQuery.parse(request.query, names=self.list_parameters))[0]:
            job.update(request.now)
        return jobs.list_page(query, self.serialize)

    def _cancel(self, request: ApiRequest) -> dict[str, Any]:
        job = self.find(request.ids)
        job.update(request.now)
        if job.status in self.not_cancellable:
            message = f"The {self.kind} is {job.status} and cannot be cancelled."
            raise ApiError(self.cancel_error_status, message)
        if job.status != parse_statuses(self.cancel_statuses)[0][0]:
            job.timeline.replace(self.cancel_statuses, request.now, advance="per_poll")
        return self.serialize(job)
