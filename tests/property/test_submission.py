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
from airflow_provider_portkey.operators.response import PortkeyCreateResponseOperator
from airflow_provider_portkey.operators.run import PortkeyCreateRunOperator
from airflow_provider_portkey.tasks.submit import BasePortkeySubmitOperator
from tests.property.portkey import ACTIVE, COMPLETED, FAILED, FAULTS, Killed, World

#: Kinds of which Portkey lists the jobs, so that each of them is found again.
SEARCHABLE = ("run", "batch")
KINDS = (*SEARCHABLE, "run with its thread", "response")
#: Modules whose time is the world's.
TIMED = ("tasks.wait", "tasks.idempotency", "operators.run", "batch.staging")
#: The longest lags that the stated patience covers: before a submission, and while the task is killed.
PATIENCE, KILL_PATIENCE = 15.0, 2.0
MODES = st.sampled_from(["no wait", "deferred", "reschedule"])
LAGS = st.sampled_from([0.0, KILL_PATIENCE, PATIENCE])
#: The step at which a process is hit; a try has about ten.
STEPS = st.integers(0, 12)


class SubmissionMachine(RuleBasedStateMachine):
    """One task: its tries in any order of crashes, lost responses, lags, clears, kills."""

    kind: str
    input_path: Path

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.kind)
        self.succeeded = False
        PATCHED.world = self.world

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
        world = self.world
        world.fault, world.lag = fault, lag
        world.tries += new_try
        try:
            operator.execute(world.context())
            self.succeeded = True
        except (AirflowRescheduleException, TaskDeferred):
            pass  # the wait continues without the process
        except Killed:
            world.ambiguous = world.ambiguous or world.is_open
        except PortkeySubmissionUnknownError:
            assert self.kind not in SEARCHABLE, "a job that can be searched for is never unknown"
            assert world.ambiguous, "nothing was unclear"
        except PortkeyError:
            pass  # Airflow may try again
        finally:
            world.fault = "ok"
            world.end_process()

    @precondition(lambda self: not self.succeeded)
    @rule(mode=MODES, fault=st.sampled_from(sorted(FAULTS)), lag=LAGS, new_try=st.booleans(), resubmit=st.booleans())
    def attempt(self, mode: str, fault: str, lag: float, new_try: bool, resubmit: bool) -> None:
        """Run a process of the task."""
        # A person who sets it has looked into Portkey's logs.
        resubmit = resubmit and self.kind not in SEARCHABLE and not self.world.wanted
        self.run_process(self.operator(mode, resubmit_unknown=resubmit), fault, lag, new_try)

    @precondition(lambda self: not self.succeeded)
    @rule(mode=MODES, fault=st.sampled_from(sorted(FAULTS)), lag=LAGS, new_try=st.booleans(), step=STEPS)
    def crash(self, mode: str, fault: str, lag: float, new_try: bool, step: int) -> None:
        """Run a process of the task, which is gone at a step."""

        def hit() -> None:
            raise Killed

        self.world.set_trap(step, hit)
        self.run_process(self.operator(mode), fault, lag, new_try)

    @precondition(lambda self: not self.succeeded)
    @rule(mode=MODES, fault=st.sampled_from(sorted(FAULTS)), lag=LAGS, step=STEPS, continues=st.booleans())
    def kill(self, mode: str, fault: str, lag: float, step: int, continues: bool) -> None:
        """Run a process of the task that Airflow kills at a step: as Airflow 3 does, the process continues."""
        world, operator = self.world, self.operator(mode)

        def hit() -> None:
            self.killed_at = world.clock.now
            world.in_handler = True
            operator.on_kill()
            world.in_handler = False
            if not continues:
                raise Killed

        world.set_trap(step, hit)
        self.run_process(operator, fault, lag, new_try=False)
        if world.trapped:
            self.succeeded = False
            self.check_kill(operator, continued=continues)

    def check_kill(self, operator: BasePortkeySubmitOperator, *, continued: bool) -> None:
        """After a kill a job is cancelled, unless nobody could have known of it."""
        world = self.world
        for job in world.active:
            hidden = job.visible_at > self.killed_at + KILL_PATIENCE or (
                self.kind not in SEARCHABLE and world.ambiguous
            )
            ignorant = not continued and not operator._submitted and not operator._open_submission
            assert hidden or ignorant, f"the task was killed, and {job} still runs"

    @rule(status=st.sampled_from([COMPLETED, FAILED]))
    def finish(self, status: str) -> None:
        """The active job finishes."""
        for job in self.world.active:
            job.status = status

    @rule(seconds=st.sampled_from([1.0, 60.0, 90_000.0]))
    def advance(self, seconds: float) -> None:
        self.world.clock.now += seconds

    @rule()
    def clear(self) -> None:
        """A user clears the task."""
        self.world.clears += 1
        self.world.tries += 1
        self.succeeded = False

    @invariant()
    def one_job_at_most_runs(self) -> None:
        assert len(self.world.active) <= 1

    def teardown(self) -> None:
        """A last undisturbed try finds the job that runs."""
        world = self.world
        world.clock.now += 60
        world.tries += 1
        running = list(world.active)
        try:
            found = self.operator("no wait").execute(world.context())
        except PortkeySubmissionUnknownError:
            assert self.kind not in SEARCHABLE and world.ambiguous
            return
        (active_or_done,) = [job for job in world.jobs if job.id == found["id"]]
        assert active_or_done.status in (ACTIVE, COMPLETED)
        assert not running or running == [active_or_done], "a job runs that nobody finds"


PATCHED = SimpleNamespace(world=None)


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
            PortkeyClient, name, lambda self, *args, _name=name, **more: getattr(PATCHED.world, _name)(*args, **more)
        )
    clock = SimpleNamespace(
        time=lambda: PATCHED.world.clock.now, sleep=lambda seconds: PATCHED.world.clock.sleep(seconds)
    )
    for module in TIMED:
        monkeypatch.setattr(f"airflow_provider_portkey.{module}.time", clock)
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {}}
    input_path = tmp_path / "in.jsonl"
    input_path.write_text(json.dumps(line))
    machine = type("Machine", (SubmissionMachine,), {"kind": kind, "input_path": input_path})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=80,
            stateful_step_count=12,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
