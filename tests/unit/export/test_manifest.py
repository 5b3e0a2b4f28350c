from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import time_machine

from airflow_provider_portkey.export.manifest import ExportStats, build_manifest
from airflow_provider_portkey.export.progress import ExportProgress

FILE: dict[str, Any] = {
    "uri": "s3://bucket/steps.csv",
    "path": "s3://some_conn@bucket/steps.csv",
    "file_format": "csv",
    "compression": "gzip",
    "rows": 3,
    "bytes": 7,
    "sha256": "abc",
    "non_finite_values": 2,
}


def test_a_manifest_has_the_file_its_origin_and_the_times() -> None:
    with time_machine.travel(datetime(2026, 11, 22, 8, tzinfo=UTC), tick=False) as clock:
        stats = ExportStats(ExportProgress("rows"))
        for size in (2, 1, 0):
            stats.add_page(size)
        stats.add_rows([{"id": "step_1"}, {"id": "step_2"}])
        stats.add_rows([])
        stats.add_rows([{"id": "step_3"}, {"name": "without an id"}])
        clock.shift(2.5)
        manifest = build_manifest(**FILE, thread_id="thread_1", **stats.to_dict())

    assert manifest == {
        "uri": "s3://bucket/steps.csv",
        "path": "s3://some_conn@bucket/steps.csv",
        "format": "csv",
        "compression": "gzip",
        "rows": 3,
        "bytes": 7,
        "sha256": "abc",
        "non_finite_values": 2,
        "thread_id": "thread_1",
        "first_id": "step_1",
        "last_id": "step_3",
        "pages": 3,
        "started_at": "2026-11-22T08:00:00.000+00:00",
        "finished_at": "2026-11-22T08:00:02.500+00:00",
        "schema_version": 1,
    }


def test_without_rows_there_is_no_first_and_no_last_id() -> None:
    stats = ExportStats(ExportProgress("rows")).to_dict()

    assert (stats["first_id"], stats["last_id"], stats["pages"]) == (None, None, 0)


def test_parts_that_an_export_lacks_are_left_out() -> None:
    assert {"pages", "first_id", "usage"}.isdisjoint(build_manifest(**FILE, started_at="2026-11-22T08:00:00Z"))


def test_a_manifest_is_what_airflow_can_store() -> None:
    manifest = build_manifest(**FILE, started_at="now", run_status="odd\0", usage={"total_tokens": float("inf")})

    assert (manifest["run_status"], manifest["usage"]) == ("odd\\u0000", {"total_tokens": None})
