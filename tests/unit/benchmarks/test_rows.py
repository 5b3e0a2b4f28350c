"""Every comparison is declared whole, and the page shows what was measured last."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.report import PAGE, page_text
from benchmarks.results import Results
from benchmarks.row import load_row, row_names

ROOT = Path(__file__).parents[3]
ROWS = {name: load_row(name) for name in row_names()}


@pytest.mark.parametrize("name", ROWS)
def test_what_a_row_names_exists(name):
    row = ROWS[name]
    for bar in row.bars:
        assert bar.metric in row.metrics
        assert {bar.other, bar.ours} <= {None, *row.contenders}
        assert (bar.at_most is None) != (bar.at_least is None)
    assert row.needs.keys() <= row.contenders.keys()
    if row.growth:
        assert row.growth.metric in row.metrics
        assert list(row.growth.sizes) == sorted(set(row.growth.sizes))
        assert row.growth.sizes[-1] >= 100 * row.growth.sizes[0]


@pytest.mark.parametrize("name", ROWS)
def test_a_quick_form_is_less_strict_than_the_bar(name):
    for bar in ROWS[name].bars:
        if bar.quick is not None:
            assert bar.quick >= bar.at_most if bar.at_most is not None else bar.quick <= bar.at_least


def test_importing_rows_imports_no_library():
    heavy = {"requests", "aiohttp", "airflow", "pyarrow", "pandas", "openai", "airflow_provider_portkey", "matplotlib"}
    program = f"""
import sys
from benchmarks.row import load_row, row_names
for name in row_names():
    load_row(name)
print(sorted({heavy!r} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_page_is_that_of_the_stored_results():
    written = (ROOT / "docs" / PAGE).read_text()
    assert page_text(ROWS, Results(ROOT / "docs" / "performance" / "results.json")) == written, (
        "python3 -m dev bench --page writes it again"
    )
