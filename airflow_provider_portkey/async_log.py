"""Lines of the log from an event loop, which no logger may block."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from weakref import WeakKeyDictionary

#: One thread for each loop, and only for this: lines that are not read yet hold up nothing else that needs a thread.
_WRITERS: WeakKeyDictionary[asyncio.AbstractEventLoop, ThreadPoolExecutor] = WeakKeyDictionary()


async def write_line(write: Callable[..., object], *arguments: object) -> None:
    """
    Call a method of a logger in a thread, and return when the line is written.

    Airflow's supervisor reads the lines of all triggers, and may take many seconds for its database in between: until
    then a logger blocks.

    :param write: Such as ``log.warning``.
    :param arguments: Of ``write``.
    """
    loop = asyncio.get_running_loop()
    if loop not in _WRITERS:
        _WRITERS[loop] = ThreadPoolExecutor(1, "portkey-log")
    # The context says which trigger the line is of.
    await loop.run_in_executor(_WRITERS[loop], copy_context().run, write, *arguments)
