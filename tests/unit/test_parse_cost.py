from __future__ import annotations

import subprocess
import sys

from airflow_provider_portkey.get_provider_info import get_provider_info

#: Every module that a DAG file may import, beside what every DAG file imports anyway.
MEASURE = """
import importlib, sys, time
from airflow.sdk import DAG, BaseHook, BaseOperator, BaseSensorOperator, ObjectStoragePath
from airflow.triggers.base import BaseTrigger
before, started = set(sys.modules), time.process_time()
for module in {modules!r}:
    importlib.import_module(module)
milliseconds = 1000 * (time.process_time() - started)
new = set(sys.modules) - before
print(len(new), milliseconds, *({{"requests", "aiohttp", "tenacity", "pyarrow"}} & new))
"""


def test_a_dag_file_pays_little():
    """Bars: 30 modules and 15 ms of CPU, the best of five processes because machines are noisy."""
    info = get_provider_info()
    modules = [module for room in ("sensors", "operators", "triggers") for module in info[room][0]["python-modules"]]
    modules += [transfer["python-module"] for transfer in info["transfers"]]
    assert len(modules) >= 17
    measure = MEASURE.format(modules=modules)
    found = []
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", measure], capture_output=True, text=True, check=True)
        count, milliseconds, *heavy = done.stdout.strip().splitlines()[-1].split()
        assert heavy == []
        assert int(count) <= 30
        found.append(float(milliseconds))
    assert min(found) <= 15
