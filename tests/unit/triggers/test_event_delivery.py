from __future__ import annotations

import asyncio

from airflow_provider_portkey.triggers.event_delivery import TrackedPayload


def test_a_payload_is_sent_when_it_is_serialized_and_only_the_content_is() -> None:
    payload = TrackedPayload(content={"id": "run_1", "nested": [None]})
    assert not payload.is_sent

    assert payload.model_dump_json() == '{"id":"run_1","nested":[null]}'
    assert payload.is_sent
    assert repr(payload) == repr(payload.content)


def test_serializations_before_the_event_was_queued_do_not_count() -> None:
    payload = TrackedPayload(content={})
    payload.model_dump()

    payload.queued()

    assert not payload.is_sent


def test_waiting_ends_when_the_payload_is_sent_or_after_the_maximum_wait() -> None:
    async def wait() -> tuple[bool, bool]:
        payload = TrackedPayload(content={})
        in_vain = await payload.sent(0.001)
        waiting = asyncio.create_task(payload.sent(60))
        await asyncio.sleep(0)
        payload.leave()
        return in_vain, await waiting

    assert asyncio.run(wait()) == (False, True)
