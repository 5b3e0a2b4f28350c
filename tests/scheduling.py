"""Which worker of pytest-xdist runs what: a file is one unit, and so are the tests that share a real Airflow."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

_AIRFLOW = "tests/e2e/"
#: Files there that need the gateway only, or have an Airflow of their own.
_APART = ("tests/e2e/test_gateway", "tests/e2e/test_cluster")
#: Those that take longest share a second Airflow.
_SECOND = ("tests/e2e/test_events", "tests/e2e/test_many_runs", "tests/e2e/test_nightly_export")
#: Measures processes of its own, which wait most of their time: each test is a unit.
_MEASURED = "tests/performance/"


def long_first(items: list[pytest.Item]) -> None:
    """Put the tests that take long and wait most of their time first, so that all others run beside them."""
    items.sort(key=lambda item: not item.nodeid.startswith((_AIRFLOW, _MEASURED)))


class FileScheduling(LoadScopeScheduling):
    """Assign whole files, in the order of the tests."""

    def __init__(self, config: Any, log: Any) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if file.startswith(_MEASURED):
            return nodeid
        if not file.startswith(_AIRFLOW) or file.startswith(_APART):
            return file
        return f"{_AIRFLOW}2" if file.startswith(_SECOND) else _AIRFLOW
