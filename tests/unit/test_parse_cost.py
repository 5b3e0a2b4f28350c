from __future__ import annotations

import subprocess
import sys

#: The classes that a DAG file may import, beside what every DAG file imports anyway.
MEASURE = """
import sys, time
from airflow.sdk import DAG, BaseHook, BaseOperator, BaseSensorOperator, ObjectStoragePath
from airflow.triggers.base import BaseTrigger
before, started = set(sys.modules), time.process_time()
import airflow_provider_portkey.sensors.run
import airflow_provider_portkey.operators.steps
import airflow_provider_portkey.transfers.steps_to_object_storage
import airflow_provider_portkey.triggers.run
milliseconds = 1000 * (time.process_time() - started)
new = set(sys.modules) - before
print(len(new), milliseconds, *({"requests", "aiohttp", "tenacity", "pyarrow"} & new))
"""


def test_a_dag_file_pays_little():
    """Bars: 30 modules and 15 ms of CPU, the best of five processes because machines are noisy."""
    found = []
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
        modules, milliseconds, *heavy = done.stdout.strip().splitlines()[-1].split()
        assert heavy == []
        assert int(modules) <= 30
        found.append(float(milliseconds))
    assert min(found) <= 15
