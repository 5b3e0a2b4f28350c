"""Runs of threads, and their steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_portkey.testing.app import ApiRequest, ApiRoute
from airflow_provider_portkey.testing.errors import bad_request
from airflow_provider_portkey.testing.paging import Items, PageQuery
from airflow_provider_portkey.testing.resources.base import JobResource
from airflow_provider_portkey.testing.resources.threads import Threads
from airflow_provider_portkey.testing.scenario import Job
from airflow_provider_portkey.testing.serializers import FINAL_RUN_STATUSES, run_object, step_object
from airflow_provider_portkey.testing.store import Store
from airflow_provider_portkey.testing.timeline import Statuses, default_statuses

#: The number of steps, or the fields of each; see :meth:`Runs.add_steps`.
Steps = int | Iterable[Mapping[str, Any]]


@dataclass(slots=True)
class Step:
    """
    One step of a run; kept small, because a run may have a hundred thousand.

    :param number: the position in the run, from 0.
    :param created_at: seconds since the epoch.
    :param message_id: the message that a ``message_creation`` step created.
    :param fields: values that replace generated ones in the step's object.
    """

    id: str
    number: int
    type: str
    created_at: int
    message_id: str | None
    fields: Mapping[str, Any]


@dataclass(kw_only=True)
class Run(Job):
    """
    A run, whose thread is created where there is none; further parameters are those of :class:`.Job`.

    :param run_id: ``run_000001`` and so on where not given.
    :param steps: their number, or the fields of each; see :meth:`.PortkeyMockServer.add_steps`.
    :param last_error: what a failed run reports.
    :param incomplete_reason: what an incomplete run reports.
    :param tool_calls: what a run that requires action waits for.
    :param further_tool_calls: what it waits for next, each time that outputs arrive, before the rest of its statuses
        follows.
    """

    thread_id: str
    run_id: str | None = None
    steps: Steps = 0
    last_error: Mapping[str, Any] | None = None
    incomplete_reason: str = "max_completion_tokens"
    tool_calls: Iterable[Mapping[str, Any]] | None = None
    further_tool_calls: Iterable[Iterable[Mapping[str, Any]]] = ()
    step_items: Items[Step] = field(init=False, default_factory=Items)
    pending_tool_calls: list[list[Mapping[str, Any]]] = field(init=False)
    #: The statuses that follow the last tool outputs.
    remaining: list[tuple[str, float]] = field(init=False, default_factory=list)


class Runs(JobResource[Run]):
    """
    All runs.

    :param threads: the threads that they belong to.
    """

    job_class = Run
    name = "runs"
    kind = "run"
    path = "/threads/{thread_id}/runs/{run_id}"
    id_prefix = "run"
    cancel_statuses = ("cancelling", "cancelled")
    not_cancellable = FINAL_RUN_STATUSES
    list_parameters = ("limit", "order", "after", "before")
    not_echoed = frozenset({"additional_instructions", "additional_messages", "include", "stream", "thread"})

    def __init__(self, store: Store, threads: Threads) -> None:
        super().__init__(store)
        self._threads = threads

    def add_steps(self, *, thread_id: str, run_id: str, steps: Steps) -> list[dict[str, Any]]:
        """
        Append steps to a run.

        :param steps: their number, of alternating types, each ``message_creation`` with a message in the thread;
            or for each step the fields of its object that are not to be generated, and ``text`` for the content of
            its message.
        :return: the objects of the new steps.
        """
        with self.store.lock:
            run = self.find({"thread_id": thread_id, "run_id": run_id})
            return [step_object(step, run) for step in self._append_steps(run, steps)]

    def set_statuses(self, *, thread_id: str, run_id: str, statuses: Statuses) -> dict[str, Any]:
        """
        Replace the statuses of a run: for a test that decides late when a run ends.

        :param statuses: as of a new run, the seconds counted from now.
        :return: the run's object.
        :raises ValueError: for an invalid timeline.
        """
        with self.store.lock:
            run = self.find({"thread_id": thread_id, "run_id": run_id})
            run.timeline.replace(statuses, self.store.clock())
            return self.serialize(run)

    def add(self, **parameters: Any) -> dict[str, Any]:
        with self.store.lock:
            if "thread_id" in parameters:
                self._threads.ensure(parameters["thread_id"])
            return super().add(**parameters)

    def prepare(self, job: Run) -> None:
        function = {"name": "look_up", "arguments": '{"question": "mock-server"}'}
        generated = {"id": self.store.new_id("call"), "type": "function", "function": function}
        first = job.tool_calls or [generated]
        job.pending_tool_calls = [list(calls) for calls in (first, *job.further_tool_calls)]
        self._append_steps(job, job.steps)

    def serialize(self, job: Run) -> dict[str, Any]:
        return run_object(job)

    def jobs(self, parent_id: str = "") -> Items[Run]:
        return super().jobs(self._threads.find(parent_id).id)

    def routes(self) -> Iterator[ApiRoute]:
        yield from super().routes()
        yield "POST", "/threads/runs", self._create_with_thread
        yield "POST", self.list_path, self._create
        yield "POST", self.path + "/submit_tool_outputs", self._submit_tool_outputs
        yield "GET", self.path + "/steps", self._list_steps
        yield "GET", self.path + "/steps/{step_id}", self._get_step

    def _create_with_thread(self, request: ApiRequest) -> dict[str, Any]:
        _check_body(request.body)
        return self._create_in(self._threads.create(request.body.get("thread") or {}).id, request.body)

    def _create(self, request: ApiRequest) -> dict[str, Any]:
        thread = self._threads.find(request.ids["thread_id"])
        _check_body(request.body)
        for message in request.body.get("additional_messages") or []:
            self._threads.create_message(thread, message)
        return self._create_in(thread.id, request.body)

    def _create_in(self, thread_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        statuses = default_statuses(self.store.run_seconds)
        return run_object(self.create(body, thread_id=thread_id, statuses=statuses, steps=self.store.run_steps))

    def _submit_tool_outputs(self, request: ApiRequest) -> dict[str, Any]:
        run = self.find(request.ids)
        run.update(request.now)
        if run.status != "requires_action":
            raise bad_request(f"A run that is {run.status} expects no tool outputs.")
        outputs = request.body.get("tool_outputs") or []
        given = {output.get("tool_call_id") for output in outputs if isinstance(output, dict)}
        expected = {tool_call["id"] for tool_call in run.pending_tool_calls[0]}
        if given != expected or len(outputs) != len(expected):
            raise bad_request(f"The outputs of exactly {sorted(expected)} are expected.", param="tool_outputs")
        if not all(isinstance(output.get("output"), str) for output in outputs):
            raise bad_request("An output has to be a string.", param="tool_outputs")
        seconds = self.store.run_seconds
        run.remaining = run.timeline.rest() or run.remaining or default_statuses(seconds)
        if len(run.pending_tool_calls) > 1:
            del run.pending_tool_calls[0]
            run.timeline.replace([("in_progress", 0.0), ("requires_action", seconds / 4)], request.now)
        else:
            run.timeline.replace(run.remaining, request.now)
        return run_object(run)

    def _list_steps(self, request: ApiRequest) -> dict[str, Any]:
        run, query = self.find(request.ids), PageQuery.parse(request.query)
        return run.step_items.list_page(query, lambda step: step_object(step, run, include=request.include))

    def _get_step(self, request: ApiRequest) -> dict[str, Any]:
        run = self.find(request.ids)
        return step_object(run.step_items.find("run step", request.ids["step_id"]), run, include=request.include)

    def _append_steps(self, run: Run, steps: Steps) -> list[Step]:
        plans = [{} for _ in range(steps)] if isinstance(steps, int) else [dict(step) for step in steps]
        first = len(run.step_items)
        total = first + len(plans)
        return [
            run.step_items.add(self._new_step(run, number, plan, total)) for number, plan in enumerate(plans, first)
        ]

    def _new_step(self, run: Run, number: int, plan: dict[str, Any], total: int) -> Step:
        kind = plan.pop("type", "tool_calls" if number % 2 else "message_creation")
        step_id = plan.pop("id", None) or self.store.new_id("step", run.step_items)
        content = plan.pop("text", f"Message of step {number} of {run.id}.")
        created_at = run.created + int(run.timeline.seconds * number / total)
        message_id = None
        if kind == "message_creation" and "step_details" not in plan:
            message = {"created_at": created_at, "content": content, "role": "assistant", "run_id": run.id}
            message_id = self._threads.add_message(self._threads.find(run.thread_id), **message)["id"]
        return Step(step_id, number, kind, created_at, message_id, plan)


def _check_body(body: Mapping[str, Any]) -> None:
    if not body.get("assistant_id"):
        raise bad_request("'assistant_id' is missing.", param="assistant_id")
    if body.get("stream"):
        raise bad_request("The mock server does not stream.", param="stream")
