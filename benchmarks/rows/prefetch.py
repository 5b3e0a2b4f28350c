"""Seconds of an export whose pages take as long to come as to be written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from benchmarks.meter import meter
from benchmarks.row import Bar, Metric, Row, Setting

PAGE = 100
DELAY = 0.05
#: 0.7 MB a page, which gzip takes some 20 ms for.
THREAD = "thread_long_6000"
FORMAT: dict[str, Any] = {"file_format": "jsonl", "compression": "gzip"}


def _measured(do: Callable[[int], object], setting: Setting) -> Mapping[str, float]:
    do(2)
    with meter() as used:
        do(setting.size)
    return {"page_ms": 1000 * used.seconds / setting.size, "memory_mb": used.memory_mb}


def _connect(setting: Setting) -> None:
    extra = {"provider": "openai", "provider_api_key": "key"}
    connection = {
        "conn_type": "portkey",
        "host": setting.base_url(delay=DELAY),
        "password": "key",
        "extra": extra,
    }
    os.environ["AIRFLOW_CONN_PORTKEY_DEFAULT"] = json.dumps(connection)


def _rows(pages: int) -> Iterable[Mapping[str, Any]]:
    from airflow_provider_portkey.hooks.portkey import PortkeyHook

    return PortkeyHook().iter_run_steps(THREAD, f"run_{pages * PAGE}", page_size=PAGE)


def _write(setting: Setting, pages: Iterable[list[Mapping[str, Any]]]) -> None:
    from airflow_provider_portkey.export.atomic import file_path
    from airflow_provider_portkey.export.writer import open_writer
    from airflow_provider_portkey.jobs import RUN_STEPS

    path = file_path(str(setting.folder / "steps.jsonl.gz"), None)
    with open_writer(path, columns=dict(RUN_STEPS.columns), **FORMAT) as writer:
        for page in pages:
            writer.write_rows(page)


def _export(setting: Setting) -> Mapping[str, float]:
    from airflow_provider_portkey.transfers.steps_to_object_storage import PortkeyRunStepsToObjectStorageOperator

    _connect(setting)

    def export(pages: int) -> None:
        task = PortkeyRunStepsToObjectStorageOperator(
            task_id="steps",
            thread_id=THREAD,
            run_id=f"run_{pages * PAGE}",
            path=str(setting.folder / "steps.jsonl.gz"),
            **FORMAT,
        )
        assert task.execute({})["rows"] == pages * PAGE

    return _measured(export, setting)


def _pages_alone(setting: Setting) -> Mapping[str, float]:
    _connect(setting)
    return _measured(lambda pages: sum(1 for _ in _rows(pages)), setting)


def _writing_alone(setting: Setting) -> Mapping[str, float]:
    _connect(setting)
    page = list(islice(_rows(1), PAGE))
    return _measured(lambda pages: _write(setting, (list(page) for _ in range(pages))), setting)


def _in_turn(setting: Setting) -> Mapping[str, float]:
    _connect(setting)

    def export(pages: int) -> None:
        rows = iter(_rows(pages))
        _write(setting, iter(lambda: list(islice(rows, PAGE)), []))

    return _measured(export, setting)


ROW = Row(
    title="Pages while rows are written",
    what="The steps of a run are listed, 100 a page of 0.7 MB, from a server that takes 50 ms, and written "
    "as jsonl with gzip. The others are our own parts: only the pages, only the writing of as many rows, and both in "
    "turn. Coming is what takes longer here.",
    unit="pages",
    size=60,
    contenders={
        "export": _export,
        "pages alone": _pages_alone,
        "writing alone": _writing_alone,
        "one after the other": _in_turn,
    },
    metrics={
        "page_ms": Metric("a page, ms", 1),
        "memory_mb": Metric("memory over the start, MB", 1),
    },
    bars=(
        Bar("page_ms", "pages alone", at_most=1.15),
        Bar("page_ms", "one after the other", at_most=0.9),
    ),
    notes="The next page is requested when the one before is handed to the writer, in a thread of its own. In memory "
    "are the two pages.",
)
