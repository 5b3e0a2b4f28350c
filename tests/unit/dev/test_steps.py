"""What a failed step says, and what an interrupted one leaves."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dev.paths import ROOT
from dev.steps import StepFailedError, run_logged, step


def test_a_failure_names_its_step_and_shows_the_lines_of_its_part(tmp_path, capsys):
    log = tmp_path / "standalone.log"
    log.write_text("scheduler  | fine\ntriggerer  | no such table\nscheduler  | still fine\n")
    with pytest.raises(StepFailedError) as raised, step("Airflow"):
        raise StepFailedError("Airflow's triggerer has ended.", log, part="triggerer")
    lines = raised.value.report().splitlines()
    assert lines[0] == "FAILED: Airflow: Airflow's triggerer has ended."
    assert lines[2:] == ["  triggerer  | no such table"]
    assert capsys.readouterr().out.startswith("  Airflow ")


def test_a_part_without_lines_of_its_own_shows_the_end_of_the_log(tmp_path):
    log = tmp_path / "log"
    log.write_text("".join(f"line {number}\n" for number in range(100)))
    failed = str(StepFailedError("ended.", log, part="triggerer"))
    assert f"The triggerer has logged nothing; the last lines of {log}:\n" in failed
    assert failed.endswith("  line 98\n  line 99")


def test_a_command_that_fails_shows_its_output(tmp_path):
    log = tmp_path / "new" / "install.log"
    with pytest.raises(StepFailedError, match=r"exited with 3\.\n.*install\.log:(\n.*)*\n  no such package"):
        run_logged([sys.executable, "-c", "print('no such package'); exit(3)"], log=log, env={})
    with pytest.raises(StepFailedError, match="could not be started: No such file"):
        run_logged([tmp_path / "missing"], log=log, env={})


def test_an_interrupt_ends_a_command_with_all_that_it_started(tmp_path):
    started = tmp_path / "started"
    grandchild = f"import os, time; open({str(started)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    child = f"import subprocess, sys; subprocess.call([sys.executable, '-c', {grandchild!r}])"
    program = f"""
import sys
from pathlib import Path
from dev.steps import run_logged
run_logged([sys.executable, "-c", {child!r}], log=Path({str(tmp_path / "log")!r}), env={{}})
"""
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        while not (started.exists() and started.read_text()):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(2)
    assert not _runs(int(started.read_text()))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
