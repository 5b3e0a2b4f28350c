"""What the tests of several packages share: the three modes of a wait, and a clock that only sleeping moves."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

#: The modules of this package that read the time during a wait.
_TIMED = ("tasks.wait", "operators.run", "triggers.job", "polling.coalescing")


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
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
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
    monkeypatch.setattr("airflow_provider_portkey.polling.coalescing.sleep_to_grid", sleep_to_grid)
    monkeypatch.setattr(f"{base}.timezone", SimpleNamespace(utcnow=clock.to_datetime))
    if not AIRFLOW_V_3_0_PLUS:
        monkeypatch.setattr(f"{base}._orig_start_date", lambda **_: clock.rescheduled)
        monkeypatch.setattr(f"{base}._is_metadatabase_mysql", lambda: False)
    return clock
