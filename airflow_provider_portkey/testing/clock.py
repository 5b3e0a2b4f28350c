"""A clock that a test sets."""

from __future__ import annotations


class Clock:
    """
    Time that passes only when a test says so.

    It is the ``clock=`` of a :class:`.PortkeyMockServer`, and replaces the module ``time`` where a test patches
    one: ``monkeypatch.setattr("my_dag.time", clock)``.

    :param now: seconds since the epoch; may be assigned at any time.
    """

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now
        #: The duration of each :meth:`sleep`, in seconds, in order.
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def time(self) -> float:
        """Return the time, as ``time.time`` does."""
        return self.now

    def monotonic(self) -> float:
        """Return the time, as ``time.monotonic`` does."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Advance by some seconds at once."""
        self.sleeps.append(seconds)
        self.now += seconds

    async def async_sleep(self, seconds: float) -> None:
        """Advance by some seconds at once, as a replacement of ``asyncio.sleep``."""
        self.sleep(seconds)
