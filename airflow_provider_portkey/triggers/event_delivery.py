"""
When an event of a trigger has really been sent.

Airflow keeps an event that a trigger yields for up to a second before it sends the event off to be stored. A state that
is written before that loses the event if the triggerer stops in between; one that is written long after repeats the
event. So the payload itself notices when it is sent, and the state (``state.asset``) is written right after that.
"""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import BaseModel, PrivateAttr, model_serializer


class TrackedPayload(BaseModel):
    """
    The payload of an event that notices when Airflow sends it to the process that stores events.

    Airflow serializes an event when it sends the event, and not before; what arrives is the plain content.

    :param content: The payload proper.
    """

    content: dict[str, Any]
    _sent: asyncio.Event = PrivateAttr(default_factory=asyncio.Event)

    @model_serializer
    def leave(self) -> dict[str, Any]:
        """Return the content, and note that the event was sent."""
        self._sent.set()
        return self.content

    def __repr__(self) -> str:
        return repr(self.content)

    def queued(self) -> None:
        """Note that Airflow has the event, when the trigger is resumed: an earlier serialization, for a log, sent nothing."""
        self._sent.clear()

    @property
    def is_sent(self) -> bool:
        """Whether the event was sent."""
        return self._sent.is_set()

    async def sent(self, seconds: float) -> bool:
        """
        Wait until the event was sent.

        :param seconds: Time-out.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._sent.wait()
        except TimeoutError:
            return False
        return True
