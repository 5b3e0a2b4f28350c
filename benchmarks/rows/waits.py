"""CPU a poll and punctuality of a thousand deferred waits in one process."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks import waits
from benchmarks.row import Bar, Growth, Metric, Row, Setting


def interval_for(size: int) -> float:
    """Return the poll interval, in seconds: a hundred polls a second up to a thousand waits, then up to 500."""
    if size > 5000:
        return 30.0
    return min(size / 100, 10.0)


def _measured(contender: Callable[[Setting, float], Mapping[str, float]]) -> Callable[[Setting], Mapping[str, float]]:
    return lambda setting: contender(setting, interval_for(setting.size))


ROW = Row(
    title="A poll of a deferred wait",
    what="Waits for runs, each on a thread of its own, poll every 10 s (10,000 waits every 30 s) a server that takes "
    "200 ms. The floor is a loop of `aiohttp` for each wait, with a shared session; Airflow's provider for Anthropic "
    "waits as the loops of `asyncio.to_thread` and `requests` do. All have loaded what Airflow's triggerer loads. "
    "Ideal are as many polls as intervals.",
    unit="waits",
    size=1000,
    contenders={
        "PortkeyRunTrigger": _measured(waits.with_triggers),
        "aiohttp loop": _measured(waits.with_aiohttp),
        "to_thread(requests)": _measured(waits.with_threads),
    },
    metrics={
        "cpu_ms": Metric("CPU a poll, ms"),
        "polls": Metric("polls, % of the ideal", 1),
        "lag_ms": Metric("lag of the event loop (p99), ms", 1),
        "memory_kb": Metric("memory a wait, KB", 0),
        "round_s": Metric("CPU of a poll of all, s"),
    },
    bars=(
        Bar("cpu_ms", "aiohttp loop", at_most=1.0, quick=2.0),
        Bar("polls", at_least=97.0),
        Bar("lag_ms", at_most=20.0),
        Bar("cpu_ms", "aiohttp loop", at_most=1.0, busy=True),
        Bar("polls", "aiohttp loop", at_least=1.0, busy=True),
        Bar("cpu_ms", "to_thread(requests)", at_most=1.0),
    ),
    quick_size=200,
    growth=Growth("round_s", (100, 1000, 5000, 10_000)),
    rounds=3,
    notes="By `cProfile`, two thirds of the time of a poll are `aiohttp`'s request, 8 % are the group of the waits on "
    "a thread, 5 % the decision about the response: that is what a poll has in addition to the floor. All requests of "
    "a session share one timer for their time-outs, where three timers a request took a tenth of a poll. Waits wake up "
    "about five at a time, which saves turns of the event loop. Between two polls a wait is a timer and no task, and "
    "keeps no response. A poll changes its state three times, by copying a dictionary: `dataclasses.replace` took 9 "
    "microseconds each time. At a hundred polls a second the process sleeps between two, and the CPU of a poll depends "
    "on what the machine does meanwhile: on this virtual machine, ours was 0.8 to 1.6 times the floor in nine pairs of "
    "runs beside those of the table, 1.03 by the median. In Airflow's own triggerer all of 1,000 and 5,000 waits were "
    "served. Airflow warns of a loop that is blocked for 0.2 s or more while so many triggers start and end together: "
    "26 times with 5,000 waits, for 1.03 s at most, and 19 times with 5,000 triggers that only sleep, for 0.98 s; with "
    "1,000 twice and once. Each wait reads its connection through Airflow's supervisor, one after the other: the last "
    "of 5,000 runs was noticed after 211 s. With one look-up for all it was 99 s, but the first polls came together "
    "and blocked the loop for up to 15 s.",
)
