"""Runs of threads, and their steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from airflow_provider_portkey.testing.app import ApiRequest
from airflow_provider_portkey.testing.faults import bad_request
from airflow_provider_portkey.testing.resources.jobs import Job, echo
from airflow_provider_portkey.testing.resources.threads import ASSISTANT_ID
from airflow_provider_portkey.testing.store import Items, Store

Steps = int | Iterable[Mapping[str, Any]]

#: Seconds after its creation at which an active run expires.
_EXPIRES_AFTER = 600

_STEP_USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}

_STEP = {
    **{"object": "thread.run.step", "assistant_id": ASSISTANT_ID, "status": "completed", "metadata": {}},
    **dict.fromkeys(("last_error", "expired_at", "cancelled_at", "failed_at")),
    "usage": _STEP_USAGE,
}


@dataclass(kw_only=True)
class Run(Job):
    """
    A run, whose thread is created where there is none; further parameters are those of :class:`.Job`.

    :param run_id: ``run_000001`` and so on where not given.
    :param steps: their number, or the fields of each; see :meth:`.PortkeyMockServer.add_steps`.
    :param cost: the cost in the run's usage, once it has any.
    :param last_error: what a failed run reports.
    :param incomplete_reason: what an incomplete run reports.
    :param tool_calls: what a run that requires action waits for.
    :param further_tool_calls: what it waits for next, each time that outputs arrive, before the rest of its statuses
        follows.
    """

    thread_id: str
    run_id: str | None = None
    steps: Steps = 0
    cost: float | None = None
    last_error: Mapping[str, Any] | None = None
    incomplete_reason: str = "max_completion_tokens"
    tool_calls: Iterable[Mapping[str, Any]] | None = None
    further_tool_calls: Iterable[Iterable[Mapping[str, Any]]] = ()
    step_items: Items[dict[str, Any]] = field(init=False, default_factory=Items)
    pending_tool_calls: list[list[Mapping[str, Any]]] = field(init=False)
    #: The statuses that follow the last tool outputs.
    remaining: list[tuple[str, float]] = field(init=False, default_factory=list)

    name = "runs"
    kind = "run"
    path = "/v1/threads/{thread_id}/runs/{run_id}"
    id_prefix = "run"
    create_paths = ("/v1/threads/runs", "/v1/threads/{thread_id}/runs")
    endpoints: ClassVar[Mapping[str, str]] = {"POST /submit_tool_outputs": "submit", "GET /steps/{step_id}": "get_step"}
    lists: ClassVar[Mapping[str, str]] = {"/steps": "step_items"}
    cancel_statuses = ("cancelling", "cancelled")
    final_statuses = frozenset({"completed", "failed", "cancelled", "expired", "incomplete"})
    timestamps = ("cancelled", "failed", "completed")
    template: ClassVar[Mapping[str, Any]] = {
        "object": "thread.run",
        "assistant_id": ASSISTANT_ID,
        "model": "mock-model",
        "instructions": "Respond as a mock server would.",
        **{"tools": [], "metadata": {}, "tool_choice": "auto", "response_format": "auto"},
        **{"parallel_tool_calls": True, "temperature": 1.0, "top_p": 1.0},
    }

    @classmethod
    def parse(cls, request: ApiRequest) -> dict[str, Any]:
        body, threads = request.body, request.store.threads
        if "thread_id" in request.ids:
            threads.find(request.ids["thread_id"])
        if not body.get("assistant_id"):
            raise bad_request("'assistant_id' is missing.", param="assistant_id")
        thread_id = request.ids.get("thread_id") or threads.create(body.get("thread") or {})["id"]
        for message in body.get("additional_messages") or []:
            threads.create_message(thread_id, message)
        fields = echo(body, "additional_instructions", "additional_messages", "include", "stream", "thread")
        return {"thread_id": thread_id, "steps": request.store.run_steps, "fields": fields}

    @classmethod
    def open_parent(cls, store: Store, parent_id: str, *, create: bool) -> None:
        (store.threads.ensure if create else store.threads.find)(parent_id)

    def prepare(self) -> None:
        function = {"name": "look_up", "arguments": '{"question": "mock-server"}'}
        generated = {"id": self.store.new_id("call"), "type": "function", "function": function}
        rounds = (self.tool_calls or [generated], *self.further_tool_calls)
        self.pending_tool_calls = [list(tool_calls) for tool_calls in rounds]
        self.add_steps(self.steps)

    def details(self) -> dict[str, Any]:
        status, final = self.status, self.status in self.final_statuses
        started = [seconds for reached, seconds in self.timeline.reached.items() if reached != "queued"]
        action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": self.pending_tool_calls[0]}}
        return {
            "thread_id": self.thread_id,
            "required_action": action if status == "requires_action" else None,
            "last_error": self.failure(self.last_error),
            "incomplete_details": {"reason": self.incomplete_reason} if status == "incomplete" else None,
            "expires_at": None if final and status != "expired" else self.created + _EXPIRES_AFTER,
            "started_at": self.created + int(min(started)) if started else None,
            "usage": self._usage() if final else None,
        }

    def _usage(self) -> dict[str, Any]:
        cost = {} if self.cost is None else {"cost": self.cost}
        return {name: tokens * len(self.step_items) for name, tokens in _STEP_USAGE.items()} | cost

    def submit(self, request: ApiRequest) -> dict[str, Any]:
        self.update(request.now)
        if self.status != "requires_action":
            raise bad_request(f"A run that is {self.status} expects no tool outputs.")
        outputs = request.body.get("tool_outputs") or []
        valid = [one for one in outputs if isinstance(one, dict) and isinstance(one.get("output"), str)]
        expected = sorted(tool_call["id"] for tool_call in self.pending_tool_calls[0])
        if len(valid) != len(outputs) or sorted(str(one.get("tool_call_id")) for one in valid) != expected:
            raise bad_request(f"Outputs of exactly {expected} are expected, all strings.", param="tool_outputs")
        seconds = self.store.run_seconds
        self.remaining = self.timeline.rest() or self.remaining or self.stages_of(seconds)
        if len(self.pending_tool_calls) > 1:
            del self.pending_tool_calls[0]
            self.timeline.replace([("in_progress", 0.0), ("requires_action", seconds / 4)], request.now)
        else:
            self.timeline.replace(self.remaining, request.now)
        return self.serialize()

    def get_step(self, request: ApiRequest) -> dict[str, Any]:
        return self.step_items.find("run step", request.ids["step_id"])

    def add_steps(self, steps: Steps) -> list[dict[str, Any]]:
        """Append steps; see :meth:`.PortkeyMockServer.add_steps`."""
        plans = [{} for _ in range(steps)] if isinstance(steps, int) else [dict(step) for step in steps]
        first, total = len(self.step_items), len(self.step_items) + len(plans)
        return [self._add_step(number, plan, number / total) for number, plan in enumerate(plans, first)]

    def _add_step(self, number: int, plan: dict[str, Any], share: float) -> dict[str, Any]:
        text = plan.pop("text", f"Message of step {number} of {self.id}.")
        created_at = plan.pop("created_at", self.created + int(self.timeline.seconds * share))
        step: dict[str, Any] = {**_STEP, "id": plan.pop("id", None) or self.store.new_id("step", self.step_items)}
        step |= {"thread_id": self.thread_id, "run_id": self.id, "created_at": created_at, "completed_at": created_at}
        step |= {"type": "tool_calls" if number % 2 else "message_creation", **plan}
        if "step_details" not in plan:
            details: Any = {}
            if step["type"] == "message_creation":
                fields = {"created_at": created_at, "role": "assistant", "run_id": self.id}
                details = {"message_id": self.store.threads.add_message(self.thread_id, content=text, **fields)["id"]}
            elif step["type"] == "tool_calls":
                function = {"name": "look_up", "arguments": f'{{"step": {number}}}', "output": "found"}
                details = [{"id": f"call_of_{step['id']}", "type": "function", "function": function}]
            step["step_details"] = {"type": step["type"], step["type"]: details}
        return self.step_items.add(step["id"], step)
