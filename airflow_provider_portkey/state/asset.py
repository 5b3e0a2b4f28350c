"""
State that belongs to an asset, in Airflow's asset state store (3.3 and newer).

:class:`AssetState` is for event triggers and asynchronous, :class:`TaskAssetState` is for tasks.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_portkey.async_log import write_line
from airflow_provider_portkey.json_values import storable

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

#: Seconds for the last write of a trigger when the triggerer stops; Airflow gives all triggers together ten.
_TAKE_BACK_TIMEOUT = 0.5


class RestorableState(Protocol):
    """The state of a trigger; ``to_dict()["at"]`` grows with time."""

    def to_dict(self) -> dict[str, Any]:
        """Return the state as JSON has it."""

    def restore(self, state: object) -> None:
        """Continue from a value of :meth:`to_dict`; raises ``ValueError`` for any other value."""


class AssetState:
    """
    Keeps the state of an event trigger in the store of every asset that the trigger watches.

    :param state: The state.
    :param accessors: ``asset_state_store`` of the trigger; ``None`` before Airflow 3.3: then nothing is kept.
    :param key: The key in the store.
    :param log: The logger of the trigger.
    """

    def __init__(self, state: RestorableState, accessors: Any, key: str, log: Any) -> None:
        self._state = state
        self._key = key
        self._log = log
        self._saved: Mapping[str, Any] | None = None
        # With several assets Airflow requires the name of one, and does not give the names to a trigger.
        by_asset = {**getattr(accessors, "_by_name", {}), **getattr(accessors, "_by_uri", {})}
        self._stores = [by_asset[name] for name in sorted(by_asset)] or [accessors]
        if accessors is None:
            self._stores = []

    @property
    def has_store(self) -> bool:
        """Whether there is a store."""
        return bool(self._stores)

    async def restore(self) -> None:
        """Continue from the saved state; where that state is not valid, warn and begin anew."""
        if not self.has_store:
            line = "Airflow keeps no state for this trigger: after a restart the trigger begins anew."
            await write_line(self._log.info, line)
            return
        values = [await self._call(store, "get") for store in self._stores]
        # The store of an asset that was not watched for a while is behind. Of equal values the first was written first.
        dated = [value for value in values if isinstance(value, Mapping) and isinstance(value.get("at"), (int, float))]
        value = max(dated, key=lambda each: each["at"]) if dated else next(filter(None, values), None)
        if value is None:
            return
        try:
            self._state.restore(value)
        except ValueError as error:
            await write_line(
                self._log.warning,
                "The state %r in the asset state store is not valid (%s). Beginning anew: no event is emitted for runs "
                "that finished in the meantime.",
                self._key,
                error,
            )
        else:
            self._saved = value

    async def save(self) -> None:
        """Save the state if it has changed; where that fails, warn: the next call repeats the write."""
        state = storable(self._state.to_dict())
        if state == self._saved:
            return
        try:
            for store in self._stores:
                await self._call(store, "set", state)
        except Exception as error:
            await write_line(
                self._log.warning,
                "The asset state store did not save %r; if the triggerer restarts before the next save, events since "
                "the last save are emitted again: %s",
                self._key,
                error,
            )
        else:
            self._saved = state

    async def take_back(self, state: Mapping[str, Any]) -> None:
        """Save an earlier state while the triggerer stops: no response comes any more, but requests are read."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_TAKE_BACK_TIMEOUT):
                await asyncio.gather(*(self._call(store, "set", storable(state)) for store in self._stores))

    async def _call(self, store: Any, name: str, *value: Any) -> Any:
        # Airflow 3.3.0 and 3.3.1 have the blocking methods only.
        if method := getattr(store, f"a{name}", None):
            return await method(self._key, *value)
        return await asyncio.to_thread(getattr(store, name), self._key, *value)


class JsonStore(Protocol):
    """Keeps JSON objects by key."""

    def read(self, key: str) -> dict[str, Any] | None:
        """Return the object of a key, ``None`` where there is none."""

    def write(self, key: str, value: dict[str, Any]) -> None:
        """Write the object of a key in place of the earlier one."""

    def remove(self, key: str) -> None:
        """Remove the object of a key, if there is one."""


class TaskAssetState:
    """
    Keeps JSON objects in the store of a task's asset, if Airflow has one and the task has exactly one asset.

    :param context: The context of the task.
    :param prefix: The beginning of the keys in the store.
    :param fallback: Used where the task has no store of one asset. Objects that are not in the store are read from
        the fallback, which an earlier Airflow may have written.
    """

    def __init__(self, context: Context, *, prefix: str, fallback: JsonStore) -> None:
        self._prefix = prefix
        self._fallback = fallback
        self._store: Any = context.get("asset_state_store")
        if self._store is not None:
            try:
                self._store.get(prefix)
            except ValueError:  # several assets among the inlets and outlets of the task
                self._store = None

    def read(self, key: str) -> dict[str, Any] | None:
        """Return the object of a key, ``None`` where there is none."""
        if self._store is not None and (value := self._store.get(f"{self._prefix}/{key}")) is not None:
            return dict(value)
        return self._fallback.read(key)

    def write(self, key: str, value: dict[str, Any]) -> None:
        """Write the object of a key in place of the earlier one."""
        if self._store is not None:
            self._store.set(f"{self._prefix}/{key}", storable(value))
        else:
            self._fallback.write(key, value)

    def remove(self, key: str) -> None:
        """Remove the object of a key, if there is one."""
        if self._store is not None:
            self._store.delete(f"{self._prefix}/{key}")
        self._fallback.remove(key)
