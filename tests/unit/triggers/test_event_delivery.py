from __future__ import annotations

import asyncio
import json

from airflow_provider_portkey.triggers.event_delivery import TrackedPayload

RUN = {"id": "run_1", "status": "completed"}


def test_a_payload_is_its_plain_content() -> None:
    payload = TrackedPayload(content=RUN)
    assert repr(payload) == repr(RUN)
    assert not payload.is_sent
    assert payload.model_dump() == RUN
    assert json.loads(payload.model_dump_json()) == RUN


def test_serialization_before_the_event_was_queued_sends_nothing() -> None:
    payload = TrackedPayload(content=RUN)
    payload.model_dump()
    payload.queued()
    assert not payload.is_sent
    payload.model_dump()
    assert payload.is_sent


def test_waits_until_the_event_was_sent() -> None:
    async def wait() -> tuple[bool, bool]:
        payload = TrackedPayload(content=RUN)
        before = await payload.sent(0.001)
        waiting = asyncio.create_task(payload.sent(20))
        await asyncio.sleep(0)
        payload.model_dump()
        return before, await waiting

    assert asyncio.run(wait()) == (False, True)
