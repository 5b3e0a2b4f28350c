"""The axes of the charts: what is at a line can be read and counted."""

from __future__ import annotations

import re

import pytest

from airflow_provider_portkey.report.charts import Bar, draw_columns, draw_timeline


def labels(svg: str) -> list[str]:
    return re.findall(r">([^<>]+)</text>", svg)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (3, ["0", "1 s", "2 s", "3 s"]),
        (66, ["0", "10 s", "20 s", "30 s", "40 s", "50 s", "1 min"]),
        (5_100, ["0", "15 min", "30 min", "45 min", "1 h", "1 h 15 min"]),
        (90_000, ["0", "6 h", "12 h", "18 h", "24 h"]),
        (86_400 * 30, ["0", "96 h", "192 h", "288 h", "384 h", "480 h", "576 h", "672 h"]),
    ],
)
def test_an_axis_of_time_has_the_steps_of_a_clock(seconds, expected):
    assert labels(draw_timeline([Bar(0, 1, "other", "step", "A step")], seconds, name="Steps"))[:-1] == expected


@pytest.mark.parametrize(("count", "expected"), [(1, ["0", "1"]), (4, ["0", "2", "4"])])
def test_an_axis_of_counts_has_no_half_of_one(count, expected):
    assert labels(draw_columns([{"other": float(count)}], ["Title"], name="Counts")) == expected
