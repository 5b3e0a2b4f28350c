"""Requests of deferred waits for runs of one thread, which share their polls."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks import waits
from benchmarks.row import Bar, Metric, Row, Setting

INTERVAL = 10.0


def _spread(setting: Setting) -> Mapping[str, float]:
    return waits.on_one_thread(setting, INTERVAL, spread=1.0)


def _together(setting: Setting) -> Mapping[str, float]:
    return waits.on_one_thread(setting, INTERVAL, spread=0.0)


ROW = Row(
    title="Deferred waits for runs of one thread",
    what="A thousand waits for runs of one thread poll every 10 s, each by a trigger of its own. A page of the "
    "list has a hundred runs, so ten requests are ideal.",
    unit="waits",
    size=1000,
    contenders={"first polls spread": _spread, "first polls together": _together},
    metrics={
        "later": Metric("requests of a later interval, at most", 0),
        "first": Metric("requests of the first interval", 0),
        "ideal": Metric("ideal", 0),
    },
    bars=(
        Bar("later", at_most=11.0),
        Bar("first", at_most=20.0),
        Bar("later", ours="first polls together", at_most=11.0),
        Bar("first", ours="first polls together", at_most=20.0),
        Bar("later", at_most=11.0, busy=True),
    ),
    rounds=3,
)
