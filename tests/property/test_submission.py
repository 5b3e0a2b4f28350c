"""A task pays for one job and loses none, whatever breaks when: real operators, a lagging Portkey, lasting state."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import TaskDeferred
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from airflow_provider_portkey.client.sync import PortkeyClient
from airflow_provider_portkey.exceptions import PortkeyError, PortkeySubmissionUnknownError
from airflow_provider_portkey.operators.batch import PortkeyCreateBatchOperator
from airflow_provider_portkey.operators.job import PortkeyCreateResponseOperator
from airflow_provider_portkey.operators.run import PortkeyCreateRunOperator
from airflow_provider_portkey.tasks.submit import BasePortkeySubmitOperator
from tests.property.portkey import ACTIVE, COMPLETED, FAILED, FAULTS, STEPS, Clock, Killed, Simulation

#: Kinds of which Portkey lists the jobs, so that each of them is found again.
SEARCHABLE = ("run", "batch")
KINDS = (*SEARCHABLE, "run with its thread", "response")
#: Modules whose time is the clock's.
TIMED = ("tasks.wait", "tasks.idempotency", "operators.run", "batch.staging")
#: The longest lags that the stated patience covers: before a submission, and while the task is killed.
PATIENCE, KILL_PATIENCE = 15.0, 2.0
MODES = st.sampled_from(["no wait", "deferred", "reschedule"])
LAGS = st.sampled_from([0.0, KILL_PATIENCE, PATIENCE])
POSTS = st.one_of(st.just("ok"), st.sampled_from(sorted(FAULTS)))
AT, PASSES = st.sampled_from(STEPS), st.integers(0, 2)


#: What the patched client calls.
CURRENT = SimpleNamespace(simulation=None)


class SubmissionMachine(RuleBasedStateMachine):
    """One task: its tries in any order of crashes, lost responses, lags, clears, kills."""

    kind: str
    clock: Clock
    input_path: Path

    def __init__(self) -> None:
        super().__init__()
        self.simulation = Simulation(self.kind, self.clock)
        self.succeeded = False
        CURRENT.simulation = self.simulation

    def operator(self, mode: str, *, resubmit_unknown: bool = False) -> BasePortkeySubmitOperator:
        how: dict[str, Any] = {"task_id": "task", "resubmit_unknown": resubmit_unknown, "timeout": 1e9}
        how |= {"wait_for_completion": mode != "no wait", "deferrable": mode == "deferred"}
        how |= {"mode": "reschedule"} if mode == "reschedule" else {}
        if self.kind == "batch":
            return PortkeyCreateBatchOperator(input_path=str(self.input_path), **how)
        if self.kind == "response":
            return PortkeyCreateResponseOperator(model="m", input="Hello", **how)
        thread: dict[str, Any] = {"thread_id": "thread_1"} if self.kind == "run" else {"thread": {}}
        return PortkeyCreateRunOperator(assistant_id="asst", **thread, **how)

    def run_process(self, operator: BasePortkeySubmitOperator, fault: str, lag: float, new_try: bool) -> None:
        simulation = self.simulation
        simulation.fault, simulation.lag = fault, lag
        simulation.tries += new_try
        try:
            operator.execute(simulation.context())
            self.succeeded = True
        except (AirflowRescheduleException, TaskDeferred):
            pass  # the wait continues without the process
        except Killed:
            simulation.ambiguous = simulation.ambiguous or simulation.is_open
        except PortkeySubmissionUnknownError:
            assert self.kind not in SEARCHABLE, "a job that can be searched for is never unknown"
            assert simulation.ambiguous, "nothing was unclear"
        except PortkeyError:
            pass  # Airflow may try again
        finally:
            simulation.fault = "ok"
            simulation.end_process()

    @precondition(lambda self: not self.succeeded)
    @rule(mode=MODES, fault=POSTS, lag=LAGS, new_try=st.booleans(), resubmit=st.booleans())
    def attempt(self, mode: str, fault: str, lag: float, new_try: bool, resubmit: bool) -> None:
        """Run a process of the task."""
        # A person who sets it has read Portkey's logs.
        resubmit = resubmit and self.kind not in SEARCHABLE and not self.simulation.wanted
        self.run_process(self.operator(mode, resubmit_unknown=resubmit), fault, lag, new_try)

    @precondition(lambda self: not self.succeeded)
    @rule(mode=MODES, fault=POSTS, lag=LAGS, new_try=st.booleans(), at=AT, passes=PASSES)
    def crash(self, mode: str, fault: str, lag: float, new_try: bool, at: str, passes: int) -> None:
        """Run a process of the task, which is gone at a step."""

        def hit() -> None:
            raise Killed

        self.simulation.set_trap(at, passes, hit)
        self.run_process(self.operator(mode), fault, lag, new_try)

    @precondition(lambda self: not self.succeeded)
    @rule(mode=MODES, fault=POSTS, lag=LAGS, at=AT, passes=PASSES, continues=st.booleans())
    def kill(self, mode: str, fault: str, lag: float, at: str, passes: int, continues: bool) -> None:
        """Run a process of the task that Airflow kills at a step: as Airflow 3 does, the process continues."""
        simulation, operator = self.simulation, self.operator(mode)
        self.killed_at: float | None = None

        def hit() -> None:
            self.killed_at = simulation.clock.now
            simulation.in_handler = True
            operator.on_kill()
            simulation.in_handler = False
            if not continues:
                raise Killed

        simulation.set_trap(at, passes, hit)
        self.run_process(operator, fault, lag, new_try=False)
        if self.killed_at is not None:
            self.succeeded = False
            self.check_kill(operator, self.killed_at, continued=continues)

    def check_kill(self, operator: BasePortkeySubmitOperator, killed_at: float, *, continued: bool) -> None:
        """After a kill a job is cancelled, unless nobody could have known of it."""
        simulation = self.simulation
        for job in simulation.active:
            lags = job.visible_at > killed_at + KILL_PATIENCE
            hidden = lags or (self.kind not in SEARCHABLE and simulation.ambiguous)
            ignorant = not continued and not operator._submitted and not operator._open_submission
            assert hidden or ignorant, f"the task was killed, and {job} still runs"

    @rule(status=st.sampled_from([COMPLETED, FAILED]))
    def finish(self, status: str) -> None:
        """The active job finishes."""
        for job in self.simulation.active:
            job.status = status

    @rule(seconds=st.sampled_from([1.0, 60.0, 90_000.0]))
    def advance(self, seconds: float) -> None:
        self.simulation.clock.now += seconds

    @rule()
    def clear(self) -> None:
        """A user clears the task."""
        self.simulation.clears += 1
        self.simulation.tries += 1
        self.succeeded = False

    @invariant()
    def one_job_at_most_runs(self) -> None:
        assert len(self.simulation.active) <= 1

    def teardown(self) -> None:
        """A last undisturbed try finds the job that runs."""
        simulation = self.simulation
        simulation.clock.now += 60
        simulation.tries += 1
        running = list(simulation.active)
        try:
            found = self.operator("no wait").execute(simulation.context())
        except PortkeySubmissionUnknownError:
            assert self.kind not in SEARCHABLE and simulation.ambiguous
            return
        (active_or_done,) = [job for job in simulation.jobs if job.id == found["id"]]
        assert active_or_done.status in (ACTIVE, COMPLETED)
        assert not running or running == [active_or_done], "a job runs that nobody finds"


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_pays_for_one_job_and_loses_none(
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    portkey_connection: object,
    without_reschedules: None,
    tmp_path: Path,
) -> None:
    for name in ("get", "post", "upload"):
        monkeypatch.setattr(
            PortkeyClient,
            name,
            lambda self, *args, _name=name, **more: getattr(CURRENT.simulation, _name)(*args, **more),
        )
    clock = Clock()
    for module in TIMED:
        monkeypatch.setattr(f"airflow_provider_portkey.{module}.time", clock)
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {}}
    input_path = tmp_path / "in.jsonl"
    input_path.write_text(json.dumps(line))
    machine = type("Machine", (SubmissionMachine,), {"kind": kind, "clock": clock, "input_path": input_path})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=50,
            stateful_step_count=10,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
