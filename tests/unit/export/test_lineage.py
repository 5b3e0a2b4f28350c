from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_portkey.export.lineage import report


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Airflow's own collector, which it only makes where something reads it."""
    from airflow.providers.common.compat.lineage import hook as compat

    try:
        from airflow.sdk.lineage import HookLineageCollector
    except ImportError:  # before Airflow 3.2
        from airflow.lineage.hook import HookLineageCollector
    one = HookLineageCollector()
    name = "airflow.providers.common.compat.sdk.get_hook_lineage_collector"
    monkeypatch.setattr(name, lambda: one, raising=False)
    return compat.get_hook_lineage_collector()


def uris(collector: Any) -> tuple[list[str], list[str]]:
    found = collector.collected_assets
    return [one.asset.uri for one in found.inputs], [one.asset.uri for one in found.outputs]


def test_what_was_read_and_written_reaches_airflow(collector: Any) -> None:
    report(object(), inputs=["portkey://host/batches/b"], outputs=["file:///data/rows.jsonl", "s3://bucket/errors"])

    assert uris(collector) == (["portkey://host/batches/b"], ["file:///data/rows.jsonl", "s3://bucket/errors"])


def test_lineage_that_cannot_be_reported_fails_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def add_output_asset(**_: Any) -> None:
        raise ValueError("no such asset")

    monkeypatch.setattr(
        "airflow.providers.common.compat.lineage.hook.get_hook_lineage_collector",
        lambda: SimpleNamespace(add_output_asset=add_output_asset),
    )
    with caplog.at_level(logging.WARNING):
        report(object(), outputs=["file:///data/rows"])

    assert "file:///data/rows is missing from the lineage: no such asset" in caplog.text
