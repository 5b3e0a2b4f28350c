"""The session that clients of one event loop share; requests and faults are in ``test_transports.py``."""

from __future__ import annotations

import asyncio
import resource
from contextlib import AsyncExitStack
from typing import Any

import pytest

from airflow_provider_portkey.client.aio import AsyncPortkeyClient, open_client

RUN = "/threads/{thread_id}/runs/{run_id}"
IDS = {"thread_id": "thread_1", "run_id": "run_1"}


async def get_run(client: AsyncPortkeyClient) -> dict[str, Any]:
    return await client.get(RUN, IDS)


def test_a_get_is_one_attempt_because_it_is_a_poll(loopback: Any, settings_for: Any) -> None:
    server = loopback(status=503)

    async def main() -> None:
        async with open_client(settings_for(server.url, max_retries=2)) as client:
            await get_run(client)

    with pytest.raises(Exception, match="503"):
        asyncio.run(main())

    assert len(server.requests) == 1


def test_clients_with_equal_settings_share_a_session_until_the_last_one_leaves(
    loopback: Any, settings_for: Any
) -> None:
    server = loopback()

    async def main() -> None:
        async with open_client(settings_for(server.url)) as first:
            session = first._session
            async with open_client(settings_for(server.url)) as second:
                assert second._session is session
                await get_run(first)
                await get_run(second)
            assert not session.closed
            await get_run(first)
        assert session.closed
        async with open_client(settings_for(server.url)) as later:
            assert later._session is not session
            await get_run(later)

    asyncio.run(main())

    assert len(server.requests) == 4
    assert server.connections == 2


def test_clients_that_open_at_the_same_time_share_a_session(loopback: Any, settings_for: Any) -> None:
    server = loopback()
    sessions = set()

    async def use() -> None:
        async with open_client(settings_for(server.url)) as client:
            sessions.add(client._session)
            await get_run(client)

    async def main() -> None:
        await asyncio.gather(*(use() for _ in range(20)))

    asyncio.run(main())

    assert len(sessions) == 1
    assert all(session.closed for session in sessions)
    assert len(server.requests) == 20


def test_a_client_that_is_cancelled_while_the_session_opens_leaves_it_to_the_others(
    loopback: Any, settings_for: Any
) -> None:
    server = loopback()
    sessions = []

    async def use() -> dict[str, Any]:
        async with open_client(settings_for(server.url)) as client:
            sessions.append(client._session)
            return await get_run(client)

    async def main() -> list[Any]:
        tasks = [asyncio.create_task(use()) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    cancelled, *responses = asyncio.run(main())

    assert isinstance(cancelled, asyncio.CancelledError)
    assert responses == [{"id": "run_1"}] * 2
    assert len(set(sessions)) == 1
    assert sessions[0].closed


def test_other_settings_have_another_session(loopback: Any, settings_for: Any) -> None:
    server = loopback()

    async def main() -> None:
        async with (
            open_client(settings_for(server.url)) as one,
            open_client(settings_for(server.url, virtual_key="vk-other")) as other,
        ):
            assert one._session is not other._session
            await get_run(other)

    asyncio.run(main())

    assert server.requests[0].headers["x-portkey-virtual-key"] == "vk-other"


def test_each_event_loop_has_its_own_session(loopback: Any, settings_for: Any) -> None:
    server = loopback()
    loops = [asyncio.new_event_loop() for _ in range(2)]
    opened = [open_client(settings_for(server.url)) for _ in loops]
    clients = [loop.run_until_complete(one.__aenter__()) for loop, one in zip(loops, opened, strict=True)]
    try:
        assert clients[0]._session is not clients[1]._session
        for loop, client in zip(loops, clients, strict=True):
            assert loop.run_until_complete(get_run(client)) == {"id": "run_1"}
    finally:
        for loop, one in zip(loops, opened, strict=True):
            loop.run_until_complete(one.__aexit__(None, None, None))
            loop.close()
    assert all(client._session.closed for client in clients)


@pytest.mark.parametrize("raised", [RuntimeError("in the block"), asyncio.CancelledError()])
def test_the_session_is_closed_whatever_ends_the_block(loopback: Any, settings_for: Any, raised: BaseException) -> None:
    server = loopback()
    sessions = []

    async def main() -> None:
        async with open_client(settings_for(server.url)) as client:
            sessions.append(client._session)
            raise raised

    with pytest.raises(type(raised)):
        asyncio.run(main())

    assert sessions[0].closed


def test_clients_with_different_trace_ids_share_a_session(loopback: Any, settings_for: Any) -> None:
    server = loopback()

    async def main() -> None:
        async with (
            open_client(settings_for(server.url), trace_id="a") as one,
            open_client(settings_for(server.url), trace_id="b") as other,
            open_client(settings_for(server.url)) as third,
        ):
            assert one._session is other._session is third._session
            await get_run(one)
            await other.post(RUN + "/cancel", IDS)
            await get_run(third)

    asyncio.run(main())

    assert [request.headers["x-portkey-trace-id"] for request in server.requests] == ["a", "b", None]


@pytest.mark.parametrize(
    ("clients", "open_files", "limit"),
    [
        (1, 1024, 100),
        (100, 1024, 100),
        (300, 1024, 300),
        (5000, 1024, 512),
        (5000, 1_048_576, 5000),
        (5000, resource.RLIM_INFINITY, 5000),
        (5000, 64, 100),
    ],
)
def test_the_limit_of_connections_follows_the_clients_up_to_half_of_the_open_files(
    clients: int, open_files: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_portkey.client.aiohttp_session import Connector
    from airflow_provider_portkey.client.in_flight import InFlight

    monkeypatch.setattr(resource, "getrlimit", lambda _: (open_files, open_files))

    async def limit_for() -> int:
        connector = Connector(InFlight(60), limit=100)
        connector.follow(clients)
        await connector.close()
        return connector.limit

    assert asyncio.run(limit_for()) == limit


def test_as_many_requests_are_in_flight_as_there_are_clients(loopback: Any, settings_for: Any) -> None:
    server = loopback()

    async def main() -> int:
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(open_client(settings_for(server.url))) for _ in range(120)]
            return clients[0]._session.connector.limit

    assert asyncio.run(main()) == 120
