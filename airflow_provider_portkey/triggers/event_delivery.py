"""
Detects when Airflow really sends an event of a trigger.

Airflow holds an event that a trigger yields for up to a second before sending the event to be stored. A state written
before that loses the event if the triggerer stops in between; a state written long after that repeats the event. So the
payload itself detects the sending, and the state (``state.asset``) is written right after it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import BaseModel, PrivateAttr, model_serializer


class TrackedPayload(BaseModel):
    """
    The payload of an event, which detects when Airflow sends the event to the process that stores events.

    Airflow serializes an event when sending it, and not before; only the plain content arrives.

    :param content: The payload.
    """

    content: dict[str, Any]
    _sent: asyncio.Event = PrivateAttr(default_factory=asyncio.Event)

    @model_serializer
    def mark_sent(self) -> dict[str, Any]:
        """Return the content, and note that the event was sent."""
        self._sent.set()
        return self.content

    def __repr__(self) -> str:
        return repr(self.content)

    def queued(self) -> None:
        """
        Note that Airflow holds the event; to be called as soon as Airflow resumes the trigger.

        Any serialization before that was for a log line, and sent nothing.
        """
        self._sent.clear()

    @property
    def is_sent(self) -> bool:
        """Whether the event was sent."""
        return self._sent.is_set()

    async def sent(self, seconds: float) -> bool:
        """
        Wait until the event was sent, and return whether it was.

        :param seconds: The longest wait.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._sent.wait()
        except TimeoutError:
            return False
        return True
