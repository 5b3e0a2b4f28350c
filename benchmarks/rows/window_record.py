"""Cost of a window's record against the number of its threads: each has a run that is carried over."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from benchmarks.meter import meter
from benchmarks.row import Bar, Growth, Metric, Row, Setting

if TYPE_CHECKING:
    from airflow_provider_portkey.window_export.state import WindowState

_NIGHT = datetime(2026, 11, 20, tzinfo=UTC)
_DAY = timedelta(days=1)
#: Threads that are decided about when the file of one is finished: two for each of the four requests of the default.
_AHEAD = 8


class _Written:
    """Counts the bytes of all records."""

    def __init__(self) -> None:
        from airflow_provider_portkey.json_values import strict_json
        from airflow_provider_portkey.window_export.state import FileState

        self.bytes = self.files = 0
        write = FileState.write

        def counted(store: FileState, key: str, value: dict[str, Any]) -> None:
            self.files += 1
            self.bytes += len(strict_json(value)[0])
            write(store, key, value)

        cast("Any", FileState).write = counted


def _open(setting: Setting, number: int) -> WindowState:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_portkey.export.window import Window
    from airflow_provider_portkey.window_export.state import WindowState

    base = ObjectStoragePath(str(setting.folder))
    window = Window(_NIGHT + number * _DAY, _NIGHT + (number + 1) * _DAY)
    return WindowState(cast("Any", {}), base, base / "steps", window, "created")


def _two_nights(setting: Setting, threads: int, *, night: int) -> None:
    """Carry a run of each thread over, save that before the thread's file; the next window exports all of them."""
    from airflow_provider_portkey.window_export.runs import RunSummary

    state = _open(setting, night)
    names = [f"thread_{number:06d}" for number in range(threads)]
    for begin in range(0, threads, _AHEAD):
        ahead = names[begin : begin + _AHEAD]
        for name in ahead:
            late = RunSummary(f"run_of_{name}", _NIGHT.timestamp(), "in_progress")
            assert state.decide(name, [late], [], "skip")[1] == []
        for name in ahead:
            state.save_before(name)
    state.close([])
    state = _open(setting, night + 1)
    for name in names:
        (run_id,) = state.record.run_ids_carried_in(name)
        ended = RunSummary(run_id, _NIGHT.timestamp(), "completed")
        assert state.decide(name, [], [ended], "skip")[1] == [ended]
    state.close([])


def _record(setting: Setting) -> Mapping[str, float]:
    written = _Written()
    _two_nights(setting, 8, night=0)
    before = written.bytes, written.files
    with meter() as used:
        _two_nights(setting, setting.size, night=2)
    return {
        "cpu_ms": 1000 * used.cpu / setting.size,
        "seconds": used.seconds,
        "thread_bytes": (written.bytes - before[0]) / setting.size,
        "files": (written.files - before[1]) / setting.size,
        "cpu_s": used.cpu,
        "memory_mb": used.memory_mb,
    }


ROW = Row(
    title="Record of a window",
    what="Every thread of a window has a run that has not ended: it is carried over, which is saved before the file "
    "of its thread is there, and the next window exports it. Only the records are measured, on the local disk.",
    unit="threads",
    size=10_000,
    contenders={"WindowState": _record},
    metrics={
        "cpu_ms": Metric("CPU a thread, ms", 3),
        "seconds": Metric("seconds", 1),
        "thread_bytes": Metric("bytes written a thread", 0),
        "files": Metric("objects written a thread", 3),
        "cpu_s": Metric("CPU, s"),
        "memory_mb": Metric("memory over the start, MB", 1),
    },
    bars=(Bar("seconds", at_most=10), Bar("thread_bytes", at_most=2_000, quick=2_000)),
    quick_size=500,
    growth=Growth("cpu_s", (100, 1_000, 10_000, 50_000), quick=(500, 1_000, 2_000)),
    server=None,
    notes="Decisions are saved in parts, each written once; at the end the record is written whole. A part is written "
    f"when a thread's file is finished and its decision is not saved yet: here every {_AHEAD} threads, as with "
    "the default of `max_concurrent_requests`; threads without a file share parts of 64.",
)
