"""How waits begin on the triggerer: shared look-ups of connections, and turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from airflow_provider_portkey.client.settings import ConnectionSettings
from airflow_provider_portkey.exceptions import PortkeyConnectionLookupError
from airflow_provider_portkey.hooks.portkey import PortkeyHook
from airflow_provider_portkey.triggers.beginning import look_up, take_turn


class Airflow:
    """Responds to look-ups, each with other settings, as soon as it may; or with an error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.looked_up: list[str] = []
        self.error: Exception | None = None
        self._may_respond: dict[str, asyncio.Event] = {}

        async def aget_settings(hook: PortkeyHook) -> ConnectionSettings:
            assert not hook.warns
            self.looked_up.append(hook.portkey_conn_id)
            number = len(self.looked_up)
            await self._event(hook.portkey_conn_id).wait()
            if self.error:
                raise self.error
            return ConnectionSettings(f"http://portkey.test/{number}/v1", ())

        monkeypatch.setattr(PortkeyHook, "aget_settings", aget_settings)

    def _event(self, conn_id: str) -> asyncio.Event:
        return self._may_respond.setdefault(conn_id, asyncio.Event())

    def respond(self, conn_id: str = "portkey_default") -> None:
        self._event(conn_id).set()


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Airflow:
    return Airflow(monkeypatch)


def run(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(20):
            return await main()

    return asyncio.run(bounded())


async def callers(number: int, conn_id: str = "portkey_default") -> list[asyncio.Task[ConnectionSettings]]:
    tasks = [asyncio.create_task(look_up(conn_id)) for _ in range(number)]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


def test_waits_that_begin_together_share_a_look_up(airflow: Airflow) -> None:
    async def main() -> set[str]:
        tasks = await callers(1000)
        airflow.respond()
        return {settings.base_url for settings in await asyncio.gather(*tasks)}

    assert run(main) == {"http://portkey.test/1/v1"}
    assert airflow.looked_up == ["portkey_default"]


def test_waits_that_begin_during_a_look_up_share_the_next_one(airflow: Airflow) -> None:
    """The connection may have changed since, such as a key that was refused."""

    async def main() -> list[str]:
        first, later = await callers(1), [*await callers(10), *await callers(10)]
        assert airflow.looked_up == ["portkey_default"]
        airflow.respond()
        return [settings.base_url for settings in await asyncio.gather(*first, *later)]

    assert run(main) == ["http://portkey.test/1/v1"] + 20 * ["http://portkey.test/2/v1"]
    assert airflow.looked_up == 2 * ["portkey_default"]


def test_a_look_up_is_not_kept(airflow: Airflow) -> None:
    async def main() -> list[str]:
        airflow.respond()
        return [(await look_up("portkey_default")).base_url for _ in range(2)]

    assert run(main) == ["http://portkey.test/1/v1", "http://portkey.test/2/v1"]


def test_a_wait_that_is_cancelled_leaves_the_look_up_to_the_others(airflow: Airflow) -> None:
    async def main() -> str:
        first, *_, last = await callers(3)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        airflow.respond()
        return (await last).base_url

    assert run(main) == "http://portkey.test/1/v1"


def test_a_look_up_that_fails_fails_for_all_and_the_next_one_is_made(airflow: Airflow) -> None:
    async def main() -> list[object]:
        tasks = await callers(3)
        airflow.error = PortkeyConnectionLookupError("not now")
        airflow.respond()
        failed = await asyncio.gather(*tasks, return_exceptions=True)
        airflow.error = None
        return [*map(str, failed), (await look_up("portkey_default")).base_url]

    assert run(main) == [*3 * ["not now"], "http://portkey.test/2/v1"]


def test_the_error_of_a_shared_look_up_has_the_trace_id_of_each_caller(airflow: Airflow) -> None:
    async def main() -> list[Any]:
        airflow.error = PortkeyConnectionLookupError("not now")
        airflow.respond()
        calls = (look_up("portkey_default", trace_id) for trace_id in ("trace_1", "trace_2", None))
        return await asyncio.gather(*calls, return_exceptions=True)

    assert [error.trace_id for error in run(main)] == ["trace_1", "trace_2", None]


def test_a_connection_does_not_wait_for_another(airflow: Airflow) -> None:
    async def main() -> str:
        (slow,) = await callers(1, "slow")
        airflow.respond("quick")
        quick = await look_up("quick")
        assert not slow.done()
        airflow.respond("slow")
        await slow
        return quick.base_url

    assert run(main) == "http://portkey.test/2/v1"


def test_waits_take_turns_to_begin() -> None:
    async def main() -> list[int]:
        begun = 0

        async def wait() -> None:
            nonlocal begun
            await take_turn()
            begun += 1

        tasks = [asyncio.create_task(wait()) for _ in range(200)]
        counts = []
        while begun < 200:
            await asyncio.sleep(0)
            counts.append(begun)
        await asyncio.gather(*tasks)
        return [after - before for before, after in zip([0, *counts], counts, strict=False)]

    of_each_turn = run(main)
    assert max(of_each_turn) <= 25
    assert len(of_each_turn) <= 30
