"""Child processes: how their ends are reported, and that nothing of them stays."""

from __future__ import annotations

import os
import signal
import sys

import psutil
import pytest

from dev.processes import Child
from dev.steps import StepFailedError

SLEEPER = "import time; print('ready', flush=True); time.sleep(60)"
#: Starts another process in a session of its own, and ignores SIGINT and SIGTERM.
STUBBORN = f"""
import signal, subprocess, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", {SLEEPER!r}], start_new_session=True).wait()
"""


@pytest.fixture
def child(tmp_path):
    def make(program: str, **options: float) -> Child:
        command = [sys.executable, "-c", program]
        return Child("the sleeper", command, log=tmp_path / "log", env=dict(os.environ), cwd=tmp_path, **options)

    return make


def ready(child: Child) -> bool:
    return "ready" in child.log_text()


def test_it_is_waited_for_and_stopped(child):
    with child(SLEEPER) as sleeper:
        assert sleeper.wait_for(lambda: ready(sleeper), "line in its log")
        sleeper.check()
    assert sleeper.family() == []


def test_a_killed_process_is_named_with_its_signal(child):
    with child(SLEEPER) as sleeper:
        sleeper.wait_for(lambda: ready(sleeper), "line in its log")
        sleeper.family()[0].send_signal(signal.SIGKILL)
        with pytest.raises(StepFailedError, match=r"^the sleeper was killed by SIGKILL\.\n"):
            sleeper.wait_for(lambda: False, "second line")


def test_a_process_that_exits_is_named_with_its_code(child):
    says = r"^the sleeper exited with 4\.\n(.*\n)+ +no free port$"
    with child("print('no free port'); exit(4)") as broken, pytest.raises(StepFailedError, match=says):
        broken.wait_for(lambda: False, "line in its log")


@pytest.mark.slow
def test_a_process_that_does_nothing_is_not_waited_for_for_ever(child):
    says = "the sleeper is not healthy: no second line, and nothing has moved"
    with child(SLEEPER, timeout=5) as sleeper, pytest.raises(StepFailedError, match=says):
        sleeper.wait_for(lambda: False, "second line")


def test_what_ignores_signals_and_what_left_the_group_is_ended(child):
    with child(STUBBORN, grace=0.2) as stubborn:
        stubborn.wait_for(lambda: ready(stubborn), "line in its log")
        family = stubborn.family()
        assert len(family) == 2
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in family)
