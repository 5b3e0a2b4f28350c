"""Asset state: what an event trigger knows, in Airflow's asset state store (Airflow 3.3 and newer)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Protocol

#: Seconds for writing an earlier state while the triggerer stops; Airflow gives all triggers together ten.
_TAKE_BACK_TIMEOUT = 0.5


class State(Protocol):
    """A state that can be stored."""

    def to_dict(self) -> dict[str, Any]:
        """Return the state in JSON values; ``at`` grows with time."""

    def restore(self, state: object) -> None:
        """Continue from a value of :meth:`to_dict`; raises ``ValueError`` for anything else."""


class AssetState:
    """
    Stores a state in the asset state store of every asset that a trigger is watched for.

    :param state: The state.
    :param accessors: Airflow's ``asset_state_store`` of an event trigger; ``None`` before Airflow 3.3: then nothing is
        stored.
    :param key: The key in the store.
    :param log: For warnings.
    """

    def __init__(self, state: State, accessors: Any, key: str, log: Any) -> None:
        self._state = state
        self._key = key
        self._log = log
        self._stored: Mapping[str, Any] | None = None
        # With several assets Airflow expects the name of one, and gives a trigger no public list of names.
        by_asset = {**getattr(accessors, "_by_name", {}), **getattr(accessors, "_by_uri", {})}
        self._stores = [by_asset[name] for name in sorted(by_asset)] or [accessors]
        if accessors is None:
            self._stores = []
            self._log.info("Airflow stores no state for this trigger: after a restart the trigger starts anew.")

    @property
    def has_store(self) -> bool:
        """Whether there is a store at all."""
        return bool(self._stores)

    async def restore(self) -> None:
        """Let the state continue from the stored one; warn and change nothing where the stored value is no state."""
        values = [await self._call(store, "get") for store in self._stores]
        # The state of an asset that was not watched for a while is behind the others.
        states = [value for value in values if isinstance(value, Mapping) and isinstance(value.get("at"), (int, float))]
        value = max(states, key=lambda each: each["at"]) if states else next(filter(None, values), None)
        if value is None:
            return
        try:
            self._state.restore(value)
        except ValueError as error:
            self._log.warning(
                "The value of %r in the asset state store cannot be used (%s). Starting anew: no events are emitted "
                "for runs that finished in the meantime.",
                self._key,
                error,
            )
        else:
            self._stored = value

    async def save(self) -> None:
        """Store the state where it has changed; warn where that fails: the next call writes it again."""
        state = self._state.to_dict()
        if state == self._stored:
            return
        try:
            for store in self._stores:
                await self._call(store, "set", state)
        except Exception as error:
            self._log.warning(
                "The asset state store did not take %r. If the triggerer restarts before the next write, events that "
                "were emitted since the last one are emitted again: %s",
                self._key,
                error,
            )
        else:
            self._stored = state

    async def take_back(self, state: Mapping[str, Any]) -> None:
        """Write an earlier state again while the triggerer stops: it still reads messages, and sends no responses."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_TAKE_BACK_TIMEOUT):
                await asyncio.gather(*(self._call(store, "set", state) for store in self._stores))

    async def _call(self, store: Any, name: str, *value: Any) -> Any:
        # 3.3.0 and 3.3.1 have the blocking methods only.
        if method := getattr(store, f"a{name}", None):
            return await method(self._key, *value)
        return await asyncio.to_thread(getattr(store, name), self._key, *value)
