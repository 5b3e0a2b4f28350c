from __future__ import annotations

import subprocess
import sys

from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_portkey.get_provider_info import get_provider_info

#: Imports every module that a DAG file may import, after those of every DAG file.
MEASURE = """
import importlib, sys
try:
    from airflow.sdk import DAG, BaseHook, BaseOperator, BaseSensorOperator, ObjectStoragePath
except ImportError:  # before Airflow 3.1
    from airflow.providers.common.compat.sdk import DAG, BaseHook, BaseOperator, BaseSensorOperator, ObjectStoragePath
from airflow.triggers.base import BaseTrigger
before = set(sys.modules)
for module in {modules!r}:
    importlib.import_module(module)
new = set(sys.modules) - before
print(len(new), *({{"requests", "aiohttp", "tenacity", "pyarrow"}} & new))
"""


def test_public_modules_import_few_modules_and_no_heavy_ones() -> None:
    """At most 30 modules beside Airflow's own; milliseconds are for benchmarks."""
    info = get_provider_info()
    modules = [module for kind in ("sensors", "operators", "triggers") for module in info[kind][0]["python-modules"]]
    modules += [transfer["python-module"] for transfer in info["transfers"]]
    assert len(modules) >= 13
    if not AIRFLOW_V_3_0_PLUS:  # older versions know no event triggers
        modules.remove("airflow_provider_portkey.triggers.run_event")
    measure = MEASURE.format(modules=modules)
    done = subprocess.run([sys.executable, "-c", measure], capture_output=True, text=True, check=True)
    count, *heavy = done.stdout.strip().splitlines()[-1].split()
    assert heavy == []
    assert int(count) <= 30
