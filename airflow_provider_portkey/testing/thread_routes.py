"""The endpoints of threads, messages, runs and steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_portkey.testing.calls import Call, Endpoint
from airflow_provider_portkey.testing.errors import bad_request, not_found
from airflow_provider_portkey.testing.paging import PageQuery, Shelf, as_page
from airflow_provider_portkey.testing.script import usual_statuses
from airflow_provider_portkey.testing.shapes import (
    TERMINAL_STATUSES,
    message_object,
    model_objects,
    run_object,
    step_object,
    thread_object,
)
from airflow_provider_portkey.testing.world import Run, Thread, World

#: What a caller may choose about a run; it comes back in the run's object as it was sent.
_RUN_CHOICES = (
    "assistant_id",
    "model",
    "instructions",
    "tools",
    "metadata",
    "temperature",
    "top_p",
    "max_prompt_tokens",
    "max_completion_tokens",
    "truncation_strategy",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
)


@dataclass(frozen=True)
class ThreadRoutes:
    """The endpoints, over one world.

    :param world: what they read and change.
    :param run_seconds: how long a run takes that was created over HTTP, in seconds.
    :param run_steps: how many steps such a run has.
    :param planned: takes what a test planned for the run that is being created.
    """

    world: World
    run_seconds: float
    run_steps: int
    planned: Callable[[], dict[str, Any]] = dict

    def table(self) -> Iterator[tuple[str, str, Endpoint]]:
        """List every endpoint: its method, its path and what answers it."""
        runs, messages = "/threads/{thread}/runs", "/threads/{thread}/messages"
        yield "GET", "/models", self.list_models
        yield "POST", "/threads", self.create_thread
        yield "POST", "/threads/runs", self.create_thread_and_run
        yield "GET", messages, self.list_messages
        yield "POST", messages, self.create_message
        yield "GET", messages + "/{message}", self.get_message
        yield "GET", runs, self.list_runs
        yield "POST", runs, self.create_run
        yield "GET", runs + "/{run}", self.get_run
        yield "POST", runs + "/{run}/cancel", self.cancel_run
        yield "POST", runs + "/{run}/submit_tool_outputs", self.submit_tool_outputs
        yield "GET", runs + "/{run}/steps", self.list_steps
        yield "GET", runs + "/{run}/steps/{step}", self.get_step

    def list_models(self, call: Call) -> dict[str, Any]:
        return {"object": "list", "data": model_objects()}

    def create_thread(self, call: Call) -> dict[str, Any]:
        return thread_object(self._new_thread(call.body, call.now))

    def create_thread_and_run(self, call: Call) -> dict[str, Any]:
        _refuse_unrunnable(call.body)
        return self._new_run(self._new_thread(call.body.get("thread") or {}, call.now), call)

    def list_messages(self, call: Call) -> dict[str, Any]:
        thread = self.world.thread(call.ids["thread"])
        run_id = call.query.get("run_id")
        shelf = thread.messages_by_run.get(run_id, Shelf()) if run_id else thread.messages
        messages, has_more = shelf.page(PageQuery.parse(call.query))
        return as_page([message_object(message) for message in messages], has_more)

    def create_message(self, call: Call) -> dict[str, Any]:
        return self._new_message(self.world.thread(call.ids["thread"]), call.body, call.now)

    def get_message(self, call: Call) -> dict[str, Any]:
        message = self.world.thread(call.ids["thread"]).messages.get(call.ids["message"])
        if message is None:
            raise not_found("message", call.ids["message"])
        return message_object(message)

    def list_runs(self, call: Call) -> dict[str, Any]:
        runs, has_more = self.world.thread(call.ids["thread"]).runs.page(PageQuery.parse(call.query))
        for run in runs:
            run.script.settle(call.now)
        return as_page([run_object(run) for run in runs], has_more)

    def create_run(self, call: Call) -> dict[str, Any]:
        thread = self.world.thread(call.ids["thread"])
        _refuse_unrunnable(call.body)
        return self._new_run(thread, call)

    def get_run(self, call: Call) -> dict[str, Any]:
        run = self._run(call)
        run.script.look(call.now)
        return run_object(run)

    def cancel_run(self, call: Call) -> dict[str, Any]:
        run = self._run(call)
        run.script.settle(call.now)
        if run.script.status in TERMINAL_STATUSES:
            raise bad_request(f"A run that is {run.script.status} cannot be cancelled.")
        run.script.replace(["cancelling", "cancelled"], call.now, advance="per_poll")
        return run_object(run)

    def submit_tool_outputs(self, call: Call) -> dict[str, Any]:
        run = self._run(call)
        run.script.settle(call.now)
        if run.script.status != "requires_action":
            raise bad_request(f"A run that is {run.script.status} waits for no tool outputs.")
        outputs = call.body.get("tool_outputs") or []
        given = {output.get("tool_call_id") for output in outputs if isinstance(output, dict)}
        wanted = {tool_call["id"] for tool_call in run.tool_calls}
        if given != wanted or len(outputs) != len(wanted):
            raise bad_request(f"The outputs of {sorted(wanted)} are wanted, no others.", param="tool_outputs")
        if not all(isinstance(output.get("output"), str) for output in outputs):
            raise bad_request("An output has to be a text.", param="tool_outputs")
        run.afterwards = run.script.rest() or run.afterwards or usual_statuses(self.run_seconds)
        if run.further_tool_calls:
            run.tool_calls = run.further_tool_calls.pop(0)
            run.script.replace([("in_progress", 0.0), ("requires_action", self.run_seconds / 4)], call.now)
        else:
            run.script.replace(run.afterwards, call.now)
        return run_object(run)

    def list_steps(self, call: Call) -> dict[str, Any]:
        run = self._run(call)
        steps, has_more = run.steps.page(PageQuery.parse(call.query))
        return as_page([step_object(step, run, include=call.include) for step in steps], has_more)

    def get_step(self, call: Call) -> dict[str, Any]:
        run = self._run(call)
        step = run.steps.get(call.ids["step"])
        if step is None:
            raise not_found("run step", call.ids["step"])
        return step_object(step, run, include=call.include)

    def _run(self, call: Call) -> Run:
        return self.world.run(call.ids["thread"], call.ids["run"])

    def _new_thread(self, body: Mapping[str, Any], now: float) -> Thread:
        thread = self.world.add_thread(now=now, metadata=body.get("metadata"))
        for message in body.get("messages") or []:
            self._new_message(thread, message, now)
        return thread

    def _new_message(self, thread: Thread, body: Any, now: float) -> dict[str, Any]:
        if not isinstance(body, dict):
            raise bad_request("A message has to be a JSON object.")
        role, content = body.get("role"), body.get("content")
        if role not in ("user", "assistant"):
            raise bad_request(f"'role' has to be 'user' or 'assistant', not {role!r}.", param="role")
        if not isinstance(content, str | list):
            raise bad_request("'content' has to be a text or a list of parts.", param="content")
        message = self.world.add_message(
            thread,
            created_at=int(now),
            content=content,
            role=role,
            metadata=body.get("metadata"),
        )
        return message_object(message)

    def _new_run(self, thread: Thread, call: Call) -> dict[str, Any]:
        for message in call.body.get("additional_messages") or []:
            self._new_message(thread, message, call.now)
        chosen = {name: call.body[name] for name in _RUN_CHOICES if call.body.get(name) is not None}
        usual: dict[str, Any] = {"statuses": usual_statuses(self.run_seconds), "steps": self.run_steps}
        plan = usual | self.planned()
        plan["fields"] = chosen | dict(plan.get("fields") or {})
        run = self.world.add_run(thread, now=call.now, **plan)
        run.script.look(call.now)
        return run_object(run)


def _refuse_unrunnable(body: Mapping[str, Any]) -> None:
    if not body.get("assistant_id"):
        raise bad_request("'assistant_id' is missing.", param="assistant_id")
    if body.get("stream"):
        raise bad_request("The mock server does not stream.", param="stream")
