"""A trigger of another style; a module of its own, for the triggerer imports it on its event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent


class ThreadedTrigger(BaseTrigger):
    """Polls with ``requests`` in a thread of the event loop's pool, as Airflow's provider for Anthropic does."""

    def __init__(self, url: str, poll_interval: float) -> None:
        super().__init__()
        self.url = url
        self.poll_interval = poll_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "threaded_trigger.ThreadedTrigger", {"url": self.url, "poll_interval": self.poll_interval}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        while True:
            run = await asyncio.to_thread(self._get)
            if run["status"] != "in_progress":
                yield TriggerEvent({"reason": run["status"]})
                return
            await asyncio.sleep(self.poll_interval)

    def _get(self) -> Any:
        import requests

        return requests.get(self.url, timeout=60).json()
