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
    "a thread, 5 % the decision about the response: that is what a poll has in addition to the floor. By `valgrind`, a "
    "request takes 390,000 instructions, with its time-outs and the check of what came, and one of the floor 396,000. "
    "All requests of a session share one timer for their time-outs, where three timers a request took a tenth of a "
    "poll. Waits wake up about five at a time, which saves turns of the event loop. Between two polls a wait is a "
    "timer and no task, and keeps no response. At a hundred polls a second the process sleeps between two, and the CPU "
    "of a poll depends on what the machine does meanwhile: here a poll costs twice what it costs at a thousand a "
    "second, and where waking up is cheap, ours was 1.03 times the floor by the median of nine pairs, before a tenth "
    "of its instructions went. 10,000 waits every 30 s had 99 % of the ideal polls at 1.08 times the floor, once, on a "
    "quiet machine.\n\n"
    "In Airflow's own triggerer (Airflow 3.3 on SQLite, the connection in its database, runs that complete after "
    "160 to 240 s) 5,000 waits were all polling 55 s after its start, with all of the ideal polls from then on, and "
    "all were served. Airflow warns of a loop that is blocked for 0.2 s or more while so many triggers start and end "
    "together: 52 times, for 2.8 s at most, and 37 times, for 2.7 s, with 5,000 triggers that only sleep. That is "
    "Airflow's own limit: its event loop writes a line for each trigger that starts or ends into a pipe, which its "
    "supervisor empties between two queries of its database. Waits write theirs in threads, and share the look-ups of "
    "their connection, which the supervisor serves one after the other: before, 2,000 waits took 245 s to be served, "
    "and the loop was blocked for up to 15 s.",
)
