"""What the rooms share: the time, the lock, the ids, and what the next jobs created over HTTP are to do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow_provider_portkey.testing.ids import Ids


@dataclass
class _Plan:
    parameters: dict[str, Any]
    times: int | None


class Desk:
    """See the module.

    :param clock: tells the time, in seconds since the epoch.
    :param lock: held by whoever changes a room.
    :param job_seconds: how long a job takes that was created over HTTP and has no plan, in seconds.
    """

    def __init__(self, *, clock: Callable[[], float], lock: threading.RLock, job_seconds: float) -> None:
        self.clock = clock
        self.lock = lock
        self.job_seconds = job_seconds
        self.ids = Ids()
        self._plans: dict[str, list[_Plan]] = {}

    def plan(self, kind: str, *, times: int | None = 1, **parameters: Any) -> None:
        """Say what jobs are to do that a caller will create over HTTP.

        :param kind: ``runs``, ``responses``, ``batches`` or ``log_exports``.
        :param times: how many jobs; ``None`` for all that follow.
        :param parameters: those that the ``add`` of that kind takes.
        :raises ValueError: for a kind that cannot be created over HTTP.
        """
        if kind not in ("runs", "responses", "batches", "log_exports"):
            raise ValueError(f"kind has to be 'runs', 'responses', 'batches' or 'log_exports', not {kind!r}")
        with self.lock:
            self._plans.setdefault(kind, []).append(_Plan(parameters, times))

    def planned(self, kind: str) -> dict[str, Any]:
        """Take the plan of a job that is being created; empty where there is none."""
        for plan in self._plans.get(kind, []):
            if plan.times is None:
                return dict(plan.parameters)
            if plan.times > 0:
                plan.times -= 1
                return dict(plan.parameters)
        return {}
