"""Which processes of the test suite use its CPU."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from benchmarks.rows.test_suite import ROW, Usage, metric_of

#: Works for 0.3 s of CPU once it may, says so, and stays.
CHILD = """
import sys, time
sys.stdin.readline()
while time.process_time() < 0.3:
    pass
print("done", flush=True)
time.sleep(60)
"""
#: Starts the child, and ends when its input does.
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], stdin=subprocess.PIPE)
print(child.pid, flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize(
    ("command", "metric"),
    [
        (["/venv/bin/python", "/venv/bin/airflow", "scheduler"], "scheduler"),
        (["/venv/bin/python", "-m", "airflow", "triggerer", "--skip-serve-logs"], "triggerer"),
        (["airflow api_server -- host:127.0.0.1 port:4711"], "api_server"),
        (["airflow worker -- 01a21be1-0d38-7114-8294-d32fdcb47c33"], "tasks"),
        (["[celeryd: worker-1@localhost:MainProcess] -active- (celery worker)"], "tasks"),
        (["/venv/bin/python", "/venv/bin/airflow", "db", "migrate"], "commands"),
        (["postgres: airflow airflow 127.0.0.1(4711) idle"], "servers"),
        (["/usr/lib/chromium/chromium", "--type=renderer"], "browsers"),
        (["/venv/bin/python", "-m", "benchmarks.child", "pages", "PortkeyHook"], "ratios"),
        (["[pytest-xdist running] tests/unit/test_links.py"], "tests"),
        ([], None),
    ],
)
def test_a_process_belongs_to_a_metric(command, metric):
    assert metric_of(SimpleNamespace(cmdline=lambda: command)) == metric
    assert metric in {None, *ROW.metrics}


def test_the_cpu_of_a_process_that_outlives_its_parent_counts():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child = int(parent.stdout.readline())
    try:
        usage = Usage(parent.pid)
        usage.read()
        before = usage.minutes()["tests"]
        parent.stdin.close()
        assert parent.stdout.readline() == b"done\n"
        parent.wait()
        usage.read()
        assert usage.minutes()["tests"] - before >= 0.25 / 60
    finally:
        os.kill(child, signal.SIGKILL)
