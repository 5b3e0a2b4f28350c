from __future__ import annotations

import subprocess
import sys

from airflow_provider_portkey.get_provider_info import get_provider_info

#: Every module that a DAG file may import, beside what every DAG file imports anyway.
MEASURE = """
import importlib, sys
from airflow.sdk import DAG, BaseHook, BaseOperator, BaseSensorOperator, ObjectStoragePath
from airflow.triggers.base import BaseTrigger
before = set(sys.modules)
for module in {modules!r}:
    importlib.import_module(module)
new = set(sys.modules) - before
print(len(new), *({{"requests", "aiohttp", "tenacity", "pyarrow"}} & new))
"""


def test_a_dag_file_pays_little():
    """At most 30 modules beside Airflow's own, and none of the heavy ones; milliseconds are for benchmarks."""
    info = get_provider_info()
    modules = [module for room in ("sensors", "operators", "triggers") for module in info[room][0]["python-modules"]]
    modules += [transfer["python-module"] for transfer in info["transfers"]]
    assert len(modules) >= 14
    measure = MEASURE.format(modules=modules)
    done = subprocess.run([sys.executable, "-c", measure], capture_output=True, text=True, check=True)
    count, *heavy = done.stdout.strip().splitlines()[-1].split()
    assert heavy == []
    assert int(count) <= 30
