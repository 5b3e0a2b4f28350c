"""Every Python block of the README and the docs is executed; the blocks of a page share their names."""

from __future__ import annotations

import importlib
import os
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from airflow.providers.common.compat.sdk import DAG, task
from airflow.providers.standard.operators.python import PythonOperator

from airflow_provider_portkey.get_provider_info import get_provider_info
from tests.docs.blocks import PAGES, ROOT, Block, blocks

#: Run as files by test_testing_page.py.
FILES_OF_A_PAGE = "docs/testing-your-dags.md"
#: Their blocks are one DAG; elsewhere a block is a DAG of its own, because tasks of two blocks may have one id.
PAGES_OF_ONE_DAG = {"docs/batch-tables.md"}
INFO = get_provider_info()


@pytest.fixture(scope="module")
def public_names() -> dict[str, Any]:
    """The package's classes: a fragment of a DAG leaves out the imports of the block above."""
    modules = [module for kind in ("sensors", "operators") for module in INFO[kind][0]["python-modules"]]
    modules += [transfer["python-module"] for transfer in INFO["transfers"]]
    found = {}
    for module in map(importlib.import_module, modules):
        found |= {name: value for name, value in vars(module).items() if name.startswith("Portkey")}
    return found


def given(page: str, folder: Path) -> dict[str, Any]:
    """What a page takes for granted: other tasks of the reader's DAG, the reader's files."""
    names: dict[str, Any] = {"timedelta": timedelta, "DAG": DAG, "task": task, "datetime": datetime}
    if page == "docs/sensors.md":
        names["start_runs"] = SimpleNamespace(output=task(task_id="start_runs")(lambda: ["run_1"])())
    elif page == "docs/starting-runs.md":
        names["decide"] = PythonOperator(task_id="decide", python_callable=list)
    elif page == "docs/log-exports.md":
        from airflow.timetables.trigger import CronTriggerTimetable

        names["CronTriggerTimetable"] = CronTriggerTimetable
    elif page == "docs/traces-lineage-metrics.md":
        names["ti"] = SimpleNamespace(xcom_pull=lambda task_ids: {"usage": {"total_tokens": 7}})
    elif page == "docs/scheduling-exports.md":
        import pyarrow as pa
        import pyarrow.parquet as pq

        window = folder / "exports" / "steps" / "window_start=20261122T000000Z"
        window.mkdir(parents=True, exist_ok=True)
        row = {"thread_id": ["thread_1"], "run_id": ["run_1"], "id": ["step_1"]}
        pq.write_table(pa.table(row), window / "thread_1.parquet")
    return names


def pages_with_python() -> list[str]:
    return sorted({block.page for block in blocks("python")} - {FILES_OF_A_PAGE})


@pytest.mark.parametrize("page", pages_with_python())
def test_the_blocks_of_a_page_run(page, public_names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = public_names | {"__name__": "page"}
    dag = None
    for block in blocks("python", ROOT / page):
        # A fragment leaves out the DAG around it.
        if dag is None or page not in PAGES_OF_ONE_DAG:
            dag = DAG(f"fragments_{block.line}", schedule=None)
        with dag, mock.patch.dict(os.environ):
            names |= given(page, tmp_path)
            execute(block, names)


def execute(block: Block, names: dict[str, Any]) -> None:
    """Run a block; a failure shows the page and the line."""
    padded = "\n" * block.line + block.code
    exec(compile(padded, str(ROOT / block.page), "exec", dont_inherit=True), names)


def test_no_page_is_left_out():
    assert {Path(page).suffix for page in pages_with_python()} == {".md"}
    assert {ROOT / page for page in pages_with_python()} < set(PAGES)
