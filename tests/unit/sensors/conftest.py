"""A sensor is run to its end as Airflow runs it, in each of the three modes."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import TaskDeferred
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_portkey.client import aio, sync

POLL_INTERVAL = 10


@dataclass
class Task:
    """
    Runs a sensor to its end, with a new sensor and a new trigger in each process.

    :param mode: ``poke``, ``reschedule`` or ``deferred``.
    :param make: Makes the sensor from the arguments of its mode.
    :param store: The task state store; ``None`` for an Airflow that has none.
    """

    mode: str
    make: Callable[..., Any]
    clock: Any
    task_context: Callable[..., dict[str, Any]]
    store: bool = True
    try_number: int = 1
    events: list[dict[str, Any]] = field(default_factory=list)
    trigger_row: str = ""

    def __post_init__(self) -> None:
        self.context = self.task_context(store=self.store, task_id="wait")

    def run(self) -> Any:
        while True:
            try:
                return self.process()
            except AirflowRescheduleException as reschedule:
                self.clock.rescheduled = self.clock.rescheduled or self.clock.to_datetime()
                self.clock.sleep((reschedule.reschedule_date - self.clock.to_datetime()).total_seconds())
            except TaskDeferred as deferred:
                return self.resume(deferred)

    def process(self) -> Any:
        """Execute the sensor in one process of a worker."""
        return self._sensor().execute(self._context())

    def resume(self, deferred: TaskDeferred) -> Any:
        """Wait on the triggerer, and execute the rest on a worker."""
        classpath, arguments = deferred.trigger.serialize()
        deadline = arguments["wait_state"]["deadline"]
        assert deferred.timeout > timedelta(seconds=deadline - self.clock.now)
        self.trigger_row = json.dumps(arguments)
        module, _, name = classpath.rpartition(".")
        trigger = getattr(importlib.import_module(module), name)(**json.loads(self.trigger_row))
        assert trigger.serialize() == (classpath, arguments)
        event = json.loads(json.dumps(asyncio.run(anext(trigger.run())).payload))
        self.events.append(event)
        return self._sensor().resume_execution("execute_complete", {"event": event}, self._context())

    def _sensor(self) -> Any:
        how = {"deferrable": True} if self.mode == "deferred" else {"mode": self.mode, "deferrable": False}
        return self.make(**how)

    def _context(self) -> dict[str, Any]:
        first = self.clock.rescheduled
        ti = self.context["ti"]
        ti.try_number = self.try_number
        if AIRFLOW_V_3_0_PLUS:
            ti.get_first_reschedule_date = lambda context: first
        return self.context | {"task_reschedule_count": 0 if first is None else 1}


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, portkey_connection: object) -> Callable[[Callable[..., Any]], None]:
    """Serve the GET requests of both clients, and refuse every other request."""

    def serve(get: Callable[..., Any]) -> None:
        async def aget(self: Any, path: str, ids: Any, query: Any = None) -> Any:
            return get(path, ids, query)

        def sync_get(self: Any, path: str, ids: Any, query: Any = None, *, max_retries: int) -> Any:
            assert max_retries == 0
            return get(path, ids, query)

        monkeypatch.setattr(sync.PortkeyClient, "get", sync_get)
        monkeypatch.setattr(aio.AsyncPortkeyClient, "get", aget)

    return serve


@pytest.fixture
def task(clock: Any, task_context: Callable[..., dict[str, Any]]) -> Callable[..., Task]:
    """Make a task: ``task(mode, sensor_class, **arguments)``."""

    def make(mode: str, sensor: Callable[..., Any], /, *, store: bool = True, **arguments: Any) -> Task:
        usual = {"task_id": "wait", "poke_interval": POLL_INTERVAL, "timeout": 300}
        return Task(mode, lambda **how: sensor(**(usual | how | arguments)), clock, task_context, store=store)

    return make
