from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_portkey.export import progress as progress_module
from airflow_provider_portkey.export.progress import ExportProgress
from airflow_provider_portkey.export.writer import open_writer


class Clock:
    """Seconds that pass when a test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO, logger=progress_module.__name__)
    return lambda: [record.getMessage() for record in caplog.records if record.name == progress_module.__name__]


def test_a_short_export_logs_nothing(clock: Clock, lines: Callable[[], list[str]]) -> None:
    with ExportProgress("rows.jsonl", clock=clock) as progress:
        for _ in range(1_000):
            progress.add_rows(1)
            progress.add_page()
            clock.now += 0.009

    assert lines() == []


def test_a_long_export_logs_rows_pages_and_rate_in_a_group(clock: Clock, lines: Callable[[], list[str]]) -> None:
    with ExportProgress("s3://bucket/rows.jsonl", clock=clock) as progress:
        for _ in range(100):
            progress.add_page(2)
            progress.add_rows(1)
            progress.add_rows(1)
            clock.now += 0.25

    assert lines() == [
        "::group::Progress of the export to s3://bucket/rows.jsonl",
        "80 rows of 41 pages after 10 s, 8 rows a second.",
        "160 rows of 81 pages after 20 s, 8 rows a second.",
        "::endgroup::",
    ]


def test_the_rate_is_that_since_the_line_before(clock: Clock, lines: Callable[[], list[str]]) -> None:
    with ExportProgress("rows", clock=clock) as progress:
        clock.now += 10
        progress.add_rows(1)
        for _ in range(99):
            progress.add_rows(1)
        clock.now += 50
        progress.add_rows(1)

    assert lines()[1:-1] == ["1 rows after 10 s, 0 rows a second.", "101 rows after 60 s, 2 rows a second."]


def test_pages_without_rows_are_progress(clock: Clock, lines: Callable[[], list[str]]) -> None:
    with ExportProgress("rows", clock=clock) as progress:
        clock.now += 11
        progress.add_page(0)

    assert lines()[1] == "0 rows of 1 pages after 11 s, 0 rows a second."


def test_the_group_ends_before_an_error_is_logged(clock: Clock, lines: Callable[[], list[str]]) -> None:
    with pytest.raises(ValueError, match="broken"), ExportProgress("rows", clock=clock) as progress:
        clock.now += 11
        progress.add_rows(1)
        raise ValueError("broken")

    assert lines()[-1] == "::endgroup::"


def test_threads_that_report_at_once_log_one_line(clock: Clock, lines: Callable[[], list[str]]) -> None:
    with ExportProgress("rows", clock=clock) as progress, ThreadPoolExecutor(8) as pool:
        clock.now += 11
        list(pool.map(progress.add_page, range(800)))

    assert progress.pages == 800
    assert len(lines()) == 3


@pytest.mark.parametrize("file_format", ["jsonl", "json", "csv", "parquet"])
def test_a_writer_reports_its_rows(
    tmp_path: Path, clock: Clock, lines: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch, file_format: str
) -> None:
    def with_clock(target: object) -> Any:
        return ExportProgress(target, clock=clock)

    monkeypatch.setattr("airflow_provider_portkey.export.writer.ExportProgress", with_clock)
    path = ObjectStoragePath(str(tmp_path / "rows"))
    with open_writer(path, columns={"id": "text"}, file_format=file_format) as writer:
        writer.write({"id": "a"})
        clock.now += 20
        writer.write_line(b'{"id":"b"}', {"id": "b"})

    assert lines() == [
        f"::group::Progress of the export to {path}",
        "2 rows after 20 s, 0 rows a second.",
        "::endgroup::",
    ]


def test_a_writer_of_a_larger_export_adds_to_its_progress(
    tmp_path: Path, clock: Clock, lines: Callable[[], list[str]]
) -> None:
    with ExportProgress("folder", clock=clock) as progress:
        for name in ("a", "b"):
            path = ObjectStoragePath(str(tmp_path / name))
            with open_writer(path, columns={}, progress=progress) as writer:
                clock.now += 6
                writer.write({"id": name})
        assert "::endgroup::" not in lines()

    assert (progress.rows, writer.rows) == (2, 1)
    assert lines()[0] == "::group::Progress of the export to folder"
