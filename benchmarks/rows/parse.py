"""CPU of importing what DAG files import, beside Airflow's own modules."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterable, Mapping

from benchmarks.row import Bar, Measure, Metric, Row, Setting

_AIRFLOW = "airflow.providers"
_ALL = "Portkey, all public modules"


def _importing(*modules: str) -> Measure:
    return lambda setting: _import(modules)


def _import(modules: Iterable[str]) -> Mapping[str, float]:
    """Import modules after those that every DAG file imports."""
    import airflow.sdk
    import airflow.triggers.base

    # The modules behind these names are imported when the names are used.
    for name in ("DAG", "BaseHook", "BaseOperator", "BaseSensorOperator", "ObjectStoragePath", "task"):
        getattr(airflow.sdk, name)
    before, cpu = set(sys.modules), time.thread_time()
    for module in modules:
        importlib.import_module(module)
    cpu = time.thread_time() - cpu
    return {"cpu_ms": 1000 * cpu, "modules": len(set(sys.modules) - before)}


def _portkey_all(_: Setting) -> Mapping[str, float]:
    from airflow_provider_portkey.get_provider_info import get_provider_info

    info = get_provider_info()
    modules = [module for kind in ("sensors", "operators", "triggers") for module in info[kind][0]["python-modules"]]
    return _import([*modules, *(transfer["python-module"] for transfer in info["transfers"])])


ROW = Row(
    title="Parsing a DAG file",
    what="CPU of the thread that imports a provider's modules, and how many modules come with them, in a new process "
    "that has imported Airflow's SDK. The DAG processor pays it for every file, every time.",
    unit="imports",
    size=1,
    contenders={
        "Portkey, sensor and export": _importing(
            "airflow_provider_portkey.sensors.run", "airflow_provider_portkey.transfers.steps_to_object_storage"
        ),
        _ALL: _portkey_all,
        "http, operator and sensor": _importing(f"{_AIRFLOW}.http.operators.http", f"{_AIRFLOW}.http.sensors.http"),
        "common.ai, batch operator": _importing(f"{_AIRFLOW}.common.ai.operators.llm_batch"),
        "dbt Cloud, operator and sensor": _importing(
            f"{_AIRFLOW}.dbt.cloud.operators.dbt", f"{_AIRFLOW}.dbt.cloud.sensors.dbt"
        ),
        "openai, operators": _importing(f"{_AIRFLOW}.openai.operators.openai"),
        "anthropic, operator and sensor": _importing(
            f"{_AIRFLOW}.anthropic.operators.batch", f"{_AIRFLOW}.anthropic.sensors.batch"
        ),
    },
    metrics={"cpu_ms": Metric("CPU, ms", 1), "modules": Metric("modules", 0)},
    bars=(
        Bar("modules", ours=_ALL, at_most=30),
        Bar("cpu_ms", "common.ai, batch operator", at_most=1.0),
        Bar("cpu_ms", "dbt Cloud, operator and sensor", at_most=0.1),
        Bar("cpu_ms", "anthropic, operator and sensor", at_most=0.01),
    ),
    server=None,
)
