"""CPU, time and memory of a block."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@dataclass
class Meter:
    """
    What a block used; filled in at its end.

    ``cpu`` is that of the whole process, with threads and without children, so that no work hides in a thread.
    ``thread_cpu`` is that of the thread of the block: for what other threads of the process would blur.
    """

    seconds: float = 0.0
    cpu: float = 0.0
    thread_cpu: float = 0.0
    #: Most memory of the process above that at the start, in MB; Linux only, else 0.
    memory_mb: float = 0.0


@contextmanager
def meter() -> Iterator[Meter]:
    """Measure the block."""
    gc.collect()
    before = _reset_peak()
    meter = Meter()
    seconds, cpu, thread_cpu = time.perf_counter(), time.process_time(), time.thread_time()
    yield meter
    meter.thread_cpu = time.thread_time() - thread_cpu
    meter.cpu = time.process_time() - cpu
    meter.seconds = time.perf_counter() - seconds
    meter.memory_mb = max(0.0, _status("VmHWM") - before)


def _reset_peak() -> float:
    try:
        _CLEAR.write_text("5")
    except OSError:
        return 0.0
    return _status("VmRSS")


def _status(name: str) -> float:
    if not _STATUS.exists():
        return 0.0
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024
