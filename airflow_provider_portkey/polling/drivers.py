"""
Plans of requests, and the two drivers that carry them out.

A plan is a generator: it yields requests, receives responses, and returns what they lead to. A request that failed is
thrown into the plan. So what to request is decided once, without I/O, for the worker and for the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import Any, NamedTuple, TypeVar, cast

from airflow_provider_portkey.client.pagination import Query
from airflow_provider_portkey.exceptions import PortkeyRequestError

#: Seconds between the points in time at which waits wake up together: one turn of the event loop that serves several
#: waits costs less than one that serves a single wait. Only the wake-ups are rounded and not the due times, so waits
#: never gather (``phase.py``).
_GRID = 0.1
#: Waits that wake up together where the grid can be that fine: a burst keeps the loop from all else, and the objects of
#: more than seven requests at once make Python collect garbage (700 objects by default).
_WAKE_UPS_TOGETHER = 5
#: The finest grid is the common one divided by this; a power of two, so that the points of all grids meet.
_FINEST = 16

Result = TypeVar("Result")
Response = Mapping[str, Any]


class Get(NamedTuple):
    """
    A request for a JSON object.

    :param path: Below the base URL, with ``{name}`` where an id goes.
    :param ids: The ids by name.
    :param query: Query parameters.
    """

    path: str
    ids: Mapping[str, str]
    query: Query | None = None


#: Yields a request and receives its response; or yields several at once and receives a list with a response or an
#: error for each, which may end early with an error.
Plan = Generator[Get | list[Get], Any, Result]


def drive(plan: Plan[Result], get: Callable[..., Response]) -> Result:
    """
    Carry out a plan, one request after the other; of several at once none is sent after the first that failed.

    :param get: Takes path, ids and query, such as :meth:`PortkeyClient.get`.
    """

    def send(request: Get) -> Response:
        return get(request.path, request.ids, request.query)

    def send_all(requests: list[Get]) -> list[Response | PortkeyRequestError]:
        results: list[Response | PortkeyRequestError] = []
        for request in requests:
            try:
                results.append(send(request))
            except PortkeyRequestError as error:
                return [*results, error]
        return results

    try:
        request = next(plan)
        while True:
            try:
                response = send_all(request) if isinstance(request, list) else send(request)
            except PortkeyRequestError as error:
                request = plan.throw(error)
            else:
                request = plan.send(response)
    except StopIteration as end:
        result: Result = end.value
        return result


async def adrive(plan: Plan[Result], get: Callable[..., Awaitable[Response]]) -> Result:
    """
    Carry out a plan on the event loop; several requests at once are sent side by side.

    :param get: Takes path, ids and query, such as :meth:`AsyncPortkeyClient.get`.
    """
    try:
        request = next(plan)
        while True:
            try:
                if isinstance(request, list):
                    response: Any = await _send_all(request, get)
                else:
                    response = await get(request.path, request.ids, request.query)
            except PortkeyRequestError as error:
                request = plan.throw(error)
            else:
                request = plan.send(response)
    except StopIteration as end:
        result: Result = end.value
        return result


async def _send_all(
    requests: list[Get], get: Callable[..., Awaitable[Response]]
) -> list[Response | PortkeyRequestError]:
    calls = (get(request.path, request.ids, request.query) for request in requests)
    # Exceptions are results here: an unexpected one is raised when no other request is in flight any more.
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, PortkeyRequestError):
            raise result
    return cast("list[Response | PortkeyRequestError]", results)


async def sleep_to_grid(seconds: float) -> None:
    """
    Sleep up to the first point of the common grid after a time.

    :param seconds: The least time to sleep; not above 0 for no sleep at all.
    """
    if seconds > 0:
        _ASLEEP.add(sleeper := object())
        try:
            await asyncio.sleep(_seconds_to_grid(seconds))
        finally:
            _ASLEEP.discard(sleeper)


class WakeUp:
    """
    A call at the first point of the common grid after a time: :func:`sleep_to_grid` without a task of its own.

    :param seconds: The least time until then; not above 0 for the next turn of the running loop.
    :param callback: What is called.
    """

    __slots__ = ("_handle",)

    def __init__(self, seconds: float, callback: Callable[[], object]) -> None:
        loop = asyncio.get_running_loop()
        if seconds > 0:
            _ASLEEP.add(self)
            self._handle: asyncio.Handle = loop.call_later(_seconds_to_grid(seconds), callback)
        else:
            self._handle = loop.call_soon(callback)

    def cancel(self) -> None:
        """Call nothing any more; to be called in any case when the wait is over."""
        _ASLEEP.discard(self)
        self._handle.cancel()


#: Those that sleep now.
_ASLEEP: set[object] = set()


def _seconds_to_grid(seconds: float) -> float:
    now = time.time()
    until = now + seconds
    return until + -until % _grid(seconds, len(_ASLEEP)) - now


def _grid(seconds: float, asleep: int) -> float:
    """Return the seconds between wake-ups where so many sleep so long."""
    together, parts = asleep * _GRID / seconds, 1
    while together > _WAKE_UPS_TOGETHER * parts and parts < _FINEST:
        parts *= 2
    return min(_GRID / parts, seconds / 10)
