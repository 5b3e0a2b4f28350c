"""A Portkey in this process, and a task state that survives: what each may do wrong is one named fault."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from airflow_provider_portkey.exceptions import (
    PortkeyBadRequestError,
    PortkeyNotFoundError,
    PortkeyRateLimitedError,
    PortkeyRedirectedError,
    PortkeyServerError,
    PortkeyUnexpectedResponseError,
    PortkeyUnreachableError,
)

ACTIVE, COMPLETED, FAILED, CANCELLED = "in_progress", "completed", "failed", "cancelled"

#: What becomes of a POST: whether it takes effect, and the error that the client sees.
FAULTS: dict[str, tuple[bool, Exception | None]] = {
    "ok": (True, None),
    "response lost": (True, PortkeyUnreachableError("cut")),
    "request lost": (False, PortkeyUnreachableError("cut")),
    "502 after the effect": (True, PortkeyServerError("bad gateway", status_code=502)),
    "502 without effect": (False, PortkeyServerError("bad gateway", status_code=502)),
    "a page of HTML after the effect": (True, PortkeyUnexpectedResponseError("HTML", status_code=200)),
    "302 after the effect": (True, PortkeyRedirectedError("moved", status_code=302)),
    "302 without effect": (False, PortkeyRedirectedError("moved", status_code=302)),
    "429": (False, PortkeyRateLimitedError("slow down", status_code=429)),
    "400": (False, PortkeyBadRequestError("no", status_code=400)),
    "never sent": (False, PortkeyUnreachableError("refused", request_sent=False)),
}
#: The faults after which nobody can tell from the outside whether the request took effect.
AMBIGUOUS = {name for name in FAULTS if "lost" in name or "effect" in name}


#: Where a process may be hit.
STEPS = (
    "state read",
    "state to be written",
    "state written",
    "GET to be sent",
    "GET received",
    "POST to be sent",
    "POST received",
    "upload to be sent",
    "upload received",
)


class Killed(BaseException):
    """The process is gone; no ``except Exception`` sees it."""


@dataclass
class Clock:
    """The time, which only sleeping moves."""

    now: float = 1_800_000_000.0

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Job:
    """A job that costs money while it is active, and has cost it once it is completed."""

    id: str
    body: Mapping[str, Any]
    visible_at: float
    created_at: int
    thread_id: str | None = None
    status: str = ACTIVE
    #: How often the task had been cleared when it last wrote down this job.
    clears: int = 0

    def to_json(self) -> dict[str, Any]:
        fields = {"metadata": self.body.get("metadata"), "input_file_id": self.body.get("input_file_id")}
        own = {"id": self.id, "status": self.status, "created_at": self.created_at, "thread_id": self.thread_id}
        return {name: value for name, value in {**own, **fields}.items() if value is not None}


@dataclass
class Simulation:
    """
    Portkey, Airflow's task state store and the processes of one task.

    :param kind: Of the jobs.
    :param clock: The time of all of them.
    """

    kind: str
    clock: Clock
    jobs: list[Job] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    state: dict[str, str] = field(default_factory=dict)
    clears: int = 0
    tries: int = 1
    #: Seconds after which a new job shows in lists and is found by its id.
    lag: float = 0.0
    #: Of the next POST that creates a job.
    fault: str = "ok"
    #: The step at which the process is hit, how often the step passes before, and how the process is hit.
    at: str = ""
    passes: int = 0
    hit: Callable[[], None] | None = None
    #: Whether the last process was hit.
    trapped: bool = False
    #: Whether the process is in the signal handler.
    in_handler: bool = False
    #: Whether a submission had no clear outcome.
    ambiguous: bool = False

    def set_trap(self, at: str, passes: int, hit: Callable[[], None]) -> None:
        """Have the next process hit at one of its steps."""
        self.at, self.passes, self.hit = at, passes, hit

    def end_process(self) -> None:
        self.hit, self.in_handler, self.trapped = None, False, False

    def step(self, name: str) -> None:
        """Pass a point at which the process may be hit."""
        if self.hit is None or name != self.at or self.in_handler:
            return
        self.passes -= 1
        if self.passes < 0:
            hit, self.hit, self.trapped = self.hit, None, True
            hit()

    @property
    def active(self) -> list[Job]:
        return [job for job in self.jobs if job.status == ACTIVE]

    @property
    def wanted(self) -> list[Job]:
        """The jobs beside which no other may be paid for: active ones, and results that no user has cleared."""
        return [
            job for job in self.jobs if job.status == ACTIVE or (job.status, job.clears) == (COMPLETED, self.clears)
        ]

    @property
    def is_open(self) -> bool:
        """Whether the state has a submission without an outcome."""
        return any("idempotency_key" in json.loads(value) for value in self.state.values())

    # Airflow's task state store.

    def get_state(self, key: str) -> Any:
        assert not self.in_handler, "a signal handler used Airflow's API"
        self.step("state read")
        return json.loads(self.state[key]) if key in self.state else None

    def set_state(self, key: str, value: Any) -> None:
        assert not self.in_handler, "a signal handler used Airflow's API"
        self.step("state to be written")
        self.state[key] = json.dumps(value)
        for job in self.jobs:
            if job.id in (value.get("ids") or {}).values():
                job.clears = self.clears
        self.step("state written")

    def context(self) -> Any:
        numbers = {"try_number": self.tries, "max_tries": 2 + self.clears}
        ti = SimpleNamespace(dag_id="dag", task_id="task", run_id="run", map_index=-1, **numbers)
        ti.get_first_reschedule_date = lambda context: None
        return {"ti": ti, "task_state_store": SimpleNamespace(get=self.get_state, set=self.set_state)}

    # Portkey.

    def get(self, path: str, ids: Mapping[str, str], query: Any = None, *, max_retries: int | None = None) -> Any:
        self.step("GET to be sent")
        response = self._get(path, ids)
        self.step("GET received")
        return response

    def _get(self, path: str, ids: Mapping[str, str]) -> Any:
        visible = [job for job in self.jobs if job.visible_at <= self.clock.now]
        if path == "/files":
            return {"data": self.files[::-1], "has_more": False}
        if path.endswith(("/runs", "/batches")):
            of_thread = [job.to_json() for job in visible if job.thread_id == ids.get("thread_id")]
            return {"data": of_thread[::-1], "has_more": False}
        own = list(ids.values())[-1]
        for job in visible:
            if job.id == own:
                return job.to_json()
        raise PortkeyNotFoundError("gone", status_code=404)

    def post(self, path: str, ids: Mapping[str, str], body: Any = None) -> Any:
        assert not self.trapped or path.endswith("/cancel"), "a killed task submitted a job"
        self.step("POST to be sent")
        if path.endswith("/cancel"):
            job = next(job for job in self.jobs if job.id == list(ids.values())[-1])
            job.status = CANCELLED if job.status == ACTIVE else job.status
            return job.to_json()
        (effect, error), fault = FAULTS[self.fault], self.fault
        self.fault = "ok"
        self.ambiguous = self.ambiguous or fault in AMBIGUOUS
        job = self._create(ids, body) if effect else None
        self.step("POST received")
        if error:
            raise error
        assert job is not None
        return job.to_json()

    def _create(self, ids: Mapping[str, str], body: Mapping[str, Any]) -> Job:
        assert not self.wanted, f"a second job beside {self.wanted}"
        number, now = len(self.jobs) + 1, self.clock.now
        thread_id = None
        if self.kind.startswith("run"):
            thread_id = ids.get("thread_id", f"thread_new_{number}")
        job = Job(f"job_{number}", body, now + self.lag, int(now), thread_id, clears=self.clears)
        self.jobs.append(job)
        return job

    def upload(self, path: str, ids: Any, file: Any, *, filename: str, fields: Any = None) -> Any:
        self.step("upload to be sent")
        content = file.seek(0) or file.read()
        self.files.append({"id": f"file_{len(self.files) + 1}", "filename": filename, "bytes": len(content)})
        self.step("upload received")
        return self.files[-1]
