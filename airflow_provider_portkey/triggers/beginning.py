"""
How waits begin on the triggerer, where thousands of them may do so at once.

Airflow serves look-ups of connections one after the other, each in a tenth of a second, so that waits share them: else
the last wait would begin minutes after the first. And they take turns, so that they do not block the event loop.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from airflow_provider_portkey.exceptions import PortkeyConnectionLookupError
from airflow_provider_portkey.hooks.portkey import PortkeyHook

if TYPE_CHECKING:
    from airflow_provider_portkey.client.settings import ConnectionSettings

#: Waits that begin in one turn of the event loop. Each takes one to two milliseconds up to its first response.
_BEGIN_TOGETHER = 25


class _LookUp:
    """Of one connection on one event loop: at most one is running and one is queued, which all that come share."""

    def __init__(self) -> None:
        self._running = asyncio.Lock()
        self._queued: asyncio.Task[ConnectionSettings] | None = None

    async def settings(self, portkey_conn_id: str) -> ConnectionSettings:
        if self._queued is None:
            self._queued = asyncio.create_task(self._run(portkey_conn_id))
        # A wait that is cancelled leaves the look-up to the others.
        return await asyncio.shield(self._queued)

    async def _run(self, portkey_conn_id: str) -> ConnectionSettings:
        async with self._running:
            self._queued = None  # who comes now wants the connection as it is now
            hook = PortkeyHook(portkey_conn_id)
            hook.warns = False  # the task itself has
            return await hook.aget_settings()


class _OfLoop:
    def __init__(self) -> None:
        self.turn = asyncio.Semaphore(_BEGIN_TOGETHER)
        self.look_ups: defaultdict[str, _LookUp] = defaultdict(_LookUp)


_OF_LOOPS: WeakKeyDictionary[asyncio.AbstractEventLoop, _OfLoop] = WeakKeyDictionary()


def _of_running_loop() -> _OfLoop:
    loop = asyncio.get_running_loop()
    if loop not in _OF_LOOPS:
        _OF_LOOPS[loop] = _OfLoop()
    return _OF_LOOPS[loop]


async def look_up(portkey_conn_id: str, trace_id: str | None = None) -> ConnectionSettings:
    """
    Return the settings of a connection, by a look-up that begins after the call, shared with other callers.

    :param trace_id: The caller's own, for the error.
    :raises PortkeyConnectionInvalidError: naming every field that is wrong.
    :raises PortkeyConnectionLookupError: where Airflow did not return the connection.
    """
    try:
        return await _of_running_loop().look_ups[portkey_conn_id].settings(portkey_conn_id)
    except PortkeyConnectionLookupError as error:
        shared = str(error)
    raise PortkeyConnectionLookupError(shared, trace_id=trace_id)


async def take_turn() -> None:
    """Return when the caller may begin to wait: at once, or turns of the event loop after others that begin."""
    async with _of_running_loop().turn:
        await asyncio.sleep(0)
