"""The requests that a session of the event loop has in flight: what their attempts are, and when these are overdue."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Any

from airflow_provider_portkey.client.attempts import Attempt


class InFlight:
    """
    All requests of a session that are in flight, and one timer that ends those that are overdue.

    A timer for each request, as ``aiohttp`` has two and ``asyncio.timeout`` one, costs a tenth of a poll: it is made,
    cancelled, and stays in the loop's heap until it would be due. No attempt is overdue earlier than a read time-out
    after it has begun, so a timer that is set anew whenever it has fired is in time for each.

    :param read_timeout: Of all attempts, seconds.
    """

    def __init__(self, read_timeout: float) -> None:
        self._read_timeout = read_timeout
        self._requests: dict[asyncio.Task[Any], Request] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def attempt(self) -> Attempt:
        """The attempt of the running task."""
        return self._requests[asyncio.current_task()].attempt  # type: ignore[index]

    def add(self, task: asyncio.Task[Any], request: Request) -> None:
        """Take the request of a task."""
        self._requests[task] = request
        if self._timer is None:
            self._set_timer(self._read_timeout)

    def discard(self, task: asyncio.Task[Any]) -> None:
        """Forget the request of a task."""
        self._requests.pop(task, None)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _set_timer(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._end_overdue)

    def _end_overdue(self) -> None:
        self._timer = None
        now, seconds = time.monotonic(), self._read_timeout
        for task, request in list(self._requests.items()):
            remaining = request.attempt.ends_at - now
            if remaining <= 0:
                del self._requests[task]
                request.end()
            else:
                seconds = min(seconds, remaining)
        if self._requests:
            self._set_timer(seconds)


class Request:
    """
    A request in flight, as a ``with`` block of a task.

    What ``asyncio.timeout`` does for one time, known at its start, this does for :meth:`end`: cancels the task, and
    raises ``TimeoutError`` in place of that, unless the task was cancelled by somebody else as well.

    :param in_flight: Those of its session.
    :param attempt: Its attempt.
    :raises TimeoutError: at the end of the block, where the attempt was overdue.
    """

    __slots__ = ("_cancelling", "_in_flight", "_is_ended", "_task", "attempt")

    def __init__(self, in_flight: InFlight, attempt: Attempt) -> None:
        self._in_flight = in_flight
        self._is_ended = False
        self.attempt = attempt

    def end(self) -> None:
        """End the block now."""
        self._is_ended = True
        self._task.cancel()

    def __enter__(self) -> None:
        self._task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]
        self._cancelling = self._task.cancelling()
        self._in_flight.add(self._task, self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._in_flight.discard(self._task)
        if self._is_ended and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
