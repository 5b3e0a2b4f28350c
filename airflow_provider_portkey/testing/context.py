"""What a test gives an operator in place of Airflow and of time: a task context, state stores and a clock."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any


class Clock:
    """
    The ``clock=`` of a :class:`.PortkeyMockServer`; ``monkeypatch.setattr("my_dag.time", clock)`` puts it elsewhere.

    :param now: seconds since the epoch; a test assigns it at any time.
    """

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now
        #: The duration of each :meth:`sleep`, in seconds, in order.
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return self.now

    time = monotonic = __call__

    def sleep(self, seconds: float) -> None:
        """Advance by some seconds at once."""
        self.sleeps.append(seconds)
        self.now += seconds

    async def async_sleep(self, seconds: float) -> None:
        self.sleep(seconds)


class TaskStateStore:
    """
    The task state store of Airflow 3.3. A test may share one between contexts, as the attempts of a task do.

    :param values: the values at the start.
    :param default: returned for a key that is not set, where the caller gives no default.
    :param path: a file that holds the values in place of memory, for a test with several processes.
    """

    def __init__(
        self, values: Mapping[str, Any] | None = None, *, default: Any = None, path: Path | None = None
    ) -> None:
        #: JSON by key: a test may keep very many.
        self._texts: dict[str, str] = {}
        self._path = path
        self._default = default
        #: Key and value of each successful :meth:`set`, in order.
        self.writes: list[tuple[str, Any]] = []
        #: The number of next reads, and writes, that raise a ``RuntimeError``.
        self.failing_reads = self.failing_writes = 0
        if values:
            self._load().update({key: json.dumps(value) for key, value in values.items()})
            self._save()

    @property
    def values(self) -> dict[str, Any]:
        """A copy of all values."""
        return {key: json.loads(text) for key, text in self._load().items()}

    def get(self, key: str, default: Any = None) -> Any:
        if self.failing_reads:
            self.failing_reads -= 1
            raise RuntimeError("The state store is set to fail this read.")
        text = self._load().get(key)
        if text is not None:
            return json.loads(text)
        return self._default if default is None else default

    def set(self, key: str, value: Any, *, retention: timedelta | None = None) -> None:
        """Set a value: JSON, and not ``None``, as for Airflow's store."""
        if value is None:
            raise ValueError(f"The value of {key!r} must not be None")
        if self.failing_writes:
            self.failing_writes -= 1
            raise RuntimeError("The state store is set to fail this write.")
        self._load()[key] = text = json.dumps(value)
        self._save()
        self.writes.append((key, json.loads(text)))

    def delete(self, key: str) -> None:
        self._load().pop(key, None)
        self._save()

    def clear(self) -> None:
        self._load().clear()
        self._save()

    def _load(self) -> dict[str, str]:
        if self._path is not None:
            self._texts = json.loads(self._path.read_text()) if self._path.exists() else {}
        return self._texts

    def _save(self) -> None:
        if self._path is not None:
            # Whole or not at all: a test may kill the process that writes.
            part = self._path.with_name(f"{self._path.name}.part")
            part.write_text(json.dumps(self._texts))
            part.replace(self._path)


class AssetStateStore(TaskStateStore):
    """The asset state store of a task or trigger with one asset, which has asynchronous methods too."""

    async def aget(self, key: str, default: Any = None) -> Any:
        return self.get(key, default)

    async def aset(self, key: str, value: Any) -> None:
        self.set(key, value)

    async def adelete(self, key: str) -> None:
        self.delete(key)


class AssetStateStores:
    """The asset state stores of a task or trigger with several assets, by their names: it has to name one of them."""

    def __init__(self, **stores: AssetStateStore) -> None:
        # The name under which Airflow keeps them; there is no public way to all of them.
        self._by_name = stores

    def __getitem__(self, asset: Any) -> AssetStateStore:
        return self._by_name[asset.name]

    def get(self, key: str, default: Any = None) -> Any:
        raise ValueError(f"Task has {len(self._by_name)} concrete inlets and outlets; name one of the assets")

    async def aget(self, key: str, default: Any = None) -> Any:
        self.get(key)

    set = delete = clear = get
    aset = adelete = aget


def fake_context(
    *,
    dag_id: str = "dag",
    task_id: str = "task",
    run_id: str = "run",
    map_index: int = -1,
    try_number: int = 1,
    max_tries: int = 0,
    first_reschedule: datetime | None = None,
    task_state_store: TaskStateStore | None = None,
    asset_state_store: AssetStateStore | AssetStateStores | None = None,
    **more: Any,
) -> dict[str, Any]:
    """
    Return a task context for ``operator.execute``.

    ``context["ti"].xcoms`` has what the task pushes with ``xcom_push``, by key.

    :param try_number: the attempt, from 1.
    :param max_tries: the retries of the task; clearing the task increases it.
    :param first_reschedule: the time of a sensor's first reschedule, if it has been rescheduled.
    :param task_state_store: a new one where not given; delete the key for an Airflow before 3.3.
    :param more: further entries: ``dag_run``, ``params`` ...
    """
    ti = SimpleNamespace(dag_id=dag_id, task_id=task_id, run_id=run_id, map_index=map_index)
    ti.try_number, ti.max_tries = try_number, max_tries
    ti.get_first_reschedule_date = lambda context: first_reschedule
    ti.xcoms = {}
    ti.xcom_push = lambda key, value: ti.xcoms.__setitem__(key, json.loads(json.dumps(value)))
    context: dict[str, Any] = {"ti": ti, "task_instance": ti, "run_id": run_id}
    context["task_state_store"] = task_state_store or TaskStateStore()
    context["task_reschedule_count"] = 0 if first_reschedule is None else 1
    if asset_state_store is not None:
        context["asset_state_store"] = asset_state_store
    return {**context, **more}
