"""What the mock server knows: threads, their messages and runs, and the runs' steps. No HTTP and no clock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_portkey.testing.course import ScriptedJob, Start, begin
from airflow_provider_portkey.testing.errors import not_found
from airflow_provider_portkey.testing.ids import Ids
from airflow_provider_portkey.testing.paging import Shelf
from airflow_provider_portkey.testing.script import Advance, Statuses

ASSISTANT_ID = "asst_000001"


@dataclass(slots=True)
class Message:
    """One message of a thread.

    :param content: a text, or the API's own list of content parts.
    """

    id: str
    thread_id: str
    created_at: int
    role: str
    content: str | list[Any]
    run_id: str | None
    metadata: dict[str, Any]


@dataclass(slots=True)
class Step:
    """One step of a run; kept small, because a run may have a hundred thousand.

    :param number: its place in the run, from 0.
    :param created_at: seconds since the epoch.
    :param message_id: the message that a ``message_creation`` step made.
    :param fields: whatever is to stand in its object instead of the generated value.
    """

    id: str
    number: int
    type: str
    created_at: int
    message_id: str | None
    fields: Mapping[str, Any] | None


@dataclass(kw_only=True)
class Run(ScriptedJob):
    """One run of a thread; its parameters are those of :meth:`World.add_run`."""

    thread_id: str
    steps: Shelf[Step] = field(default_factory=Shelf)
    last_error: Mapping[str, Any] | None = None
    incomplete_reason: str = "max_completion_tokens"
    tool_calls: list[Any] = field(default_factory=list)
    #: What it waits for each time that outputs came.
    further_tool_calls: list[list[Any]] = field(default_factory=list)
    #: The statuses that come after the last of them.
    afterwards: list[tuple[str, float]] = field(default_factory=list)


@dataclass
class Thread:
    """One thread with all that belongs to it."""

    id: str
    created_at: int
    metadata: dict[str, Any] = field(default_factory=dict)
    runs: Shelf[Run] = field(default_factory=Shelf)
    messages: Shelf[Message] = field(default_factory=Shelf)
    #: The same messages by the run that made them, so that the filter costs no search.
    messages_by_run: defaultdict[str, Shelf[Message]] = field(default_factory=lambda: defaultdict(Shelf))


class World:
    """Every thread there is."""

    def __init__(self) -> None:
        self._threads: dict[str, Thread] = {}
        self._ids = Ids()

    def thread(self, thread_id: str) -> Thread:
        """Find a thread.

        :raises ApiError: 404 where there is none.
        """
        if thread_id not in self._threads:
            raise not_found("thread", thread_id)
        return self._threads[thread_id]

    def run(self, thread_id: str, run_id: str) -> Run:
        """Find a run of a thread.

        :raises ApiError: 404 where the thread has none with that id.
        """
        run = self.thread(thread_id).runs.get(run_id)
        if run is None:
            raise not_found("run", run_id)
        return run

    def add_thread(
        self, *, now: float, thread_id: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> Thread:
        """Make a thread; one that is there already is left as it is.

        :param now: seconds since the epoch.
        """
        thread_id = thread_id or self._ids.new("thread", self._threads)
        return self._threads.setdefault(thread_id, Thread(thread_id, int(now), dict(metadata or {})))

    def add_message(
        self,
        thread: Thread,
        *,
        created_at: int,
        content: str | list[Any],
        role: str = "user",
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Message:
        """Put a message at the end of a thread; see :class:`Message`."""
        message = Message(
            id=self._ids.new("msg"),
            thread_id=thread.id,
            created_at=created_at,
            role=role,
            content=content,
            run_id=run_id,
            metadata=dict(metadata or {}),
        )
        if run_id is not None:
            thread.messages_by_run[run_id].add(message)
        return thread.messages.add(message)

    def add_run(
        self,
        thread: Thread,
        *,
        now: float,
        run_id: str | None = None,
        statuses: Statuses = "completed",
        steps: int | Iterable[Mapping[str, Any]] = 0,
        advance: Advance = "time",
        start: Start = "now",
        created_at: int | None = None,
        last_error: Mapping[str, Any] | None = None,
        incomplete_reason: str = "max_completion_tokens",
        tool_calls: Iterable[Mapping[str, Any]] | None = None,
        further_tool_calls: Iterable[Iterable[Mapping[str, Any]]] = (),
        fields: Mapping[str, Any] | None = None,
    ) -> Run:
        """Start a run on a thread. :meth:`PortkeyMockServer.add_run` says what each parameter does.

        :raises ValueError: for an id that the thread has already, and for a script that makes no sense.
        """
        run = Run(
            id=run_id or self._ids.new("run", thread.runs),
            thread_id=thread.id,
            last_error=last_error,
            incomplete_reason=incomplete_reason,
            tool_calls=list(tool_calls or [self._tool_call()]),
            further_tool_calls=[list(calls) for calls in further_tool_calls],
            **begin(now, statuses=statuses, advance=advance, start=start, created_at=created_at, fields=fields),
        )
        thread.runs.add(run)
        self.add_steps(run, steps)
        return run

    def add_steps(self, run: Run, steps: int | Iterable[Mapping[str, Any]]) -> list[Step]:
        """Put steps at the end of a run. :meth:`PortkeyMockServer.add_steps` says what each may hold."""
        plans = [{} for _ in range(steps)] if isinstance(steps, int) else [dict(step) for step in steps]
        thread = self.thread(run.thread_id)
        taken = len(run.steps)
        added: list[Step] = []
        for number, plan in enumerate(plans, start=taken):
            kind = plan.pop("type", "tool_calls" if number % 2 else "message_creation")
            step_id = plan.pop("id", None) or self._ids.new("step", run.steps)
            text = plan.pop("text", f"Message of step {number} of {run.id}.")
            created_at = run.created_at + int(run.script.seconds * number / (taken + len(plans)))
            message_id = None
            if kind == "message_creation" and "step_details" not in plan:
                message_id = self.add_message(
                    thread,
                    created_at=created_at,
                    content=text,
                    role="assistant",
                    run_id=run.id,
                ).id
            step = Step(step_id, number, kind, created_at, message_id, plan or None)
            added.append(run.steps.add(step))
        return added

    def _tool_call(self) -> dict[str, Any]:
        function = {"name": "look_up", "arguments": '{"question": "mock-server"}'}
        return {"id": self._ids.new("call"), "type": "function", "function": function}
