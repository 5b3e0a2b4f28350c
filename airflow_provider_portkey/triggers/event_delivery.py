"""
Delivery of an event: the payload of an event notices when Airflow takes it.

Airflow keeps an event that a trigger yields for up to a second before it sends the event to be stored. A state that is
saved earlier loses the event if the triggerer stops in between; a state that is saved much later repeats the event.
"""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import BaseModel, PrivateAttr, model_serializer


class TrackedPayload(BaseModel):
    """
    The payload of an event, which is serialized when the event is sent to the process that stores events.

    Airflow serializes an event at that point and not before; the plain content is stored.

    :param content: The payload proper.
    """

    content: dict[str, Any]
    _sent: asyncio.Event = PrivateAttr(default_factory=asyncio.Event)

    @model_serializer
    def leave(self) -> dict[str, Any]:
        """Return the content, and note that it was sent."""
        self._sent.set()
        return self.content

    def __repr__(self) -> str:
        return repr(self.content)

    def queued(self) -> None:
        """Note, when the trigger is resumed, that Airflow has the event: earlier serializations were for a log."""
        self._sent.clear()

    @property
    def is_away(self) -> bool:
        """Whether the event was sent."""
        return self._sent.is_set()

    async def has_left(self, seconds: float) -> bool:
        """
        Wait until the event was sent, and return whether it was.

        :param seconds: Maximum wait.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._sent.wait()
        except TimeoutError:
            return False
        return True
