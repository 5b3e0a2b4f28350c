"""CPU a row of a whole export: the steps of a run, 100 a page, to a file."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.meter import meter
from benchmarks.row import Bar, Growth, Metric, Row, Setting

PAGE = 100
THREAD = "thread_1"

Export = Callable[[int], Path]


def _measured(export: Export, setting: Setting) -> Mapping[str, float]:
    """Write two pages for the warm-up, and all rows for the measurement."""
    export(2 * PAGE)
    with meter() as used:
        path = export(setting.size)
    assert path.stat().st_size > 0
    return {"cpu_us": 1e6 * used.cpu / setting.size, "cpu_s": used.cpu, "memory_mb": used.memory_mb}


def _operator(setting: Setting, file_format: str) -> Mapping[str, float]:
    from airflow_provider_portkey.transfers.steps_to_object_storage import PortkeyRunStepsToObjectStorageOperator

    extra = {"provider": "openai", "provider_api_key": "key"}
    connection = {"conn_type": "portkey", "host": setting.base_url(), "password": "key", "extra": extra}
    os.environ["AIRFLOW_CONN_PORTKEY_DEFAULT"] = json.dumps(connection)
    path = setting.folder / f"steps.{file_format}"

    def export(count: int) -> Path:
        task = PortkeyRunStepsToObjectStorageOperator(
            task_id="steps", thread_id=THREAD, run_id=f"run_{count}", path=str(path), file_format=file_format
        )
        manifest: dict[str, Any] = task.execute({})
        assert manifest["rows"] == count
        return path

    return _measured(export, setting)


def _operator_jsonl(setting: Setting) -> Mapping[str, float]:
    return _operator(setting, "jsonl")


def _operator_csv(setting: Setting) -> Mapping[str, float]:
    return _operator(setting, "csv")


def _operator_parquet(setting: Setting) -> Mapping[str, float]:
    return _operator(setting, "parquet")


def _operator_jsonl_without_orjson(setting: Setting) -> Mapping[str, float]:
    sys.modules["orjson"] = None  # type: ignore[assignment]
    return _operator(setting, "jsonl")


def _rows_of(setting: Setting) -> Callable[[int], Iterator[dict[str, Any]]]:
    """Return the bare loop that feeds the writers of the others."""
    import requests

    session = requests.Session()

    def walk(count: int) -> Iterator[dict[str, Any]]:
        url = f"{setting.base_url()}/threads/{THREAD}/runs/run_{count}/steps"
        query = {"limit": str(PAGE), "order": "asc"}
        while True:
            page = json.loads(session.get(url, params=query, timeout=60).content)
            yield from page["data"]
            if not page["has_more"]:
                return
            query["after"] = page["last_id"]

    return walk


def _loop(setting: Setting) -> Mapping[str, float]:
    walk = _rows_of(setting)
    path = setting.folder / "rows.count"

    def export(count: int) -> Path:
        path.write_text(str(sum(1 for _ in walk(count))))
        return path

    return _measured(export, setting)


def _json_dumps(setting: Setting) -> Mapping[str, float]:
    walk = _rows_of(setting)
    path = setting.folder / "steps.jsonl"

    def export(count: int) -> Path:
        with path.open("w", encoding="utf-8") as file:
            for row in walk(count):
                file.write(json.dumps(row) + "\n")
        return path

    return _measured(export, setting)


def _csv_writer(setting: Setting) -> Mapping[str, float]:
    import csv

    walk = _rows_of(setting)
    path = setting.folder / "steps.csv"

    def export(count: int) -> Path:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = None
            for row in walk(count):
                if writer is None:
                    writer = csv.DictWriter(file, list(row))
                    writer.writeheader()
                writer.writerow(_flat(row))
        return path

    return _measured(export, setting)


def _pandas(setting: Setting) -> Mapping[str, float]:
    import pandas

    walk = _rows_of(setting)
    path = setting.folder / "steps.csv"

    def export(count: int) -> Path:
        pandas.DataFrame([_flat(row) for row in walk(count)]).to_csv(path, index=False)
        return path

    return _measured(export, setting)


def _pyarrow(setting: Setting) -> Mapping[str, float]:
    import pyarrow
    import pyarrow.parquet

    walk = _rows_of(setting)
    path = setting.folder / "steps.parquet"

    def export(count: int) -> Path:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([_flat(row) for row in walk(count)]), path)
        return path

    return _measured(export, setting)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in row.items()}


ROW = Row(
    title="CPU a row of an export",
    what="The steps of a run are listed, 100 a page, and written to a file on a local disk. The others are what one "
    "writes oneself: the bare loop of `requests` and `json` with `json.dumps` for each row, `csv.DictWriter`, a "
    "`DataFrame`, or a pyarrow table; nested fields are JSON strings in a table, as ours are. The last two have all "
    "rows in memory.",
    unit="rows",
    size=20_000,
    contenders={
        "jsonl": _operator_jsonl,
        "csv": _operator_csv,
        "parquet": _operator_parquet,
        "jsonl without orjson": _operator_jsonl_without_orjson,
        "requests loop, no file": _loop,
        "json.dumps": _json_dumps,
        "csv.DictWriter": _csv_writer,
        "pandas, csv": _pandas,
        "pyarrow, parquet": _pyarrow,
    },
    metrics={
        "cpu_us": Metric("CPU a row, µs", 1),
        "cpu_s": Metric("CPU, s"),
        "memory_mb": Metric("memory over the start, MB", 1),
    },
    bars=(
        Bar("cpu_us", "json.dumps", at_most=1.0, quick=1.5),
        Bar("cpu_us", "csv.DictWriter", ours="csv", at_most=1.0, quick=1.5),
        Bar("cpu_us", "pandas, csv", ours="csv", at_most=1.0),
        Bar("cpu_us", "pyarrow, parquet", ours="parquet", at_most=1.0, quick=2.0),
        Bar("memory_mb", "pandas, csv", ours="csv", at_most=0.5),
        Bar("memory_mb", "pyarrow, parquet", ours="parquet", at_most=0.5),
    ),
    quick_size=4_000,
    growth=Growth("cpu_s", (2_000, 20_000, 200_000), quick=(2_000, 10_000)),
    notes="A page is encoded by one call of `orjson`: a result of its own for each row cost four times as much, for "
    "the memory. A table is encoded column by column: one check of the types of a column replaces one of each value. "
    "The file has the same bytes with and without `orjson`, which spells some floats otherwise than `json`: a copy of "
    "the page by `marshal`, which has each float as text, shows by one search whether a row has such a float, and only "
    "such rows are written by `json`. Copy and search take twice as long as `orjson`, all three together half as long "
    "as `json.dumps`. Without `orjson`, sorted keys in UTF-8 cost more than `json.dumps` as it is. In memory are two "
    "pages, and of parquet a row group of 5,000 rows and Arrow's own buffers.",
    needs={"pandas, csv": "pandas"},
)
