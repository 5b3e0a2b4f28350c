"""One attempt of a request: its time-outs, its deadline, and whether the request has left this machine."""

from __future__ import annotations

import math
import time
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING

from airflow_provider_portkey.client.redaction import redact_library_logs
from airflow_provider_portkey.client.stopping import current_stop

if TYPE_CHECKING:
    from airflow_provider_portkey.client.settings import ConnectionSettings

_CURRENT: ContextVar[Attempt | None] = ContextVar("portkey_attempt", default=None)


class Attempt:
    """
    One attempt. Within a ``with`` block it is the current one of its thread or task, for the connections below.

    :param settings: The time-outs.
    :param restarts: Restart the deadline when the request has been sent: the time to send a large file does not count.
    """

    def __init__(self, settings: ConnectionSettings, *, restarts: bool = False) -> None:
        redact_library_logs(settings.secrets)
        self.connect_timeout = settings.connect_timeout
        self.read_timeout = settings.read_timeout
        self.restarts = restarts
        #: Whether the server may have received the request; a transport that knows better says so.
        self.request_sent = True
        self.seconds = settings.attempt_timeout
        self._silent_since = math.inf
        self.restart()

    def restart(self) -> None:
        """Begin the time of the attempt anew."""
        self._ends_at = time.monotonic() + self.seconds

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() >= self._ends_at

    def remaining(self) -> float:
        """
        Return the seconds until the deadline.

        :raises TimeoutError: after the deadline.
        """
        remaining = self._ends_at - time.monotonic()
        if remaining <= 0:
            raise TimeoutError(self.overdue)
        return remaining

    def note_progress(self) -> None:
        """Note that the request has left, or that a part of the response has come."""
        self._silent_since = time.monotonic()

    @property
    def ends_at(self) -> float:
        """When the attempt ends, monotonic seconds: at its deadline, or where no part of the response comes."""
        return min(self._ends_at, self._silent_since + self.read_timeout)

    @property
    def overdue(self) -> str:
        """Why an attempt failed that was not complete in time."""
        if self.is_over:
            return f"not complete after {self.seconds:g} s"
        return f"no data for {self.read_timeout:g} s"

    def __enter__(self) -> Attempt:
        if stop := current_stop():
            stop.check()
        self._token: Token[Attempt | None] = _CURRENT.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _CURRENT.reset(self._token)


def current_attempt() -> Attempt:
    """Return the attempt whose ``with`` block the caller is in."""
    attempt = _CURRENT.get()
    if attempt is None:
        raise RuntimeError("A request needs an Attempt.")
    return attempt
