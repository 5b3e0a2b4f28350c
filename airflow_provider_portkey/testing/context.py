"""A task context for tests of operators and sensors without Airflow's database."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any


class TaskStateStore:
    """
    The task state store of Airflow 3.3: what it returns has been JSON.

    A test may share one store between several contexts, as Airflow does between the attempts of a task.

    :param values: the values at the start.
    :param default: returned for a key that is not set, where the caller gives no default.
    :param path: a file that holds the values in place of memory, for a test with several processes.
    """

    def __init__(
        self, values: Mapping[str, Any] | None = None, *, default: Any = None, path: Path | None = None
    ) -> None:
        self._json: dict[str, str] = {}
        self._path = path
        self._default = default
        #: Key and value of each successful :meth:`set`, in order.
        self.writes: list[tuple[str, Any]] = []
        #: The number of next reads, and writes, that raise a ``RuntimeError``.
        self.failing_reads = self.failing_writes = 0
        if values:
            self._save({key: json.dumps(value) for key, value in values.items()})

    @property
    def values(self) -> dict[str, Any]:
        """A copy of all values."""
        return {key: json.loads(value) for key, value in self._load().items()}

    def get(self, key: str, default: Any = None) -> Any:
        """Return a copy of a value, or the default."""
        if self.failing_reads:
            self.failing_reads -= 1
            raise RuntimeError("The state store is set to fail this read.")
        return self.values.get(key, self._default if default is None else default)

    def set(self, key: str, value: Any, *, retention: timedelta | None = None) -> None:
        """
        Set a value.

        :raises ValueError: for ``None``, as Airflow's store does.
        :raises TypeError: for a value that is not JSON.
        """
        if value is None:
            raise ValueError(f"The value of {key!r} must not be None")
        if self.failing_writes:
            self.failing_writes -= 1
            raise RuntimeError("The state store is set to fail this write.")
        encoded = json.dumps(value)
        self._save({**self._load(), key: encoded})
        self.writes.append((key, json.loads(encoded)))

    def delete(self, key: str) -> None:
        """Delete a value, if it is set."""
        self._save({name: value for name, value in self._load().items() if name != key})

    def clear(self) -> None:
        """Delete all values."""
        self._save({})

    def _load(self) -> dict[str, str]:
        if self._path is None:
            return self._json
        return dict(json.loads(self._path.read_text())) if self._path.exists() else {}

    def _save(self, encoded: dict[str, str]) -> None:
        if self._path is None:
            self._json = encoded
        else:
            self._path.write_text(json.dumps(encoded))


class AssetStateStore(TaskStateStore):
    """The asset state store of a task or trigger with one asset, which has asynchronous methods too."""

    async def aget(self, key: str, default: Any = None) -> Any:
        """See :meth:`get`."""
        return self.get(key, default)

    async def aset(self, key: str, value: Any) -> None:
        """See :meth:`set`."""
        self.set(key, value)

    async def adelete(self, key: str) -> None:
        """See :meth:`delete`."""
        self.delete(key)


class AssetStateStores:
    """
    The asset state stores of a task or trigger with several assets: it has to name one of them.

    :param stores: by the names of the assets.
    """

    def __init__(self, **stores: AssetStateStore) -> None:
        # The name under which Airflow keeps them; there is no public way to all of them.
        self._by_name = stores

    def __getitem__(self, asset: Any) -> AssetStateStore:
        return self._by_name[asset.name]

    def get(self, key: str, default: Any = None) -> Any:
        """
        Raise the error of Airflow.

        :raises ValueError: always.
        """
        raise ValueError(f"Task has {len(self._by_name)} concrete inlets and outlets; name one of the assets")

    set = delete = clear = get

    async def aget(self, key: str, default: Any = None) -> Any:
        """See :meth:`get`."""
        self.get(key)

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

    :param map_index: -1 for a task that is not mapped.
    :param try_number: the attempt, from 1.
    :param max_tries: the retries of the task; clearing the task increases it.
    :param first_reschedule: the time of a sensor's first reschedule, if it has been rescheduled.
    :param task_state_store: a new one where not given; delete the key for an Airflow before 3.3.
    :param asset_state_store: none where not given.
    :param more: further entries: ``dag_run``, ``params`` ...
    """
    ti = SimpleNamespace(dag_id=dag_id, task_id=task_id, run_id=run_id, map_index=map_index)
    ti.try_number, ti.max_tries = try_number, max_tries
    ti.get_first_reschedule_date = lambda context: first_reschedule
    context: dict[str, Any] = {
        "ti": ti,
        "task_instance": ti,
        "run_id": run_id,
        "task_state_store": task_state_store or TaskStateStore(),
        "task_reschedule_count": 0 if first_reschedule is None else 1,
    }
    if asset_state_store is not None:
        context["asset_state_store"] = asset_state_store
    return {**context, **more}
