"""Ends the requests of threads that are no longer needed: at once, not at their deadlines."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from threading import Event, Lock
from typing import Any

_CURRENT: ContextVar[Stop | None] = ContextVar("portkey_stop", default=None)


class StoppedError(BaseException):
    """The result of this thread is no longer needed; no failure of a request, so that nothing retries or reports it."""


class Stop:
    """Stops the requests of the threads that are in :meth:`running`."""

    def __init__(self) -> None:
        self._event = Event()
        self._lock = Lock()
        self._waiting: set[Any] = set()

    @contextmanager
    def running(self) -> Iterator[None]:
        """
        Make the requests of the block end when :meth:`set` is called.

        :raises StoppedError: from the request that was stopped, or from the next one.
        """
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)

    def set(self) -> None:
        """Stop the requests: responses that are awaited end now."""
        with self._lock:
            self._event.set()
            for connection in self._waiting:
                with suppress(OSError):  # closed already
                    # Not the method of a TLS socket, which another thread is reading.
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def check(self) -> None:
        """Raise :class:`StoppedError` after :meth:`set`."""
        if self._event.is_set():
            raise StoppedError

    def sleep(self, seconds: float) -> None:
        """Wait, or raise :class:`StoppedError` as soon as :meth:`set` is called."""
        self._event.wait(seconds)
        self.check()

    @contextmanager
    def waiting(self, connection: Any) -> Iterator[None]:
        """Let :meth:`set` end a wait for bytes of a socket."""
        with self._lock:
            self.check()
            self._waiting.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._waiting.discard(connection)
            self.check()


def current_stop() -> Stop | None:
    """Return what stops the requests of this thread, if anything does."""
    return _CURRENT.get()
