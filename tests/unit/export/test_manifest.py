from __future__ import annotations

import io
from datetime import UTC, datetime

import time_machine

from airflow_provider_portkey.export.atomic import WrittenFile
from airflow_provider_portkey.export.manifest import ExportStats


def test_rows_and_pages_are_counted_and_the_ends_remembered() -> None:
    with time_machine.travel(datetime(2026, 11, 22, 8, tzinfo=UTC), tick=False) as clock:
        tally = ExportStats()
        for size in (2, 1, 0):
            tally.page(size)
        for name in ("step_1", "step_2", "step_3"):
            tally.row({"id": name})
        clock.shift(2.5)
        manifest = tally.manifest(
            WrittenFile(stream=io.BytesIO(), bytes=7, sha256="abc"),
            uri="s3://bucket/steps.csv",
            file_format="csv",
            compression="gzip",
            thread_id="thread_1",
        )

    assert manifest == {
        "uri": "s3://bucket/steps.csv",
        "format": "csv",
        "compression": "gzip",
        "rows": 3,
        "bytes": 7,
        "sha256": "abc",
        "thread_id": "thread_1",
        "first_id": "step_1",
        "last_id": "step_3",
        "pages": 3,
        "started_at": "2026-11-22T08:00:00.000+00:00",
        "finished_at": "2026-11-22T08:00:02.500+00:00",
        "schema_version": 1,
    }


def test_without_rows_there_are_no_ends() -> None:
    manifest = ExportStats().manifest(WrittenFile(stream=io.BytesIO()), uri="u", file_format="json", compression=None)

    assert (manifest["rows"], manifest["first_id"], manifest["last_id"], manifest["pages"]) == (0, None, None, 0)
