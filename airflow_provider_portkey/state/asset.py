"""
Between an event trigger and Airflow: when an event has really left, and where the trigger's state survives.

Airflow keeps an event that a trigger yields for up to a second before it sends it off to be stored. A state that is
written before it is stored loses the event if the triggerer stops in between; one that is written long after repeats
it. So the event itself says when it leaves, and the state goes right behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Protocol

#: Seconds that a trigger takes to write its state when the triggerer stops; Airflow gives all of them ten.
_TAKE_BACK_TIMEOUT = 0.5


class State(Protocol):
    """What is kept."""

    def to_dict(self) -> dict[str, Any]:
        """Return it in what JSON has."""

    def restore(self, state: object) -> None:
        """Go on from what :meth:`to_dict` returned; raises ``ValueError`` for anything else."""


class AssetState:
    """
    Keeps a state in the asset state store of every asset that a trigger is watched for.

    :param state: The state; its ``at`` grows with time.
    :param accessors: What Airflow gives to an event trigger; ``None`` before 3.3: then nothing is kept.
    :param key: Its key in the store.
    :param log: For what goes wrong.
    """

    def __init__(self, state: State, accessors: Any, key: str, log: Any) -> None:
        self._state = state
        self._key = key
        self._log = log
        self._kept: Mapping[str, Any] | None = None
        # With several assets Airflow wants one of them named, and tells a trigger none of their names.
        by_asset = {**getattr(accessors, "_by_name", {}), **getattr(accessors, "_by_uri", {})}
        self._stores = [by_asset[name] for name in sorted(by_asset)] or [accessors]
        if accessors is None:
            self._stores = []
            self._log.info("Airflow keeps no state for this trigger: after a restart it begins anew.")

    @property
    def has_store(self) -> bool:
        """Whether there is a store at all."""
        return bool(self._stores)

    async def restore(self) -> None:
        """Have the state go on from what was kept; where that makes no sense, warn and leave it as it is."""
        values = [await self._call(store, "get") for store in self._stores]
        # One that was kept for an asset that nobody watched for a while is behind; of equals, the first was written
        # first.
        ahead = [value for value in values if isinstance(value, Mapping) and isinstance(value.get("at"), (int, float))]
        value = max(ahead, key=lambda each: each["at"]) if ahead else next(filter(None, values), None)
        if value is None:
            return
        try:
            self._state.restore(value)
        except ValueError as error:
            self._log.warning(
                "What the asset state store holds as %r cannot be used (%s). Beginning anew: what ended in the "
                "meantime is not told.",
                self._key,
                error,
            )
        else:
            self._kept = value

    async def save(self) -> None:
        """Keep the state where it has changed; where that fails, warn: the next call tries again."""
        state = self._state.to_dict()
        if state == self._kept:
            return
        try:
            for store in self._stores:
                await self._call(store, "set", state)
        except Exception as error:
            self._log.warning(
                "The asset state store did not take %r; if the triggerer restarts before it does, events that were "
                "sent since are sent again: %s",
                self._key,
                error,
            )
        else:
            self._kept = state

    async def take_back(self, state: Mapping[str, Any]) -> None:
        """Write an earlier state again while everything stops around: nobody answers any more, but it is still read."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_TAKE_BACK_TIMEOUT):
                await asyncio.gather(*(self._call(store, "set", state) for store in self._stores))

    async def _call(self, store: Any, name: str, *value: Any) -> Any:
        # 3.3.0 and 3.3.1 have the blocking methods only.
        if method := getattr(store, f"a{name}", None):
            return await method(self._key, *value)
        return await asyncio.to_thread(getattr(store, name), self._key, *value)
