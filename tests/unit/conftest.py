"""What the tests of several packages share: modes of a wait, clocks, a mock server, and sleeps that take no time."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import time
import tracemalloc
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_portkey.testing import PortkeyMockServer

#: What sleeps between two polls.
Sleep = Callable[[float], Coroutine[Any, Any, None]]

#: The modules of this package that read the time during a wait.
_TIMED = ("tasks.wait", "tasks.idempotency", "operators.run", "triggers.job", "polling.coalescing")


@pytest.fixture
def peak() -> Callable[[Callable[[], Any]], int]:
    """Return how many bytes of Python's memory a call takes at most."""

    def peak(call: Callable[[], Any]) -> int:
        # Python collects its oldest garbage the later, the more objects the last collection has left: those of earlier
        # tests do not count after the second one.
        gc.collect()
        gc.freeze()
        gc.collect()
        tracemalloc.start()
        try:
            call()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            gc.unfreeze()

    return peak


@dataclass
class Clock:
    """The time, which only sleeping moves."""

    began: float = 1_800_000_000.0
    now: float = 1_800_000_000.0
    #: When the sensor was rescheduled first.
    rescheduled: datetime | None = None

    @property
    def seconds(self) -> float:
        return self.now - self.began

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds

    def to_datetime(self) -> datetime:
        return datetime.fromtimestamp(self.now, tz=UTC)


@pytest.fixture(params=["poke", "reschedule", "deferred"])
def mode(request: pytest.FixtureRequest) -> str:
    mode: str = request.param
    return mode


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, replace_sleep: Callable[[Sleep], None]) -> Clock:
    """Replace the time of sensors, of operators that wait, and of their triggers."""
    from airflow.providers.common.compat.sdk import BaseSensorOperator
    from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

    clock = Clock()

    async def sleep_to_grid(seconds: float) -> None:
        if seconds > 0:
            clock.sleep(seconds)

    time = SimpleNamespace(time=lambda: clock.now, monotonic=lambda: clock.now, sleep=clock.sleep)
    base = BaseSensorOperator.__module__
    for module in (*(f"airflow_provider_portkey.{name}" for name in _TIMED), base):
        importlib.import_module(module)
        monkeypatch.setattr(f"{module}.time", time)
    replace_sleep(sleep_to_grid)
    monkeypatch.setattr(f"{base}.timezone", SimpleNamespace(utcnow=clock.to_datetime))
    if not AIRFLOW_V_3_0_PLUS:
        monkeypatch.setattr(f"{base}._orig_start_date", lambda **_: clock.rescheduled)
        monkeypatch.setattr(f"{base}._is_metadatabase_mysql", lambda: False)
    return clock


class OffsetClock:
    """The time of the machine, which a test can put forward."""

    def __init__(self) -> None:
        self._offset = 0.0

    def time(self) -> float:
        return time.time() + self._offset

    def advance(self, seconds: float) -> None:
        self._offset += seconds


@pytest.fixture
def server_clock() -> OffsetClock:
    """The clock of the mock server; a module with another clock overrides this fixture."""
    return OffsetClock()


@pytest.fixture
def mock_server(monkeypatch: pytest.MonkeyPatch, server_clock: OffsetClock) -> Iterator[PortkeyMockServer]:
    """A mock server; ``portkey_default`` is the connection to it."""
    with PortkeyMockServer(clock=server_clock.time) as mock_server:
        monkeypatch.setenv("AIRFLOW_CONN_PORTKEY_DEFAULT", json.dumps(mock_server.connection()))
        yield mock_server


@pytest.fixture
def replace_sleep(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sleep], None]:
    """Put a coroutine function in the place of the sleep between two polls."""

    from airflow_provider_portkey.polling import coalescing, drivers

    def replace(sleep: Sleep) -> None:
        def wake_up(seconds: float, callback: Callable[[], object]) -> asyncio.Task[None]:
            task = asyncio.get_running_loop().create_task(sleep(seconds))
            task.add_done_callback(lambda _: callback())
            return task

        monkeypatch.setattr(coalescing, "WakeUp", wake_up)
        for module in (coalescing, drivers):
            monkeypatch.setattr(module, "sleep_to_grid", sleep)

    return replace


@pytest.fixture
def pauses(replace_sleep: Callable[[Sleep], None]) -> list[float]:
    """The seconds between polls, to a tenth; none of them is slept."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(round(seconds, 1))
        await asyncio.sleep(0.001)

    replace_sleep(sleep)
    return pauses


@pytest.fixture
def seed_runs() -> list[dict[str, Any]]:
    """Runs as on Portkey's page "list runs": every field set, every field null, fields that nobody declared."""
    call = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"q": "a,\\n\\"b\\""}'}}
    full = {
        "id": "run_full",
        "object": "thread.run",
        "created_at": 1_700_000_001,
        "thread_id": "thread_1",
        "assistant_id": "asst_1",
        "status": "requires_action",
        "required_action": {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": [call]}},
        "last_error": {"code": "server_error", "message": 'ünïcödé, "quoted"\r\nand more'},
        "expires_at": 1_700_000_601,
        "started_at": 1_700_000_002,
        "cancelled_at": 1_700_000_003,
        "failed_at": 1_700_000_004,
        "completed_at": 1_700_000_005,
        "incomplete_details": {"reason": "max_completion_tokens"},
        "model": "gpt-5-mini",
        "instructions": "line one\nline two, with a comma",
        "tools": [{"type": "code_interpreter"}, {"type": "file_search", "file_search": {"max_num_results": 5}}],
        "metadata": {"team": "data", "empty": ""},
        "usage": {"completion_tokens": 123, "prompt_tokens": 45, "total_tokens": 168},
        "temperature": 0.7,
        "top_p": 1,
        "max_prompt_tokens": 257,
        "max_completion_tokens": 258,
        "truncation_strategy": {"type": "last_messages", "last_messages": 2},
        "tool_choice": {"type": "function", "function": {"name": "find"}},
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "out", "strict": True}},
    }
    plain = {"tool_choice": "none", "response_format": "auto", "tools": [], "metadata": {}, "instructions": ""}
    new = {"agent": {"deep": [1, None, "ü"]}, "priority": 3, "other_fields": "theirs", "retired": None}
    return [
        full,
        {**dict.fromkeys(full), "id": "run_null"},
        {**full, "id": "run_new", "parallel_tool_calls": True, **plain, **new},
    ]
